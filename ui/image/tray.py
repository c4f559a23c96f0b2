"""Pictures on their way in: chosen, dropped, photographed or linked, looked at, cut out and taken off again."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from llm.errors import ModelError
from llm.messages import ImagePart
from llm.vision.fetch import fetch
from llm.vision.picture import EXTENSIONS, MAX_BYTES, Picture, crop, fitted, open_kept, thumbnail
from ui.image import state
from ui.shared.i18n import explain, t

CARD_WIDTH = 156
READY_MADE = ("describe", "read", "find", "chart")


def inputs(open_first: bool) -> None:
    """The ways in, folded away once a conversation has begun."""
    with st.expander(t("image.add"), icon=":material/add_photo_alternate:", expanded=open_first, key="image_add"):
        key = state.round_key("image_files")
        st.file_uploader(
            t("image.upload"),
            type=EXTENSIONS,
            accept_multiple_files=True,
            max_upload_size=MAX_BYTES >> 20,
            key=key,
            on_change=_take_files,
            args=(key,),
            help=t("image.upload_help"),
        )
        link, camera = st.columns([3, 1], vertical_alignment="bottom")
        with link:
            st.text_input(
                t("image.link"),
                key=state.round_key("image_link"),
                placeholder="https://",
                on_change=_take_link,
                args=(state.round_key("image_link"),),
                help=t("image.link_help"),
            )
        # The camera is asked for only when somebody wants it: browsers ask for leave at once.
        if camera.toggle(t("image.camera"), key="image_camera_on"):
            photo_key = state.round_key("image_photo")
            st.camera_input(t("image.camera"), key=photo_key, on_change=_take_photo, args=(photo_key,))


def tray() -> None:
    """The waiting pictures, each with its size and a way to take it off."""
    pictures = state.waiting()
    if not pictures:
        return
    with st.container(border=True, horizontal=True, key="image_tray"):
        for index, picture in enumerate(pictures):
            with st.container(width=CARD_WIDTH, gap="xsmall"):
                _card(index, picture)


def _card(index: int, picture: Picture) -> None:
    st.image(picture.part.data)
    st.caption(f"{picture.part.name}  \n{sizes(picture)}")
    if picture.frames > 1:
        st.caption(t("image.first_frame", count=picture.frames))
    st.button(
        "",
        icon=":material/close:",
        help=t("image.remove"),
        key=f"image_remove_{index}",
        type="tertiary",
        on_click=_remove,
        args=(index,),
    )


def ready_made(ask: Callable[..., None], *arguments: object) -> None:
    """Buttons with questions that need no typing; `ask` is called with the arguments and the question."""
    with st.container(horizontal=True, gap="xsmall", key="image_ready_made"):
        for name in READY_MADE:
            question = t(f"image.ask_{name}")
            st.button(question, key=f"image_ask_{name}", on_click=ask, args=(*arguments, question), type="secondary")


def sizes(picture: Picture) -> str:
    """How large it was, and how large a model gets it where that differs."""
    original = "{} × {}".format(*picture.original_size)
    if picture.model_size == picture.original_size:
        return original
    return t("image.downscaled", original=original, model="{} × {}".format(*picture.model_size))


def crop_panel(pictures: list[ImagePart]) -> None:
    """Choosing a part of a picture, which then waits for a question like any other picture."""
    if not pictures:
        return
    with st.expander(t("image.crop"), icon=":material/crop:", key="image_crop"):
        chosen = pictures[0]
        if len(pictures) > 1:
            names = [f"{index + 1} · {part.name}" for index, part in enumerate(pictures)]
            picked = st.selectbox(t("image.which"), range(len(pictures)), format_func=names.__getitem__)
            chosen = pictures[picked]
        across = st.slider(t("image.crop_across"), 0, 100, (25, 75), format="%d %%", key="image_crop_across")
        down = st.slider(t("image.crop_down"), 0, 100, (25, 75), format="%d %%", key="image_crop_down")
        width, height = open_kept(chosen).size
        box = (width * across[0] // 100, height * down[0] // 100, width * across[1] // 100, height * down[1] // 100)
        part = crop(chosen, box)
        # At the top: centred, the button would move away under a click whenever the preview's height changes.
        preview, button = st.columns([3, 1])
        preview.image(thumbnail(part, 480))
        size = open_kept(part).size
        button.caption("{} × {}".format(*size))
        button.button(t("image.crop_take"), on_click=_take_crop, args=(part, size), key="image_crop_take")


def _take_crop(part: ImagePart, size: tuple[int, int]) -> None:
    state.waiting().append(Picture(part, size, size, fitted(size, 2048)))


def _remove(index: int) -> None:
    del state.waiting()[index]


def _take_files(key: str) -> None:
    state.add((file.name, file.getvalue()) for file in st.session_state[key] or [])
    state.new_round()


def _take_photo(key: str) -> None:
    photo = st.session_state[key]
    if photo is not None:
        state.add([(t("image.photo"), photo.getvalue())])
        state.new_round()


def _take_link(key: str) -> None:
    link = st.session_state[key].strip()
    if not link:
        return
    try:
        found = fetch(link)
    except ModelError as error:
        state.tell(explain(error))
        return
    state.add([(found.name, found.data)])
    state.new_round()
