"""What a run has come to: answers before and after, one sentence, both models side by side, and what it leaves with."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from llm.catalogue.adapters import SIGN, adapters, is_name
from llm.catalogue.lookup import find
from llm.errors import ModelError
from llm.finetune.data import Row, normal
from llm.finetune.evaluate import Evaluation, ask, evaluation_of, tuned_entry
from llm.finetune.export import Export, export, exports_of, use_in_chat, zipped
from llm.finetune.metrics import SCORE_NAMES
from llm.finetune.run import Checkpoint, Run
from llm.jobs import JobRecord, jobs
from ui.shared.i18n import explain, t
from ui.shared.jobs import job_card
from ui.shared.markdown import escaped
from ui.shared.state import CHAT_CONVERSATION, CHAT_NEW_MODEL, owner

SMALL: tuple[Export, ...] = ("peft", "gguf_lora", "prefix", "recipes")
"""Exports that are made when they are fetched; the others are jobs and stay on this machine."""


def results(run: Run) -> None:
    """Draws everything about a checkpoint that can be chosen."""
    st.subheader(t("finetune.results"), anchor=False)
    checkpoint = _choose(run)
    _use(run, checkpoint)
    _evaluation(run, checkpoint)
    _side_by_side(run, checkpoint)
    _exports(run, checkpoint)


def _choose(run: Run) -> Checkpoint:
    there, best = run.checkpoints, run.best
    if len(there) == 1:
        return there[0]
    start = next((place for place, one in enumerate(there) if best and one.step == best.step), len(there) - 1)

    def named(place: int) -> str:
        step = t("finetune.checkpoint", step=there[place].step)
        return f"{step} · {t('finetune.best')}" if place == start else step

    place = st.selectbox(t("finetune.choose_checkpoint"), range(len(there)), start, format_func=named, key="checkpoint")
    return there[place]


def _use(run: Run, checkpoint: Checkpoint) -> None:
    """Keeps it under a name and leads to the chat."""
    used = [one for one in adapters() if (one.note.run, one.note.step) == (run.id, checkpoint.step)]
    if used:
        with st.container(horizontal=True, vertical_alignment="center"):
            name = f"{run.config.base}{SIGN}{used[0].name}"
            st.success(t("finetune.in_chat", model=escaped(name)), icon=":material/check:")
            if st.button(t("finetune.open_chat"), icon=":material/chat:", key="open_chat"):
                st.session_state[CHAT_NEW_MODEL] = name
                st.session_state.pop(CHAT_CONVERSATION, None)
                st.switch_page("pages/chat.py")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(t("finetune.adapter_name"), _plain(run.config.name), key="adapter_name", max_chars=64)
        pressed = st.button(t("finetune.use"), type="primary", icon=":material/chat:", key="use_in_chat")
    if pressed and not is_name(name):
        st.error(t("finetune.bad_name"))
    elif pressed:
        try:
            use_in_chat(run, checkpoint, name)
            st.rerun()
        except (ModelError, OSError) as error:
            st.error(explain(error) if isinstance(error, ModelError) else str(error), icon=":material/error:")


def _plain(name: str) -> str:
    """A run's name as an adapter's."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in name).strip("-")
    return kept[:40] or "adapter"


def _evaluation(run: Run, checkpoint: Checkpoint) -> None:
    found = evaluation_of(run, checkpoint.step)
    job = _last("finetune.evaluate", run, checkpoint)
    if job is not None and (job.active or job.state == "failed"):
        job_card(job.id)
    if found is None and (job is None or not job.active):
        st.caption(t("finetune.evaluate_help"))
        st.button(
            t("finetune.evaluate"),
            icon=":material/grading:",
            key="evaluate",
            on_click=_start,
            args=("finetune.evaluate", run, checkpoint),
        )
    if found is not None:
        verdict(found)
        _scores(found)
        _answers(found)


def verdict(found: Evaluation) -> None:
    """The one sentence, with its number of rows."""
    said = found.verdict()
    rounded = {name: f"{said[name]:.1f}" for name in ("before", "after", "low", "high")}
    sentence = t(f"finetune.verdict_{said['finding']}", n=said["n"], **rounded)
    st.markdown(f"**{sentence}**")


