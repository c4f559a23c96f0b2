"""What the machine has: processor, memory, disk and GPUs. Read in milliseconds, without torch; probes fail softly."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llm.machine.gpus import Gpu, GpuProcess, GpuReading, nvidia_card_present, read_gpus
from llm.machine.limits import Limits, limits, usable_cpus

__all__ = ["Disk", "Gpu", "GpuProcess", "GpuReading", "Hardware", "disk", "hardware"]

# What decides the speed of CPU inference, in the order in which to show it.
_INTERESTING = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "neon", "asimd", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Disk:
    """Space at a folder, or at its nearest parent that is there. None: unknown."""

    path: Path
    total_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Hardware:
    """One reading of the machine.

    ram_total_bytes and ram_free_bytes: what this process may use, containers' and processes' limits respected;
    `limit` names the one that binds. usable_cores: processors that this process may keep busy. mps: an Apple
    GPU that torch's `mps` device drives, sharing the RAM. gpu_problem: why no GPU could be read, in English.
    nvidia_card: an NVIDIA card is there, with or without a driver.
    """

    os: str
    python: str
    cpu: str
    physical_cores: int
    logical_cores: int
    usable_cores: int
    instruction_sets: tuple[str, ...]
    ram_total_bytes: int
    ram_free_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int
    gpus: tuple[Gpu, ...] = ()
    gpu_problem: str = ""
    nvidia_card: bool = False
    mps: bool = False
    limit: str = ""

    @property
    def gpu_free_bytes(self) -> int:
        """Free memory of the GPU that has most of it; 0 without a GPU."""
        return max((gpu.memory_free_bytes for gpu in self.gpus), default=0)


def hardware() -> Hardware:
    """Reads the machine now. Takes a few milliseconds after the first call; never raises."""
    import psutil

    memory = psutil.virtual_memory()
    try:
        swap = psutil.swap_memory()
        swap_total, swap_free = swap.total, swap.free
    except (OSError, RuntimeError, psutil.Error):  # some containers hide /proc/vmstat
        swap_total = swap_free = 0
    bounds = limits()
    reading = read_gpus()
    logical = psutil.cpu_count() or os.cpu_count() or 1
    usable = usable_cpus(bounds.cpus, logical)
    return Hardware(
        os=operating_system(),
        python=platform.python_version(),
        cpu=cpu_name(),
        physical_cores=psutil.cpu_count(logical=False) or logical,
        logical_cores=logical,
        usable_cores=usable,
        instruction_sets=instruction_sets(),
        ram_total_bytes=_smallest(memory.total, bounds.memory_bytes),
        ram_free_bytes=_smallest(memory.available, bounds.memory_left_bytes),
        swap_total_bytes=swap_total,
        swap_free_bytes=swap_free,
        gpus=reading.gpus,
        gpu_problem=reading.problem,
        nvidia_card=bool(reading.gpus) or nvidia_card_present(),
        mps=has_mps(sys.platform, platform.machine(), platform.mac_ver()[0]),
        limit=_binding(bounds, memory.total),
    )


def disk(path: Path) -> Disk:
    """Space where `path` lies or would lie. Never raises."""
    place = path.expanduser()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return Disk(path)
    return Disk(path, usage.total, usage.free)


def _smallest(machine: int, limit: int | None) -> int:
    return machine if limit is None else min(machine, limit)


def _binding(bounds: Limits, total: int) -> str:
    return bounds.source if bounds.memory_bytes is not None and bounds.memory_bytes < total else ""


@cache
def operating_system() -> str:
    """Name, version and machine type, such as "Debian GNU/Linux 12 (x86_64)"."""
    if sys.platform == "darwin":
        name = f"macOS {platform.mac_ver()[0]}"
    elif sys.platform == "win32":
        name = f"Windows {platform.release()} {platform.version()}"
    else:
        try:
            name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
        except OSError:
            name = f"{platform.system()} {platform.release()}"
        if "microsoft" in platform.release().lower():
            name += ", WSL"
    return f"{name} ({platform.machine()})"


@cache
def cpu_name() -> str:
    """The processor's own name; the machine type where it has none."""
    if sys.platform == "win32":
        import winreg as registry

        try:
            with registry.OpenKey(
                registry.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
            ) as key:
                return str(registry.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        except OSError:
            return platform.processor()
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.processor()
    return parse_cpuinfo(_cpuinfo())[0] or platform.processor() or platform.machine()


@cache
def instruction_sets() -> tuple[str, ...]:
    """Vector and matrix instruction sets by their Linux names, in the order of `_INTERESTING`."""
    if sys.platform == "win32":
        import ctypes

        # Numbers of winnt.h's PF_* constants.
        features = {38: "sse4_2", 39: "avx", 40: "avx2", 41: "avx512f", 19: "neon", 43: "asimddp"}
        has = ctypes.windll.kernel32.IsProcessorFeaturePresent
        return tuple(name for number, name in features.items() if has(number))
    if sys.platform == "darwin":
        words = f"{_sysctl('machdep.cpu.features')} {_sysctl('machdep.cpu.leaf7_features')}".lower().replace(".", "_")
        found = {"avx" if word == "avx1_0" else word for word in words.split()}
        arm = {"neon": "AdvSIMD", "asimddp": "arm.FEAT_DotProd", "i8mm": "arm.FEAT_I8MM", "bf16": "arm.FEAT_BF16"}
        found |= {name for name, key in arm.items() if _sysctl(f"hw.optional.{key}") == "1"}
        return tuple(name for name in _INTERESTING if name in found)
    return parse_cpuinfo(_cpuinfo())[1]


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and interesting instruction sets out of Linux's /proc/cpuinfo (x86 and ARM)."""
    name = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    found = set(flags.group(1).split()) if flags else set()
    return name.group(1).strip() if name else "", tuple(item for item in _INTERESTING if item in found)


def has_mps(system: str, machine: str, mac_version: str) -> bool:
    """Whether torch's Metal device can be there: Apple silicon with macOS 12.3 or newer (torch's own condition)."""
    if system != "darwin" or machine != "arm64":
        return False
    numbers = [int(part) for part in mac_version.split(".")[:2] if part.isdigit()]
    return tuple(numbers) >= (12, 3)


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
