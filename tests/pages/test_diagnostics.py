"""The Diagnostics page, section by section, as a visitor's session runs it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from llm.diagnostics import doctor
from llm.diagnostics.checks import Check, Examiner
from llm.machine.gpus import GpuProcess, GpuReading
from llm.machine.hardware import Gpu
from ui.diagnostics import checks as diagnostics_checks
from ui.diagnostics import live as diagnostics_live
from ui.diagnostics import reports as diagnostics_more

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "diagnostics.py")


@pytest.fixture
def page(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page with the quick checks only; the slow ones have tests of their own."""
    quick = [examiner for examiner in doctor.examiners() if not examiner.slow]
    monkeypatch.setattr(doctor, "examiners", lambda: quick)
    diagnostics_checks.examination.clear()
    diagnostics_more.last_self_test.clear()
    yield AppTest.from_file(PAGE, default_timeout=30)
    diagnostics_checks.examination.clear()
    diagnostics_more.last_self_test.clear()


def section(page: AppTest, name: str) -> AppTest:
    page.session_state["diagnostics.section"] = name
    page.run()
    assert not page.exception, page.exception
    return page


def words(page: AppTest) -> str:
    return "\n".join(element.value for element in (*page.markdown, *page.caption, *page.info, *page.code))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_findings_in_both_languages(page: AppTest, language: str) -> None:
    page.session_state["app.language"] = language
    section(page, "checks")
    expected = {"en": ("Processor", "Memory", "PyTorch build"), "zh": ("处理器", "内存", "PyTorch 版本")}[language]
    for name in expected:
        assert f"**{name}**" in words(page)
    assert "{" not in words(page)
    assert len([*page.success, *page.warning, *page.error]) == 1  # one look: ready or not


def test_red_lines_come_first_and_say_how_to_mend(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "python -m pip install torch --index-url https://wheels.example/cu130"
    values = {"version": "1+cpu", "gpu": "RTX", "driver": "1", "driver_cuda": "13.0", "cuda": "", "command": command}
    findings = [
        Check("python", "ok", "good", {"version": "3.11"}),
        Check("torch", "warn", "cpu_only", values),
        Check("llamacpp", "fail", "broken", {"detail": "a [strange] *error*"}),
    ]
    monkeypatch.setattr(doctor, "examiners", lambda: [Examiner(c.id, lambda c=c: c) for c in findings])
    diagnostics_checks.examination.clear()
    section(page, "checks")
    text = [m.value for m in page.markdown if "-badge[" in m.value]
    assert ["red" in text[0], "orange" in text[1], "green" in text[2]] == [True, True, True]
    assert r"a \[strange\] \*error\*" in text[0]
    assert command in [code.value for code in page.code]
    assert page.error


def test_slow_checks_never_hold_the_page_up(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def slow() -> Check:
        answered.wait(120)
        return Check("network", "ok", "all", {"reached": "hub (1 ms)"})

    monkeypatch.setattr(doctor, "examiners", lambda: [Examiner("network", slow, slow=True)])
    diagnostics_checks.examination.clear()
    section(page, "checks")  # returns although nothing has answered yet
    assert "Still checking: Hubs and mirrors" in words(page)
    answered.set()
    while diagnostics_checks.examination().pending():
        time.sleep(0.05)
    page.run()
    assert "hub (1 ms)" in words(page)


def test_live_readings_without_and_with_gpus(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics_live, "read_gpus", lambda: GpuReading((), "NVML not found"))
    section(page, "live")
    assert "NVML not found" in words(page)
    card = Gpu(
        0, "RTX 4070", 12 << 30, 9 << 30, use_percent=37, power_w=120.4, processes=(GpuProcess(7, "python", None),)
    )
    monkeypatch.setattr(diagnostics_live, "read_gpus", lambda: GpuReading((card,)))
    page.run()
    assert not page.exception
    figures = [metric.value for metric in page.metric]
    assert figures[0] == "37 %" and figures[3] == "120 W"
    assert figures[2] == "not told"  # this card hides its temperature
    assert page.dataframe[0].value.iloc[0].tolist() == ["python", 7, "not told"]
    assert len(page.session_state["diagnostics.history"]) == 2


def test_self_test_measures_and_predicts(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics_more, "REFRESH_S", 60)  # the test looks by itself
    section(page, "self_test")
    page.button(key="diagnostics_self_test").click().run()
    deadline = time.time() + 100
    while diagnostics_more.last_self_test().running and time.time() < deadline:
        time.sleep(0.2)
    page.run()
    assert not page.exception
    assert page.metric[0].value.endswith("GB/s") and float(page.metric[0].value.split()[0]) > 0.5
    table = page.dataframe[0].value
    assert any("SmolLM2" in name for name in table["Model"])
    speeds = list(table["Predicted tokens/s"])
    assert speeds == sorted(speeds, reverse=True) and speeds[-1] > 0


def test_log_is_filtered(page: AppTest, data_folder: Path) -> None:
    section(page, "log")
    assert page.info
    lines = ["2026-01-01 10:00:00,000 INFO llm.a: first thing", "2026-01-01 10:00:01,000 ERROR llm.b: second thing"]
    (data_folder / "hearth.log").write_text("\n".join(lines))
    page.run()
    assert page.code[0].value.splitlines()[0].endswith("second thing")  # the newest first
    page.selectbox(key="diagnostics_log_level").select("ERROR").run()
    assert "first" not in page.code[0].value
    page.text_input(key="diagnostics_log_words").input("nothing like it").run()
    assert page.info


def test_report_in_both_formats(page: AppTest) -> None:
    section(page, "report")
    assert page.code[0].value.startswith("### Hearth diagnostics")
    page.session_state["diagnostics_report_format"] = "json"
    page.run()
    assert {check["id"] for check in json.loads(page.code[0].value)["checks"]} >= {"cpu", "torch"}
    assert str(Path.home()) + "/" not in page.code[0].value