def _scores(found: Evaluation) -> None:
    before, after = found.means
    st.table(
        [
            {
                t("finetune.score"): t(f"finetune.score_{name}"),
                t("finetune.sample_before"): f"{getattr(before, name):.1f}",
                t("finetune.sample_after"): f"{getattr(after, name):.1f}",
            }
            for name in SCORE_NAMES
        ]
    )
    st.caption(t("finetune.scores_help"))


def _answers(found: Evaluation) -> None:
    rows = [
        {
            t("finetune.sample_question"): row.question,
            t("finetune.sample_before"): row.before,
            t("finetune.sample_after"): row.after,
            t("finetune.sample_reference"): row.reference,
            t("finetune.changed"): normal(row.before) != normal(row.after),
        }
        for row in found.rows
    ]
    st.dataframe(rows, hide_index=True, key="answers")


def _side_by_side(run: Run, checkpoint: Checkpoint) -> None:
    st.subheader(t("finetune.side_by_side"), anchor=False)
    question = st.text_input(t("finetune.ask_both"), key="both_question")
    strength = st.slider(
        t("settings.strength"), 0.0, 1.5, 1.0, 0.05, key="both_strength", help=t("settings.strength_help")
    )
    if not st.button(t("finetune.ask"), icon=":material/compare:", key="ask_both") or not question.strip():
        return
    row = Row.of(question, "")
    left, right = st.columns(2)
    for place, name in ((left, "alone"), (right, "tuned")):
        with place, st.container(border=True):
            st.caption(t(f"finetune.{name}"))
            try:
                with st.spinner(t("finetune.asking")):
                    entry = find(run.config.base) if name == "alone" else tuned_entry(run, checkpoint)
                    st.text(ask(entry, row, 256, strength=strength) or "–")
            except (ModelError, OSError) as error:
                st.error(explain(error) if isinstance(error, ModelError) else str(error), icon=":material/error:")


def _exports(run: Run, checkpoint: Checkpoint) -> None:
    st.subheader(t("finetune.exports"), anchor=False)
    try:
        kinds = exports_of(run, checkpoint)
    except ModelError as error:
        st.error(explain(error), icon=":material/error:")
        return
    with st.container(horizontal=True):
        for kind in kinds:
            if kind in SMALL:
                st.download_button(
                    t(f"finetune.export_{kind}"),
                    partial(_made, run, checkpoint, kind),
                    file_name=f"{_plain(run.config.name)}-{kind}{'.gguf' if kind == 'gguf_lora' else '.zip'}",
                    icon=":material/download:",
                    key=f"export_{kind}",
                    help=t(f"finetune.export_{kind}_help"),
                    on_click="ignore",
                )
            else:
                st.button(
                    t(f"finetune.export_{kind}"),
                    icon=":material/merge:",
                    key=f"export_{kind}",
                    help=t(f"finetune.export_{kind}_help"),
                    on_click=_start,
                    args=("finetune.export", run, checkpoint, kind),
                )
    for kind in kinds:
        job = _last("finetune.export", run, checkpoint, kind)
        if job is not None:
            job_card(job.id)
            if job.state == "done":
                told = {"same": job.result["same"], "asked": job.result["asked"]}
                st.markdown(t("finetune.merged", path=escaped(job.result["path"]), **told))


def _made(run: Run, checkpoint: Checkpoint, kind: Export) -> bytes:
    with TemporaryDirectory(prefix="hearth-") as folder:
        return zipped(export(run, checkpoint, kind, Path(folder)))


def _start(kind: str, run: Run, checkpoint: Checkpoint, export_kind: Export | None = None) -> None:
    """Callback: begins a job about a checkpoint."""
    params = {"run": run.id, "step": checkpoint.step, **({"kind": export_kind} if export_kind else {})}
    what = t(f"finetune.job_{export_kind or 'evaluate'}")
    jobs().start(kind, f"{run.config.name} · {what}", params, owner())


def _last(kind: str, run: Run, checkpoint: Checkpoint, export_kind: Export | None = None) -> JobRecord | None:
    wanted = {"run": run.id, "step": checkpoint.step, "kind": export_kind}
    mine = (job for job in jobs().all(owner(), kind) if all(job.params.get(n) == v for n, v in wanted.items()))
    return next(mine, None)
