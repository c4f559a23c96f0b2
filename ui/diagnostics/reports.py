"""Self-test, log and report of the Diagnostics page."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import streamlit as st

from llm.catalogue.lookup import entries, where
from llm.config import config
from llm.diagnostics.logs import LEVELS, read_log
from llm.diagnostics.report import Report
from llm.engines.probes import ProbeFailed, probe
from llm.machine.hardware import hardware
from llm.machine.speed import Speed
from llm.planning.speed import predictions
from llm.redaction import hide_home
from ui.diagnostics.checks import examination, plain
from ui.shared.i18n import t
from ui.shared.units import readable_bytes

SELF_TEST_TIMEOUT_S = 120
REFRESH_S = 0.5


class SelfTest:
    """The last self-test, shared by everybody: two at once would measure each other."""

    def __init__(self) -> None:
        self._future: Future[dict[str, Any]] | None = None

    def start(self) -> None:
        """Begins one, unless one is running."""
        if not self.running:
            pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="self-test")
            self._future = pool.submit(probe, "self_test", SELF_TEST_TIMEOUT_S)
            pool.shutdown(wait=False)

    @property
    def running(self) -> bool:
        return self._future is not None and not self._future.done()

    def speed(self) -> Speed | None:
        """The last one's figures; None before the first is done.

        Raises:
            ProbeFailed: it could not be made.
        """
        return Speed(**self._future.result()) if self._future is not None and self._future.done() else None


@st.cache_resource(show_spinner=False)
def last_self_test() -> SelfTest:
    return SelfTest()


def self_test() -> None:
    """The button, and the table of predictions."""
    st.markdown(t("diagnostics.self_test_text"))
    test = last_self_test()
    clicked = st.button(
        t("diagnostics.self_test_start"), icon=":material/speed:", key="diagnostics_self_test", disabled=test.running
    )
    if clicked:
        test.start()
        st.rerun()
    st.fragment(_self_test_result, run_every=REFRESH_S if test.running else None)(test.running)


def _self_test_result(was_running: bool) -> None:
    test = last_self_test()
    if test.running:
        st.info(t("diagnostics.self_test_running"), icon=":material/hourglass_top:")
        return
    if was_running:
        st.rerun()
    try:
        speed = test.speed()
    except ProbeFailed as error:
        st.error(t("diagnostics.self_test_failed", detail=plain(str(error))))
        return
    if speed is None:
        return
    with st.container(horizontal=True):
        st.metric(t("diagnostics.self_test_bandwidth"), f"{speed.read_bytes_per_s / 1e9:.1f} GB/s", width="content")
        st.metric(t("diagnostics.self_test_matmul"), f"{speed.flops / 1e9:.0f} GFLOP/s", width="content")
    rows = [
        {
            t("diagnostics.model"): row.entry.name,
            t("diagnostics.predicted"): round(row.tokens_per_s, 1),
            t("diagnostics.precision"): row.precision,
            t("diagnostics.needs"): readable_bytes(row.needed_bytes),
        }
        for row in predictions(entries(), speed, hardware(), where)
    ]
    if rows:
        st.dataframe(rows, hide_index=True)
    else:
        st.info(t("diagnostics.self_test_none"))


def log() -> None:
    """The log's newest lines, by level and words."""
    least_column, words_column = st.columns([1, 2])
    least = least_column.selectbox(t("diagnostics.log_level"), LEVELS, index=1, key="diagnostics_log_level")
    words = words_column.text_input(t("diagnostics.log_words"), key="diagnostics_log_words")
    lines = read_log(least, words)
    if not lines:
        st.info(t("diagnostics.log_empty"))
        return
    st.caption(plain(t("diagnostics.log_caption", count=len(lines), path=hide_home(str(config().log_file)))))
    st.code("\n".join(str(line) for line in reversed(lines)), language=None, wrap_lines=True, height=480)


def report() -> None:
    """Everything in one text, to be copied into a bug report."""
    st.markdown(t("diagnostics.report_text"))
    round_of_checks = examination()
    if round_of_checks.pending():
        st.caption(f":material/hourglass_top: {t('diagnostics.report_waiting')}")
    try:
        speed = last_self_test().speed()
    except ProbeFailed:
        speed = None
    made = Report(
        round_of_checks.found(), [str(line) for line in read_log("WARNING")], speed.to_dict() if speed else None
    )
    texts = {
        "markdown": (made.to_markdown(), "md", "text/markdown"),
        "json": (made.to_json(), "json", "application/json"),
    }
    chosen = st.segmented_control(
        t("diagnostics.section_report"),
        list(texts),
        default="markdown",
        required=True,
        key="diagnostics_report_format",
        format_func=lambda name: t(f"diagnostics.report_{name}"),
        label_visibility="collapsed",
    )
    text, suffix, kind = texts[chosen or "markdown"]
    st.download_button(
        t("diagnostics.report_download"),
        text,
        f"hearth-report.{suffix}",
        kind,
        icon=":material/download:",
        key="diagnostics_download",
    )
    st.code(text, language="json" if chosen == "json" else "markdown", wrap_lines=True, height=420)
