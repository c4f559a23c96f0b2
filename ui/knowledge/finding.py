"""Search without an answer: the passages themselves."""

from __future__ import annotations

import streamlit as st

from llm.errors import ModelError
from llm.knowledge.search import search
from llm.knowledge.values import Base
from ui.knowledge.drawing import passage_html
from ui.knowledge.evidence import place_of
from ui.knowledge.state import library
from ui.shared.i18n import explain, t


def search_section(base: Base) -> None:
    words = st.text_input(t("knowledge.search_box"), key="knowledge_search", placeholder=t("knowledge.search_box"))
    if not words.strip():
        return
    try:
        found = search(library(), base.id, words)
    except ModelError as error:
        st.error(explain(error), icon=":material/error:")
        return
    if not found.hits:
        st.info(t("knowledge.search_nothing"), icon=":material/search_off:")
    for number, hit in enumerate(found.hits, start=1):
        with st.container(border=True):
            ways = [t(f"knowledge.{name}") for name in ("by_words", "by_meaning") if getattr(hit, name) is not None]
            st.markdown(f"**{number} · {place_of(hit.passage)}**")
            st.caption(f"{t('knowledge.found_by')}: {', '.join(ways)}")
            st.html(passage_html(hit.passage.text, hit.passage.context, words=hit.words))
