"""The findings of the doctor on the Diagnostics page: quick ones at once, slow ones as they come in."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import streamlit as st

from llm.diagnostics import doctor
from llm.diagnostics.checks import Check, Examiner
from ui.shared.i18n import language, t
from ui.shared.markdown import escaped

REFRESH_S = 1.0
_BADGES = {
    "ok": ":green-badge[:material/check_circle: {}]",
    "warn": ":orange-badge[:material/error: {}]",
    "fail": ":red-badge[:material/cancel: {}]",
}
_ORDER = {"fail": 0, "warn": 1, "ok": 2}


class Examination:
    """One round of checks, shared by everybody who looks. Slow checks run in the background, two at a time."""

    def __init__(self) -> None:
        self._examiners = doctor.examiners()
        pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="doctor")
        self._slow: dict[str, Future[Check]] = {e.id: pool.submit(e.run) for e in self._examiners if e.slow}
        pool.shutdown(wait=False)

    def found(self) -> list[Check]:
        """What is known by now. Quick checks are made anew each time: they read what is true now."""
        return [check for examiner in self._examiners if (check := self._one(examiner)) is not None]

    def pending(self) -> list[str]:
        """Ids of the checks that still run."""
        return [name for name, future in self._slow.items() if not future.done()]

    def _one(self, examiner: Examiner) -> Check | None:
        future = self._slow.get(examiner.id)
        if future is None:
            return examiner.run()
        return future.result() if future.done() else None


@st.cache_resource(show_spinner=False, ttl=900)
def examination() -> Examination:
    """The present round; `examination.clear()` begins a new one."""
    return Examination()


def draw() -> None:
    """The list of findings, drawn again each second until the last one is there."""
    if st.button(t("diagnostics.again"), icon=":material/refresh:", key="diagnostics_again"):
        examination.clear()
    pending = bool(examination().pending())
    st.fragment(_list, run_every=REFRESH_S if pending else None)(pending)


def _list(was_pending: bool) -> None:
    current = examination()
    pending = current.pending()
    if was_pending and not pending:
        st.rerun()  # the page without the timer
    found = current.found()
    _summary(found)
    if pending:
        names = ", ".join(t(f"diagnostics.{name}") for name in pending)
        st.caption(f":material/hourglass_top: {t('diagnostics.still_checking', names=names)}")
    words = doctor.sentences(language())
    for check in sorted(found, key=lambda check: _ORDER[check.status]):
        _row(words, check)


def _summary(found: list[Check]) -> None:
    fails = sum(check.status == "fail" for check in found)
    warns = sum(check.status == "warn" for check in found)
    if fails:
        st.error(t("diagnostics.some_fail", count=fails), icon=":material/cancel:")
    elif warns:
        st.warning(t("diagnostics.some_warn", count=warns), icon=":material/error:")
    else:
        st.success(t("diagnostics.all_good"), icon=":material/check_circle:")


def _row(words: dict[str, str], check: Check) -> None:
    name, finding, mend = doctor.say(words, check)
    badge = _BADGES[check.status].format(t(f"diagnostics.status_{check.status}"))
    with st.container(border=check.status != "ok", gap="small", key=f"check_{check.id}"):
        st.markdown(f"{badge} **{plain(name)}** {plain(finding)}")
        if mend:
            command = str(check.values.get("command", ""))
            sentence = mend.removesuffix(command).rstrip() if command and mend.endswith(command) else mend
            st.markdown(f":material/build: {plain(sentence)}")
            if sentence != mend:
                st.code(command, language=None, wrap_lines=True)


def plain(text: str) -> str:
    """Words that Markdown is to leave alone: names of processors, messages of errors, paths."""
    return escaped(text.replace("\n", " "))
