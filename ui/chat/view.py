"""A conversation in the page: its messages, what can be done with each, and the answer being written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import streamlit as st

from llm.chat.answers import Answer, answers
from llm.events import Progress
from llm.messages import DocumentPart, ImagePart, TextPart, ThinkingPart
from llm.store import Conversation, StoredMessage
from llm.vision.picture import problem_of
from ui.chat.live_answer import LiveAnswer, show_answer, show_thinking
from ui.chat.prompt_inspector import under_the_hood
from ui.shared.i18n import explain, explain_code, t
from ui.shared.markdown import escaped
from ui.shared.state import CHAT_EDITING, UNDER_HOOD, kept
from ui.shared.units import readable_bytes

SHOWN_MESSAGES = 40
_FOLDED = 4_000
"""Characters of a message that are drawn before somebody asks for all of them."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What the page does when a message's buttons are pressed."""

    regenerate: Callable[[StoredMessage], None]
    edit: Callable[[StoredMessage, str], None]
    below: Callable[[StoredMessage], None] | None = None
    """Draws what a page adds below a message's words."""
    words: Callable[[StoredMessage], bool] | None = None
    """Draws a message's words in the page's own way; False leaves them to be drawn as they are."""


def show_path(path: list[StoredMessage], actions: Actions) -> None:
    """Draws finished messages, the last ones at once and older ones on demand."""
    hidden = max(0, len(path) - SHOWN_MESSAGES)
    if hidden and not st.session_state.get("chat_show_all"):
        st.button(t("chat.show_earlier", count=hidden), key="chat_show_earlier", on_click=_show_all, type="tertiary")
        path = path[hidden:]
    for stored in path:
        show_message(stored, actions)


def _show_all() -> None:
    st.session_state["chat_show_all"] = True


def show_message(stored: StoredMessage, actions: Actions) -> None:
    role = stored.message.role
    with st.chat_message(role, avatar=":material/person:" if role == "user" else ":material/local_fire_department:"):
        if st.session_state.get(CHAT_EDITING) == stored.id:
            _editor(stored, actions)
            return
        if actions.words is None or not actions.words(stored):
            show_parts(stored)
        if role == "assistant":
            _outcome(stored)
        if actions.below is not None:
            actions.below(stored)
        _buttons(stored, actions)
        if role == "assistant" and st.session_state.get(UNDER_HOOD):
            under_the_hood(stored)


def show_parts(stored: StoredMessage) -> None:
    """The parts of a message: a person's words as they typed them, a model's as Markdown."""
    for index, part in enumerate(stored.message.parts):
        match part:
            case ThinkingPart():
                show_thinking(part.text)
            case TextPart() if stored.message.role == "user":
                # Line ends are meant, tags and asterisks too.
                _long_text(part.text, f"whole_{stored.id}_{index}")
            case TextPart():
                show_answer(part.text)
            case DocumentPart():
                size = readable_bytes(len(part.text.encode()))
                with st.expander(f"{escaped(part.name)} · {size}", icon=":material/description:"):
                    _long_text(part.text, f"whole_{stored.id}_{index}")
            case ImagePart():
                if problem := problem_of(part):
                    st.caption(escaped(explain(problem)))
                else:
                    st.image(part.data, width=320)


def _long_text(text: str, key: str) -> None:
    """Words as they are; of very many only the beginning, until all are asked for, so that the page stays quick."""
    if len(text) <= _FOLDED:
        st.text(text)
        return
    whole = st.session_state.get(key, False)
    st.text(text if whole else text[:_FOLDED] + " …")
    st.toggle(t("chat.show_all", size=readable_bytes(len(text.encode()))), key=key)


def _outcome(stored: StoredMessage) -> None:
    """Below an answer: what went wrong, or how it went."""
    meta = stored.meta
    if meta.error:
        values = meta.extra.get("error_values")
        said = explain_code(meta.error, values if isinstance(values, Mapping) else {}) or escaped(meta.error)
        st.error(said, icon=":material/error:")
    elif meta.status == "interrupted":
        st.caption(t("chat.interrupted"))
    elif meta.status == "stopped":
        st.caption(t("chat.stopped"))
    elif meta.reason == "length":
        st.caption(t("chat.cut"))
    elif meta.reason == "repetition":
        st.caption(t("chat.repeated"))
    elif meta.status == "complete" and not stored.message.parts:
        st.caption(t("chat.silent"))
    if meta.dropped_messages:
        st.caption(t("chat.dropped", count=meta.dropped_messages))


