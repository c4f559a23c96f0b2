"""The machine as read: containers' limits, processors' names, GPUs through the real binding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from llm.machine.gpus import nvidia_card_present, read_gpus
from llm.machine.hardware import disk, hardware, has_mps, parse_cpuinfo
from llm.machine.limits import limits, usable_cpus

GIB = 1 << 30


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_this_machine_is_read_without_torch_and_fast() -> None:
    code = (
        "import sys, time; from llm.machine.hardware import hardware; hardware(); b = time.perf_counter();"
        "h = hardware(); print(time.perf_counter() - b, 'torch' in sys.modules, h.physical_cores, h.ram_total_bytes)"
    )
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=root)
    seconds, torch, cores, ram = out.stdout.split()
    assert float(seconds) < 0.5
    assert torch == "False"
    assert int(cores) >= 1
    assert 0 < int(ram) <= psutil.virtual_memory().total


def test_everything_that_a_page_shows_is_there() -> None:
    machine = hardware()
    assert machine.os and machine.cpu and machine.python.startswith("3.")
    assert 1 <= machine.usable_cores <= machine.logical_cores
    assert 0 < machine.ram_free_bytes <= machine.ram_total_bytes


def test_a_container_of_version_2_has_its_own_memory_and_processors(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        {
            "proc/self/cgroup": "0::/box/inner\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            "sys/fs/cgroup/box/memory.max": str(4 * GIB),
            "sys/fs/cgroup/box/memory.current": str(3 * GIB),
            "sys/fs/cgroup/box/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            "sys/fs/cgroup/box/inner/memory.max": "max",
            "sys/fs/cgroup/box/inner/cpu.max": "150000 100000",
        },
    )
    found = limits(root)
    assert (found.memory_bytes, found.memory_left_bytes) == (4 * GIB, 2 * GIB)
    assert found.cpus == 1.5
    assert usable_cpus(found.cpus, 8) == 2


def test_a_container_of_version_1_has_its_own_memory_and_processors(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
    )
    found = limits(root)
    assert (found.memory_bytes, found.memory_left_bytes, found.cpus) == (2 * GIB, GIB, 0.5)


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n1:cpu:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert limits(root).memory_bytes is None
    assert limits(root).cpus is None
    assert limits(tmp_path / "nothing").memory_bytes is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_process_limit_is_what_the_process_has() -> None:
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({2 * GIB}, {2 * GIB}));"
        "from llm.machine.hardware import hardware; h = hardware(); print(h.ram_total_bytes, h.ram_free_bytes, h.limit)"
    )
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=root)
    total, free, limit = out.stdout.split(" ", 2)
    assert int(total) == 2 * GIB
    assert 0 < int(free) < 2 * GIB
    assert limit.strip() == "address space limit"


def test_cpuinfo_of_intel_and_arm() -> None:
    name, sets = parse_cpuinfo(
        "processor : 0\nmodel name\t: Intel(R) Core(TM) i5\nflags\t\t: fpu avx2 sse4_2 amx_tile\n"
    )
    assert name == "Intel(R) Core(TM) i5"
    assert sets == ("sse4_2", "avx2", "amx_tile")
    assert parse_cpuinfo("Features : fp asimd i8mm\nHardware : BCM2711\n") == ("BCM2711", ("asimd", "i8mm"))
    assert parse_cpuinfo("") == ("", ())


def test_apple_gpus() -> None:
    assert has_mps("darwin", "arm64", "14.2")
    assert not has_mps("darwin", "arm64", "12.1")
    assert not has_mps("darwin", "x86_64", "14.2")
    assert not has_mps("linux", "aarch64", "")


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = disk(tmp_path / "a" / "b")
    assert found.free_bytes and found.total_bytes and found.free_bytes <= found.total_bytes


def test_without_nvidia_library_there_is_a_reason_and_no_gpu() -> None:
    reading = read_gpus()
    if reading.gpus:
        pytest.skip("this machine has a GPU")
    assert reading.problem


def test_a_card_without_driver_is_seen(tmp_path: Path) -> None:
    bus = "sys/bus/pci/devices/0000:01:00"
    put(tmp_path, {f"{bus}.1/vendor": "0x10de\n", f"{bus}.1/class": "0x040300\n"})
    assert not nvidia_card_present(tmp_path)  # the sound part of a card alone is no card
    put(tmp_path, {f"{bus}.0/vendor": "0x10de\n", f"{bus}.0/class": "0x030000\n"})
    assert nvidia_card_present(tmp_path)


READ = (
    "import dataclasses, json; from llm.machine.gpus import read_gpus;"
    "print(json.dumps(dataclasses.asdict(read_gpus())))"
)


def test_gpus_through_the_real_binding(run_with_gpus) -> None:
    found = json.loads(run_with_gpus(READ, STANDIN_PID=str(os.getpid())))
    assert found["problem"] == ""
    first, second = found["gpus"]
    assert first["name"] == "NVIDIA GeForce RTX 4070"
    assert (first["memory_total_bytes"], first["memory_free_bytes"]) == (12 * GIB, 9 * GIB)
    assert (first["driver"], first["cuda_version"], first["compute_capability"]) == ("580.65.06", "13.0", "8.9")
    assert (first["use_percent"], first["temperature_c"]) == (37, 61)
    assert (first["power_w"], first["power_limit_w"]) == (120.5, 200.0)
    # One line a process, though the first one computes and draws; the largest first.
    assert [(p["pid"], p["memory_bytes"]) for p in first["processes"]] == [(os.getpid(), 2 * GIB), (1, 600 << 20)]
    assert first["processes"][0]["name"] == psutil.Process().name()
    # What this GPU hides is None, not nought.
    assert (second["use_percent"], second["power_w"], second["processes"][0]["memory_bytes"]) == (None, None, None)


def test_a_gpu_that_fell_off_the_bus_does_not_hide_the_other(run_with_gpus) -> None:
    found = json.loads(run_with_gpus(READ, STANDIN_LOST="1"))
    assert [gpu["index"] for gpu in found["gpus"]] == [0]
    assert "GPU 1" in found["problem"]


def test_a_library_without_driver_says_so(run_with_gpus) -> None:
    found = json.loads(run_with_gpus(READ, STANDIN_NO_DRIVER="1"))
    assert found["gpus"] == []
    assert "river" in found["problem"]


def test_reading_a_hundred_times_is_cheap(run_with_gpus) -> None:
    code = (
        "import time; from llm.machine.gpus import read_gpus; read_gpus(); b = time.perf_counter();"
        "[read_gpus() for _ in range(100)]; print(time.perf_counter() - b)"
    )
    assert float(run_with_gpus(code)) < 5
