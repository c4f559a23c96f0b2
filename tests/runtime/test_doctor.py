"""The doctor: findings as data, their words in both languages, the terminal's exit code, the report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llm.diagnostics import doctor, network
from llm.diagnostics import machine as doctor_machine
from llm.diagnostics import software as doctor_software
from llm.diagnostics.checks import Check, Examiner
from llm.diagnostics.packages import packages
from llm.diagnostics.report import Report
from llm.engines.probes import ProbeFailed, probe
from llm.machine.gpus import Gpu, GpuReading
from llm.machine.hardware import Disk
from llm.machine.torch_build import TorchBuild, parse_version_file, torch_build
from llm.machine.torch_command import cuda_build, torch_command

ROOT = Path(__file__).resolve().parents[2]
CARD = Gpu(0, "RTX 4070", 12 << 30, 9 << 30, driver="580.65", cuda_version="13.0", compute_capability="8.9")


def test_quick_checks_are_quick_and_import_no_torch(data_folder: Path) -> None:
    code = (
        "import sys, time; from llm.diagnostics import doctor; doctor.run(slow=False); b = time.perf_counter();"
        "found = doctor.run(slow=False); print(time.perf_counter() - b, 'torch' in sys.modules, len(found))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    seconds, torch, count = out.stdout.split()
    assert float(seconds) < 2
    assert torch == "False"
    assert int(count) >= 12


def test_every_case_has_words_in_both_languages() -> None:
    """Reads the cases out of the source: a finding without words would be an empty line on the page."""
    cases = set()
    for module in (doctor_software, doctor_machine):
        source = Path(module.__file__).read_text(encoding="utf-8")
        for arguments in re.findall(r"Check\(((?:[^()]|\([^()]*\))*)\)", source):
            words = re.findall(r'"([a-z_]+)"', arguments.split("{")[0])
            names = [words[0]] if words and arguments.startswith('"') else ["disk_data", "disk_models"]
            for case in (word for word in words if word not in ("ok", "warn", "fail", *names)):
                cases |= {(name, case) for name in names}
    cases.discard(("disk_models", "full"))
    assert len(cases) > 40
    for language in ("en", "zh"):
        words = doctor.sentences(language)
        assert [f"{name}_{case}" for name, case in sorted(cases) if f"{name}_{case}" not in words] == []
        assert [name for name, _ in cases if name not in words] == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_findings_of_this_machine_can_be_said(data_folder: Path, language: str) -> None:
    for check in doctor.run(slow=False):
        name, finding, mend = doctor.say(doctor.sentences(language), check)
        assert name and finding and "{" not in finding + mend
        if check.status != "ok":
            assert mend, check


def test_an_examiner_that_fails_is_a_finding() -> None:
    def broken() -> Check:
        raise ZeroDivisionError("x")

    found = Examiner("cpu", broken).run()
    assert (found.status, found.case) == ("warn", "unknown")
    assert "ZeroDivisionError" in doctor.say(doctor.sentences("en"), found)[1]


def run_doctor(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, "HEARTH_HOME": str(home), "LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8", **environment}
    command = [sys.executable, "-m", "llm", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT, env=whole)


def test_terminal_in_json_is_good_here(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--json")
    found = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    broken = [check for check in found.values() if check["status"] == "fail"]
    assert (done.returncode, broken) == (0, []), done.stderr
    assert {name: found[name]["case"] for name in ("llamacpp", "rounding", "bitsandbytes", "media", "data_folder")} == {
        "llamacpp": "good", "rounding": "good", "bitsandbytes": "good", "media": "good", "data_folder": "good",
    }  # fmt: skip


def test_terminal_exits_non_zero_and_says_how_to_mend_when_something_required_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a file where a folder should be")
    done = run_doctor(file / "home", LANG="zh_CN.UTF-8")
    assert done.returncode == 1, done.stdout
    assert "数据文件夹" in done.stdout and "HEARTH_HOME" in done.stdout


def test_unknown_arguments_are_refused() -> None:
    assert subprocess.run([sys.executable, "-m", "llm", "doctr"], capture_output=True, cwd=ROOT, timeout=60).returncode


# ---- torch


def with_torch(monkeypatch: pytest.MonkeyPatch, build: TorchBuild, *gpus: Gpu, card: bool = False) -> Check:
    monkeypatch.setattr(doctor_software, "torch_build", lambda: build)
    monkeypatch.setattr(doctor_software, "read_gpus", lambda: GpuReading(gpus, "" if gpus else "none"))
    monkeypatch.setattr(doctor_software, "nvidia_card_present", lambda: card)
    return doctor_software.torch()


def test_the_trap_of_a_cpu_only_torch_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_torch(monkeypatch, TorchBuild("2.13.0+cpu"), CARD)
    assert (found.status, found.case) == ("warn", "cpu_only")
    _, finding, mend = doctor.say(doctor.sentences("en"), found)
    assert "RTX 4070" in finding
    assert "pip install" in mend and "torch==2.13.0 " in mend and "/whl/cu130" in mend


def test_the_trap_seen_with_a_driver_library(run_with_gpus) -> None:
    """The same by way of the real binding: this machine's torch is the CPU build, the stand-in has a GPU."""
    if not torch_build().cpu_only:
        pytest.skip("this machine's torch is no CPU build")
    code = "from llm.diagnostics.software import torch; c = torch(); print(c.case, c.values['command'])"
    assert run_with_gpus(code).startswith("cpu_only python3 -m pip install")
    assert "/whl/cu126" in run_with_gpus(code, STANDIN_CUDA="12040")
    code = "from llm.diagnostics.software import torch; print(torch().case)"
    assert run_with_gpus(code, STANDIN_CUDA="11080") == "driver_old\n"