def facts(stored: StoredMessage) -> str:
    """Which model wrote an answer; its tokens, speed and time to the first token."""
    usage, timings = stored.meta.usage, stored.meta.timings
    if not usage.completion_tokens:
        return ""
    speed = timings.tokens_per_s(usage.completion_tokens)
    return t(
        "chat.facts",
        model=escaped(_short_name(stored.meta.model)),
        tokens=usage.completion_tokens,
        speed=f"{speed:.1f}",
        first=f"{timings.first_token_s:.2f}",
    )


def _short_name(model: str) -> str:
    """A model's id; of one that lies at a path, the path's end."""
    return model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _buttons(stored: StoredMessage, actions: Actions) -> None:
    with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center", key=f"actions_{stored.id}"):
        if len(stored.siblings) > 1:
            _branch_buttons(stored)
        if stored.message.role == "assistant":
            st.button(
                "",
                icon=":material/refresh:",
                help=t("chat.regenerate"),
                key=f"regenerate_{stored.id}",
                type="tertiary",
                on_click=actions.regenerate,
                args=(stored,),
            )
            if words := facts(stored):
                st.caption(words, width="content")
        else:
            st.button(
                "",
                icon=":material/edit:",
                help=t("chat.edit"),
                key=f"edit_{stored.id}",
                type="tertiary",
                on_click=_begin_edit,
                args=(stored.id,),
            )


def _branch_buttons(stored: StoredMessage) -> None:
    """`‹ 2/3 ›`: the other versions of this message."""
    for step, icon, words in ((-1, ":material/chevron_left:", "previous"), (1, ":material/chevron_right:", "next")):
        at = stored.index + step
        there = 0 <= at < len(stored.siblings)
        st.button(
            "",
            icon=icon,
            help=t(f"chat.{words}_branch"),
            key=f"{words}_{stored.id}",
            type="tertiary",
            disabled=not there,
            on_click=_switch,
            args=(stored.siblings[at] if there else stored.id,),
        )
        if step < 0:
            st.caption(f"{stored.index + 1}/{len(stored.siblings)}", width="content")


def _switch(message_id: int) -> None:
    kept().switch_branch(message_id)


def _begin_edit(message_id: int) -> None:
    st.session_state[CHAT_EDITING] = message_id


def _end_edit() -> None:
    st.session_state.pop(CHAT_EDITING, None)


def _editor(stored: StoredMessage, actions: Actions) -> None:
    def send() -> None:
        _end_edit()
        actions.edit(stored, st.session_state[f"edited_{stored.id}"])

    st.text_area(t("chat.edit"), stored.message.text, key=f"edited_{stored.id}", label_visibility="collapsed")
    with st.container(horizontal=True):
        st.button(t("chat.send_edit"), type="primary", on_click=send, key=f"send_{stored.id}")
        st.button(t("chat.cancel_edit"), on_click=_end_edit, key=f"cancel_{stored.id}")


def stop_button(answer: Answer) -> None:
    """Ends the answer; what was written stays. Stands above the input."""
    with st.bottom:
        st.button(
            t("chat.stop"), icon=":material/stop_circle:", key="stop_answer", shortcut="Escape", on_click=answer.stop
        )


def watch(answer: Answer) -> None:
    """Draws an answer while it is written, to its end; then the page runs again and shows it as kept."""
    with st.chat_message("assistant", avatar=":material/local_fire_department:"):
        status = st.empty()
        preparing = False
        live = LiveAnswer(key="live_answer")
        for batch in answer.watch():
            for event in batch:
                if isinstance(event, Progress) and event.stage in ("load", "download"):
                    _preparing(status, event)
                    preparing = True
                    continue
                live.feed(event)
            if preparing and (live.text or live.thinking):
                status.empty()
                preparing = False
            # Here a click ends this run: Streamlit looks for one when something is drawn, which costs the browser
            # milliseconds each time, or when the session's state is read, which costs nothing.
            st.session_state.get(UNDER_HOOD)
        live.flush()
    st.rerun()


def _preparing(status: st.delta_generator.DeltaGenerator, event: Progress) -> None:
    if event.stage == "load":
        status.caption(t("chat.loading"))
    elif event.total:
        done, total = readable_bytes(event.done), readable_bytes(event.total)
        status.progress(min(1.0, event.done / event.total), t("chat.downloading", done=done, total=total))


def path_and_answer(conversation: Conversation | None) -> tuple[list[StoredMessage], Answer | None]:
    """The finished messages of the branch that is shown, and the answer being written in it.

    An answer in another branch goes on being written and is not drawn here.
    """
    if conversation is None:
        return [], None
    # First who is writing, then what is kept: an answer that ends in between is drawn once more, not lost.
    answer = answers().of(conversation.id)
    path = kept().path(conversation.id)
    if answer is None or all(stored.id != answer.id for stored in path):
        return path, None
    return [stored for stored in path if stored.id != answer.id], answer
