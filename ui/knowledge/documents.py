"""The documents of a base: dropped, watched while they are read, looked into, deleted; how they are cut."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.lookup import find
from llm.documents.chunks import chunks
from llm.documents.encodings import ENCODINGS
from llm.documents.kinds import EXTENSIONS
from llm.errors import ModelError
from llm.knowledge import reading
from llm.knowledge.values import Base, KnownDocument
from llm.knowledge.words import estimated_tokens
from ui.knowledge.drawing import chunks_html
from ui.knowledge.state import PROBLEM, fails, is_mine, library
from ui.shared.download import begin_download
from ui.shared.i18n import explain_code, t
from ui.shared.jobs import job_card
from ui.shared.markdown import escaped
from ui.shared.units import readable_bytes

E5 = "multilingual-e5-small-q4_0"
SHOWN = 100


def documents_section(base: Base) -> None:
    if is_mine(base):
        _drop(base)
        job = reading.latest_work(library(), base.id)
        if job is not None:
            job_card(job.id, removable=False)
        _meaning(base)
    known = library().documents(base.id)
    if not known:
        st.info(t("knowledge.no_documents"), icon=":material/info:")
        return
    passages = sum(document.passages for document in known)
    st.caption(t("knowledge.documents_count", count=len(known), passages=passages))
    for document in known[:SHOWN]:
        _row(base, document)
    if is_mine(base):
        _size(base, known)


def _drop(base: Base) -> None:
    as_folder = st.session_state.get("knowledge.as_folder", False)
    key = f"drop_{base.id}_{as_folder}_{st.session_state.get('knowledge.drops', 0)}"

    def take() -> None:
        try:
            for file in st.session_state[key]:
                if as_folder and file.name.rpartition(".")[2].lower() not in EXTENSIONS:
                    continue
                library().add(base.id, file.name, file.getvalue())
            reading.start(library(), base.id)
        except ModelError as error:
            fails(error)
        st.session_state["knowledge.drops"] = st.session_state.get("knowledge.drops", 0) + 1

    st.file_uploader(
        t("knowledge.drop"),
        accept_multiple_files="directory" if as_folder else True,
        key=key,
        help=t("knowledge.drop_help"),
        on_change=take,
    )
    st.toggle(t("knowledge.as_folder"), key="knowledge.as_folder", help=t("knowledge.as_folder_help"))
    if problem := st.session_state.pop(PROBLEM, None):
        st.error(problem, icon=":material/error:")


def _meaning(base: Base) -> None:
    """Which model compares meaning; words are always searched."""
    here = reading.embedders()
    known = ["", *here, *([base.embedder] if base.embedder and base.embedder not in here else [])]

    def change() -> None:
        library().change_base(base.id, embedder=st.session_state[f"embedder_{base.id}"])
        if st.session_state[f"embedder_{base.id}"]:
            reading.start(library(), base.id)

    st.selectbox(
        t("knowledge.embedder"),
        known,
        index=known.index(base.embedder),
        format_func=lambda model_id: _model_name(model_id) if model_id else t("knowledge.embedder_none"),
        key=f"embedder_{base.id}",
        help=t("knowledge.embedder_help"),
        on_change=change,
    )
    if not here:
        entry = find(E5)
        label = t("knowledge.embedder_get", model=f"{entry.name} ({readable_bytes(entry.size_bytes)})")
        st.button(label, icon=":material/download:", key="get_embedder", on_click=begin_download, args=(E5,))


def _model_name(model_id: str) -> str:
    try:
        return find(model_id).name
    except ModelError:
        return model_id


def _row(base: Base, document: KnownDocument) -> None:
    with st.container(border=True, key=f"document_{document.id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{escaped(document.name)}**", width="stretch")
            st.caption(_state(base, document), width="content")
            if is_mine(base):
                st.button(
                    "",
                    icon=":material/delete:",
                    help=t("knowledge.delete_document"),
                    key=f"forget_{document.id}",
                    type="tertiary",
                    on_click=_delete,
                    args=(document.id,),
                )
        if document.state == "failed":
            st.error(explain_code(document.error_code, document.error_values) or document.error_code)
        if document.state != "ready":
            return
        facts = t("knowledge.pages_count", count=document.pages), readable_bytes(document.size_bytes)
        st.caption(
            t("knowledge.document_facts", kind=document.kind, pages=facts[0], passages=document.passages, size=facts[1])
        )
        for code, values in document.notes:
            st.caption(t(f"documents.note_{code}", **values))
        panel = st.expander(
            t("knowledge.look"), icon=":material/visibility:", key=f"look_{document.id}", on_change="rerun"
        )
        if panel.open:
            with panel:
                _look(base, document)


def _state(base: Base, document: KnownDocument) -> str:
    if document.state == "ready":
        by_words = base.embedder and base.indexed_by != base.embedder
        return t("knowledge.state_words" if by_words else "knowledge.state_ready")
    return t(f"knowledge.state_{document.state}")


def _delete(document_id: str) -> None:
    try:
        name = library().document(document_id).name
        library().delete_document(document_id)
        st.toast(t("knowledge.deleted_document", name=escaped(name)))
    except ModelError as error:
        fails(error)


def _look(base: Base, document: KnownDocument) -> None:
    """The passages of a document one after the other, and for text its encoding."""
    if document.encoding and is_mine(base):
        known = list(dict.fromkeys([document.encoding, *ENCODINGS]))
        key = f"encoding_{document.id}"

        def read_again() -> None:
            reading.read_again(library(), document.id, st.session_state[key])

        st.selectbox(
            t("knowledge.encoding"), known, key=key, help=t("knowledge.encoding_help"), on_change=read_again
        )  # fmt: skip
    shown = library().passages_of(document.id)[:60]
    st.html(chunks_html((one.text, f"{one.position + 1} · {one.label}") for one in shown))


def _cut(base_id: str, size: int) -> None:
    """Callback: the base is cut anew."""
    reading.cut_again(library(), base_id, size)


def _size(base: Base, known: list[KnownDocument]) -> None:
    """How long passages are: moved, seen over a document, and only then applied."""
    ready = [document for document in known if document.state == "ready"]
    panel = st.expander(t("knowledge.passage_size"), icon=":material/content_cut:", key="size_panel", on_change="rerun")
    if not panel.open or not ready:
        return
    with panel:
        key = f"size_{base.id}"
        size = st.slider(
            t("knowledge.passage_size"), 60, 450, base.size, 10, key=key, help=t("knowledge.passage_size_help")
        )
        read = reading.as_read(library(), ready[0])
        cut = chunks(read, estimated_tokens, size, size // 10)
        st.caption(f"{escaped(ready[0].name)}: {t('knowledge.passages_preview', count=len(cut), size=size)}")
        st.html(chunks_html((one.text, f"{one.position + 1} · {one.tokens}") for one in cut[:60]))
        st.button(
            t("knowledge.passage_size_apply"),
            type="primary",
            key="apply_size",
            disabled=size == base.size,
            on_click=_cut,
            args=(base.id, size),
        )
