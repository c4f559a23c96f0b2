"""Rows to learn from: sets, a table to look at and edit, and which rows are held out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import streamlit as st

from llm.errors import ModelError
from llm.finetune.data import Dataset, Row, hold_out, load_set, remove_set, save_set
from llm.finetune.files import TYPES, read_file
from llm.messages import Message, assistant, user
from ui.finetune.doctor import doctor
from ui.finetune.state import SET, TIMES, open_set, sets, table_changed
from ui.shared.i18n import explain, t
from ui.shared.state import owner

SHOWN_PROBLEMS = 10
SHOWN_ROWS = 1000
"""So many rows can be edited in the browser; a larger set is looked at, and edited as a file."""


def rows_section() -> None:
    """Draws the sets, and the one that is open as a table."""
    with st.expander(t("finetune.new_set"), icon=":material/add:", expanded=not sets()):
        _new_set()
    data = _choose()
    if data is None:
        st.info(t("finetune.no_sets"), icon=":material/info:")
        return
    _facts(data)
    doctor(data)
    _table(data)


def _choose() -> Dataset | None:
    known = sets()
    if not known:
        return None
    ids = [info.id for info in known]
    start = ids.index(st.session_state[SET]) if st.session_state.get(SET) in ids else 0
    names = {info.id: info.name for info in known}
    chosen = st.selectbox(t("finetune.set"), ids, start, format_func=names.__getitem__, key="choose_set")
    st.session_state[SET] = chosen
    return open_set()


def _new_set() -> None:
    name = st.text_input(t("finetune.set_name"), key="new_set_name", max_chars=80)
    file = st.file_uploader(t("finetune.file"), type=list(TYPES), key="new_set_file", max_upload_size=64)
    if not st.button(t("finetune.make_set"), type="primary", key="make_set", disabled=not (name.strip() or file)):
        return
    try:
        rows, problems = read_file(file.name, file.getvalue()) if file else ([Row.of("", "")], [])
    except ModelError as error:
        st.error(explain(error), icon=":material/error:")
        return
    if problems:
        lines = ", ".join(f"{p.number} ({t(f'finetune.problem_{p.code}')})" for p in problems[:SHOWN_PROBLEMS])
        st.warning(t("finetune.bad_lines", count=len(problems), lines=lines), icon=":material/warning:")
    if not rows:
        st.error(t("finetune.no_rows"), icon=":material/error:")
        return
    source = file.name if file else ""
    st.session_state[SET] = save_set(name.strip() or source, rows, owner=owner(), source=source).id
    if not problems:
        st.rerun()


def _facts(data: Dataset) -> None:
    parts = [
        t("finetune.rows_count", count=len(data.rows)),
        t("finetune.held_out_count", count=len(data.held_out)),
        t("finetune.version", version=data.version),
        f"sha256 {data.hash[:12]}",
    ]
    st.caption(" · ".join(parts))


def _table(data: Dataset) -> None:
    """A table whose rows can be changed, added and taken out."""
    times = st.session_state.setdefault(TIMES, 0)
    shown = [_cells(place, row, place in data.held_out) for place, row in enumerate(data.rows[:SHOWN_ROWS])]
    if len(data.rows) > SHOWN_ROWS:
        st.dataframe(shown, hide_index=True, column_order=("number", "question", "answer", "held_out"))
        st.caption(t("finetune.too_many_to_edit", shown=SHOWN_ROWS))
        _buttons(data)
        return
    edited = st.data_editor(
        shown,
        num_rows="dynamic",
        hide_index=True,
        column_order=("number", "question", "answer", "held_out"),
        column_config={
            "number": st.column_config.NumberColumn("#", width=40, disabled=True),
            "question": st.column_config.TextColumn(t("finetune.question"), width="medium"),
            "answer": st.column_config.TextColumn(t("finetune.answer"), width="medium"),
            "held_out": st.column_config.CheckboxColumn(t("finetune.held_out"), help=t("finetune.held_out_help")),
        },
        key=f"rows_{data.id}_{data.version}_{times}",
    )
    if edited != shown and st.button(t("finetune.save_rows"), type="primary", icon=":material/save:", key="save_rows"):
        _save(data, edited)
    _buttons(data)


def _buttons(data: Dataset) -> None:
    with st.container(horizontal=True):
        st.download_button(
            t("finetune.download_rows"),
            lambda: "".join(json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in data.rows),
            file_name=f"{data.name}.jsonl",
            icon=":material/download:",
            key="download_rows",
            on_click="ignore",
        )
        st.button(
            t("finetune.draw_again"),
            icon=":material/casino:",
            key="draw_again",
            on_click=_draw,
            args=(data,),
            help=t("finetune.draw_again_help"),
        )
        st.button(t("finetune.remove_set"), icon=":material/delete:", key="remove_set", on_click=_remove, args=(data,))


def _cells(place: int, row: Row, held: bool) -> dict[str, Any]:
    question = row.prompt if row.messages else ""
    return {"number": place + 1, "place": place, "question": question, "answer": row.response, "held_out": held}


def _save(data: Dataset, edited: list[dict[str, Any]]) -> None:
    """Keeps the table as the set's next version."""
    rows: list[Row] = []
    held: set[int] = set()
    for cells in edited:
        question, answer = (cells.get("question") or "").strip(), (cells.get("answer") or "").strip()
        if not question and not answer:
            continue
        if cells.get("held_out"):
            held.add(len(rows))
        place = cells.get("place")
        before = data.rows[int(place)] if place is not None and 0 <= int(place) < len(data.rows) else None
        rows.append(_row(before, question, answer))
    if not rows:
        st.warning(t("finetune.nothing_left"))
        return
    # The rows that were held out stay so; a first set of ten or more has some drawn.
    places = held if held or data.held_out else hold_out(rows)
    saved = save_set(data.name, rows, places, owner=data.owner, source=data.source)
    st.session_state[SET] = saved.id
    table_changed()
    st.rerun()


def _row(before: Row | None, question: str, answer: str) -> Row:
    """A row with other words; what was said before its last question stays."""
    if before is None:
        return Row.of(question, answer)
    if not before.messages:
        return replace(before, text=answer)
    if (before.prompt, before.response) == (question, answer):
        return before
    asked = max((n for n, message in enumerate(before.messages) if message.role == "user"), default=0)
    messages: tuple[Message, ...] = (*before.messages[:asked], user(question), assistant(answer))
    return replace(before, messages=messages)


def _draw(data: Dataset) -> None:
    """Callback: other rows are held out, drawn by chance."""
    draws = (hold_out(data.rows, seed=data.version + number) for number in range(20))
    places = next((places for places in draws if places != data.held_out), data.held_out)
    save_set(data.name, data.rows, places, owner=data.owner, source=data.source)
    table_changed()


def _remove(data: Dataset) -> None:
    """Callback: the set goes; runs keep their own copy."""
    remove_set(data.id, data.owner)
    st.session_state.pop(SET, None)


def add_row(question: str, answer: str, rejected: str = "", history: tuple[Message, ...] = ()) -> Dataset:
    """Adds a row to the open set, or to a first one: an answer of the chat that somebody has corrected or praised."""
    row = Row((*history, user(question), assistant(answer)), rejected=rejected)
    data = open_set()
    if data is None:
        return save_set(t("finetune.from_chat"), [row], owner=owner(), source="chat")
    data = load_set(data.id, owner=owner())
    return save_set(data.name, [*data.rows, row], data.held_out, owner=owner(), source=data.source)