def test_other_pairs_of_torch_and_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Gpu(0, "RTX 3060", 12 << 30, 9 << 30, driver="550", cuda_version="12.4", compute_capability="8.6")
    assert with_torch(monkeypatch, TorchBuild("2.13.0+cu130", "13.0"), CARD).case == "cuda"
    assert with_torch(monkeypatch, TorchBuild("2.13.0+cu130", "13.0"), old).case == "too_new"
    assert with_torch(monkeypatch, TorchBuild("2.13.0+cu126", "12.6"), old).case == "cuda"
    assert with_torch(monkeypatch, TorchBuild("2.13.0+cu126", "12.6"), card=True).case == "no_driver"
    assert with_torch(monkeypatch, TorchBuild()).case == "missing"


def test_the_command_suits_system_driver_and_card() -> None:
    assert torch_command("win32", "2.13.0+cpu", CARD).startswith("python -m pip")  # type: ignore[union-attr]
    assert cuda_build("13.1", "8.9") == "cu130"
    assert cuda_build("13.0", "6.1") == "cu126"  # CUDA 13 left Pascal cards behind
    assert cuda_build("12.2", "8.9") == "cu126"
    assert cuda_build("11.8", "8.9") is None
    assert cuda_build("", "") is None


def test_torch_s_version_file_is_read_without_importing() -> None:
    text = "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
    assert parse_version_file(text) == TorchBuild("2.13.0+cu130", "13.0", None)
    assert torch_build().version


# ---- packages, probes, machine


def test_packages_against_a_list(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    lines = ["# why", "pytest==0.1", "packaging", "no-such-package==1.0", "x==1; sys_platform == 'no'", "-r other.txt"]
    file.write_text("\n".join(lines))
    found = {package.name: package.state for package in packages(file)}
    assert found == {"pytest": "other", "packaging": "ok", "no-such-package": "missing"}
    assert packages(tmp_path / "nothing.txt") == []


def test_a_probe_that_fails_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeFailed, match="KeyError"):
        probe("nothing of that name")
    with pytest.raises(ProbeFailed, match="no answer"):
        probe("torch", timeout_s=0.01)


@pytest.mark.parametrize(
    ("name", "free", "case"),
    [
        ("disk_data", 50 * 10**9, "good"),
        ("disk_data", 10**9, "low"),
        ("disk_data", 10**6, "full"),
        ("disk_models", 10**6, "low"),
        ("disk_models", None, "unreadable"),
    ],
)
def test_disks(name: str, free: int | None, case: str) -> None:
    found = doctor_machine._disk(name, Disk(Path.home() / "models", None if free is None else 10**11, free))
    assert found.case == case
    assert found.values["path"] == str(Path("~") / "models")


def test_a_port_in_use_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        monkeypatch.setenv("STREAMLIT_SERVER_PORT", str(server.server_port))
        assert doctor_machine.port().case == "used"
    assert doctor_machine.port().case == "free"
    assert doctor_machine.loopback().case == "good"


# ---- network


class Hub(BaseHTTPRequestHandler):
    """Answers as the path says."""

    def do_HEAD(self) -> None:
        self.send_response(int(self.path.strip("/") or 200))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_hubs_that_answer_and_hubs_that_don_t(hub: str) -> None:
    good = network.reach("hub", hub)
    assert good.ok and 0 < good.latency_s < 2
    assert network.reach("hub", f"{hub}/403").ok  # it is there; what it thinks of strangers is another matter
    assert not network.reach("hub", f"{hub}/502").ok
    assert not network.reach("hub", "http://127.0.0.1:9").ok
    assert not network.reach("hub", "file:///etc/passwd").ok
    assert network.reach("hub", hub.replace("//", "//me:secret@")).url == hub


def test_unreachable_hubs_cost_no_more_than_the_timeout(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "reach_all", lambda: network.reach_all(0.5))
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(network, "places", lambda: [("here", hub), ("there", nowhere)])
    found = doctor_machine.network()
    assert (found.status, found.case) == ("warn", "some")
    monkeypatch.setattr(network, "places", lambda: [("there", nowhere)])
    assert doctor_machine.network().case == "none"


def test_the_places_follow_the_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "pip_index_url", lambda: "https://index.example/simple")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    urls = [url for _, url in network.places()]
    assert urls[0] == "https://mirror.example"
    assert urls[-1] == "https://index.example/simple"


# ---- report


def test_the_report_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path.home())
    check = Check("data_folder", "fail", "refused", {"path": f"{home}/secret place", "detail": "hf_abcdefghijklmnop"})
    report = Report([check], [f"loading {home}/models/x with token=abcdefghijkl"], {"flops": 1.0})
    for text in (report.to_markdown(), report.to_json()):
        assert home not in text.replace("~", "")
        assert "hf_abcdefghijklmnop" not in text and "abcdefghijkl" not in text
        assert "data_folder" in text and "refused" in text
    assert json.loads(report.to_json())["self_test"] == {"flops": 1.0}


def test_the_report_of_gpus_has_no_serial_numbers(run_with_gpus) -> None:
    text = run_with_gpus("from llm.diagnostics.report import Report; print(Report([]).to_json())")
    assert "RTX 4070" in text
    assert "GPU-aaaa" not in text
