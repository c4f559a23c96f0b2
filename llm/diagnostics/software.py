"""Checks of what is installed: Python, packages, torch, bitsandbytes, sound, the engines."""

from __future__ import annotations

import platform
import sys

from llm.diagnostics.checks import Check, Examiner
from llm.diagnostics.packages import packages
from llm.engines.probes import ProbeFailed, probe
from llm.machine.gpus import nvidia_card_present, read_gpus
from llm.machine.hardware import has_mps, operating_system
from llm.machine.torch_build import torch_build
from llm.machine.torch_command import numbers, torch_command

OLDEST_PYTHON = (3, 11)


def examiners() -> list[Examiner]:
    return [
        Examiner("system", lambda: Check("system", "ok", "is", {"name": operating_system()})),
        Examiner("python", python),
        Examiner("packages", installed_packages),
        Examiner("torch", torch),
        Examiner("torch_runs", torch_runs, slow=True),
        Examiner("llamacpp", llamacpp, slow=True),
        Examiner("rounding", rounding, slow=True),
        Examiner("bitsandbytes", bitsandbytes, slow=True),
        Examiner("media", media, slow=True),
    ]


def python() -> Check:
    values = {"version": platform.python_version(), "oldest": ".".join(map(str, OLDEST_PYTHON))}
    old = sys.version_info[:2] < OLDEST_PYTHON
    return Check("python", "fail" if old else "ok", "old" if old else "good", values)


def installed_packages() -> Check:
    found = packages()
    missing = [package.name for package in found if package.state == "missing"]
    other = [f"{p.name} {p.installed} ({p.required})" for p in found if p.state == "other"]
    if not found:
        return Check("packages", "warn", "unlisted")
    if missing:
        return Check("packages", "fail", "missing", {"names": ", ".join(missing)})
    if other:
        return Check("packages", "warn", "other", {"names": ", ".join(other)})
    return Check("packages", "ok", "good", {"count": len(found)})


def torch() -> Check:
    """The build, from its files, against the GPU and its driver."""
    build, reading = torch_build(), read_gpus()
    values: dict[str, str] = {"version": build.version}
    if not build.version:
        return Check("torch", "warn", "missing")
    if reading.gpus:
        gpu = reading.gpus[0]
        command = torch_command(sys.platform, build.version, gpu)
        values |= {"gpu": gpu.name, "driver": gpu.driver, "driver_cuda": gpu.cuda_version, "cuda": build.cuda or ""}
        if command is None:
            return Check("torch", "warn", "driver_old", values)
        if build.cpu_only:
            return Check("torch", "warn", "cpu_only", {**values, "command": command})
        if build.cuda and numbers(build.cuda)[:1] > numbers(gpu.cuda_version)[:1]:
            return Check("torch", "warn", "too_new", {**values, "command": command})
        return Check("torch", "ok", "cuda", values)
    if nvidia_card_present():
        return Check("torch", "warn", "no_driver", {**values, "detail": reading.problem})
    if has_mps(sys.platform, platform.machine(), platform.mac_ver()[0]):
        return Check("torch", "ok", "mps", values)
    return Check("torch", "ok", "cpu", values)


def torch_runs() -> Check:
    """torch.cuda.is_available(), asked in a process of its own."""
    try:
        found = probe("torch")
    except ProbeFailed as error:
        return Check("torch_runs", "warn", "broken", {"detail": str(error)})
    if found["cuda"]:
        return Check("torch_runs", "ok", "cuda", {"device": found["device"]})
    if found["mps"]:
        return Check("torch_runs", "ok", "mps")
    expected = bool(read_gpus().gpus) and bool(torch_build().cuda)
    return Check("torch_runs", "warn" if expected else "ok", "no_cuda" if expected else "cpu")


def llamacpp() -> Check:
    """The engine of the default chat: nothing works without it."""
    try:
        probe("llamacpp")
    except ProbeFailed as error:
        return Check("llamacpp", "fail", "broken", {"detail": str(error)})
    return Check("llamacpp", "ok", "good")


def rounding() -> Check:
    """The kernels that multiply by 8-bit and 4-bit matrices on the processor."""
    try:
        probe("rounding")
    except ProbeFailed as error:
        return Check("rounding", "warn", "broken", {"detail": str(error)})
    return Check("rounding", "ok", "good")


def bitsandbytes() -> Check:
    """The same on an NVIDIA GPU."""
    try:
        found = probe("bitsandbytes")
    except ProbeFailed as error:
        return Check("bitsandbytes", "warn", "broken", {"detail": str(error)})
    return Check("bitsandbytes", "ok", "good", {"version": found["version"], "device": found["device"]})


def media() -> Check:
    try:
        found = probe("media")
    except ProbeFailed as error:
        return Check("media", "warn", "broken", {"detail": str(error)})
    return Check("media", "ok", "good", {"version": found["version"], "ffmpeg": found["ffmpeg"]})
