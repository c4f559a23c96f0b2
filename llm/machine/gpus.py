"""NVIDIA GPUs as the driver sees them, by NVML through `nvidia-ml-py`. No CUDA context is made, no torch imported.

Every reading may be missing: laptops hide power, Windows hides the memory of processes, a virtual GPU hides
both. What is missing is None, never 0.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that uses the GPU. memory_bytes None: the driver does not say (Windows)."""

    pid: int
    name: str
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, read now.

    cuda_version: newest CUDA that the driver runs ("13.0"). compute_capability: "8.9". use_percent: share of the
    last moments in which a kernel ran. power_w and power_limit_w in watts, temperature_c in degrees Celsius.
    """

    index: int
    name: str
    memory_total_bytes: int
    memory_free_bytes: int
    driver: str = ""
    cuda_version: str = ""
    compute_capability: str = ""
    uuid: str = ""
    use_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    processes: tuple[GpuProcess, ...] = ()

    @property
    def memory_used_bytes(self) -> int:
        return self.memory_total_bytes - self.memory_free_bytes


@dataclass(frozen=True, slots=True)
class GpuReading:
    """The GPUs there are; `problem` says in English why there are none to read, "" when all is well."""

    gpus: tuple[Gpu, ...] = ()
    problem: str = ""


def read_gpus() -> GpuReading:
    """Reads every GPU now, in about a millisecond each. Never raises."""
    try:
        import pynvml as nvml
    except ImportError:
        return GpuReading(problem="nvidia-ml-py is not installed")
    with _lock:
        try:
            nvml.nvmlInit()
        except (nvml.NVMLError, OSError, AttributeError) as error:
            return GpuReading(problem=str(error))
        try:
            found, problems = [], []
            for index in range(nvml.nvmlDeviceGetCount()):
                try:
                    found.append(_read(nvml, index))
                except nvml.NVMLError as error:  # one GPU that fell off the bus must not hide the others
                    problems.append(f"GPU {index}: {error}")
            return GpuReading(tuple(found), "; ".join(problems))
        except nvml.NVMLError as error:
            return GpuReading(problem=str(error))
        finally:
            _maybe(nvml, nvml.nvmlShutdown)


def _read(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    cuda = _maybe(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2) or 0
    capability = _maybe(nvml, lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
    use = _maybe(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    power = _maybe(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    power_limit = _maybe(nvml, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
    return Gpu(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_total_bytes=int(memory.total),
        memory_free_bytes=int(memory.free),
        driver=_text(_maybe(nvml, nvml.nvmlSystemGetDriverVersion) or ""),
        cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        compute_capability=".".join(map(str, capability)) if capability else "",
        uuid=_text(_maybe(nvml, lambda: nvml.nvmlDeviceGetUUID(handle)) or ""),
        use_percent=None if use is None else int(use.gpu),
        temperature_c=_maybe(nvml, lambda: int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
        power_w=None if power is None else power / 1000,
        power_limit_w=None if power_limit is None else power_limit / 1000,
        processes=_processes(nvml, handle),
    )


def _processes(nvml: Any, handle: Any) -> tuple[GpuProcess, ...]:
    """Compute and graphics processes, one entry per process, largest first."""
    memory_of: dict[int, int | None] = {}
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _maybe(nvml, partial(ask, handle)) or []:
            used = process.usedGpuMemory
            memory_of[process.pid] = max(memory_of.get(process.pid) or 0, used) if used is not None else None
    found = [GpuProcess(pid, _process_name(pid), used) for pid, used in memory_of.items()]
    return tuple(sorted(found, key=lambda process: (-(process.memory_bytes or 0), process.pid)))


def _process_name(pid: int) -> str:
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except (psutil.Error, OSError):
        return ""


def _maybe(nvml: Any, ask: Callable[[], T]) -> T | None:
    """A reading that this GPU or driver may not have."""
    try:
        return ask()
    except (nvml.NVMLError, OSError):
        return None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def nvidia_card_present(root: Path = Path("/")) -> bool:
    """Whether an NVIDIA display card sits in the machine, driver or not (Linux and Windows)."""
    if sys.platform == "win32":
        return _windows_card()
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):  # PCI base class 03: display controllers
            return True
    return False


def _windows_card() -> bool:
    if sys.platform != "win32":
        return False
    import winreg as registry

    key = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"  # display adapters
    try:
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, key) as adapters:
            for i in range(16):
                try:
                    with registry.OpenKey(adapters, f"{i:04}") as adapter:
                        name = registry.QueryValueEx(adapter, "DriverDesc")[0]
                        if "nvidia" in str(name).lower():
                            return True
                except OSError:
                    continue
    except OSError:
        return False
    return False
