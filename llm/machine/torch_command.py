"""The pip command that gives this machine a torch which uses its GPU."""

from __future__ import annotations

from llm.machine.gpus import Gpu

# CUDA builds of torch: folder of the wheels -> CUDA version. https://pytorch.org/get-started/locally/
_BUILDS = {"cu130": (13, 0), "cu126": (12, 6)}
# CUDA 13 dropped everything before Turing (CUDA 13.0 release notes, "Deprecated architectures").
_OLDEST_FOR_CUDA_13 = (7, 5)


def cuda_build(driver_cuda: str, compute_capability: str) -> str | None:
    """The newest build that driver and GPU run ("cu130"); None: the driver is too old for all of them.

    A driver runs every build of its own major version (CUDA's minor version compatibility) and older ones.
    """
    driver, capability = numbers(driver_cuda), numbers(compute_capability)
    for build, version in _BUILDS.items():
        if driver[:1] < version[:1]:
            continue
        if version[0] >= 13 and capability and capability < _OLDEST_FOR_CUDA_13:
            continue
        return build
    return None


def torch_command(system: str, version: str, gpu: Gpu) -> str | None:
    """The command for an operating system (`sys.platform`) and a GPU; None: update the driver first."""
    build = cuda_build(gpu.cuda_version, gpu.compute_capability)
    if build is None:
        return None
    python = "python" if system == "win32" else "python3"
    wanted = f"torch=={version.split('+')[0]}" if version else "torch"
    # --force-reinstall: for pip 2.13.0+cpu satisfies 2.13.0, and it would leave the CPU build in place.
    return (
        f"{python} -m pip install --force-reinstall --no-deps {wanted} "
        f"--index-url https://download.pytorch.org/whl/{build} "
        f"&& {python} -m pip install {wanted} --extra-index-url https://download.pytorch.org/whl/{build}"
    )


def numbers(version: str) -> tuple[int, ...]:
    """ "12.4" -> (12, 4); () for an empty or odd text."""
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
