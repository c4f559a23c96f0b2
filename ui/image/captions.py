"""Which caption fits a picture: a ranked bar chart."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.lookup import entries_for, where
from llm.errors import ModelError
from llm.vision.picture import EXTENSIONS, MAX_BYTES, take_in
from ui.shared.i18n import explain, t


def captions() -> None:
    """Draws the form and, once asked, the ranking."""
    st.caption(t("image.captions_intro"))
    here = {entry.id: entry for entry in entries_for("zero-shot-image-classification") if where(entry)}
    if not here:
        st.info(t("image.captions_none"), icon=":material/info:")
        if st.button(t("image.get_vision"), icon=":material/deployed_code:", key="image_get_clip"):
            st.switch_page("pages/models.py")
        return
    chosen = st.selectbox(
        t("image.captions_model"), list(here), format_func=lambda name: here[name].name, key="image_clip"
    )
    file = st.file_uploader(t("image.which"), type=EXTENSIONS, max_upload_size=MAX_BYTES >> 20, key="image_clip_file")
    typed = st.text_area(t("image.captions_label"), t("image.captions_example"), key="image_clip_captions")
    lines = list(dict.fromkeys(line.strip() for line in typed.splitlines() if line.strip()))
    if not st.button(t("image.captions_run"), type="primary", key="image_clip_run"):
        return
    if file is None or len(lines) < 2:
        st.warning(t("image.captions_need"))
        return
    from llm.runtime import handles

    try:
        part = take_in(file.getvalue(), file.name).part
        ranked = handles.captioner(here[chosen]).rank(part, lines)
    except ModelError as error:
        st.error(explain(error), icon=":material/error:")
        return
    st.image(part.data, width=320)
    # Numbered, as a bar chart would sort its bars by name.
    names = [f"{place + 1} · {caption}" for place, (caption, _) in enumerate(ranked)]
    score = t("image.captions_score")
    st.bar_chart(
        {"caption": names, score: [100 * share for _, share in ranked]},
        x="caption",
        y=score,
        x_label=f"{score} (%)",
        y_label="",
        horizontal=True,
    )
