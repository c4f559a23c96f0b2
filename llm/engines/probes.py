"""Trying things out in a process of their own, where a crash or a heavy import cannot hurt the server.

Run as `python -m llm.engines.probes <name> [argument]`; prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm.paths import SOURCES

TIMEOUT_S = 90


class ProbeFailed(Exception):
    """The process failed. The text is its last line, or how it ended."""


def probe(name: str, timeout_s: float = TIMEOUT_S, argument: str | None = None) -> dict[str, Any]:
    """Runs one of `PROBES` in a process, with an argument where it takes one, and returns what it found.

    Raises:
        ProbeFailed: it raised, crashed or took longer than `timeout_s`.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SOURCES), os.environ.get("PYTHONPATH")))),
    }
    command = [sys.executable, "-m", "llm.engines.probes", name, *([] if argument is None else [argument])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=timeout_s, env=environment, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ProbeFailed(f"no answer within {timeout_s:.0f} s") from error
    except OSError as error:
        raise ProbeFailed(str(error)) from error
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        words = (done.stderr.strip().splitlines() or [""])[-1]
        raise ProbeFailed(words or f"the process ended with code {done.returncode}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _torch() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "version": torch.__version__,
        "cuda": cuda,
        "mps": torch.backends.mps.is_available(),
        "device": torch.cuda.get_device_name(0) if cuda else "",
    }


def _bitsandbytes() -> dict[str, Any]:
    """Multiplies by a 4-bit and an 8-bit matrix and compares with the exact product."""
    import bitsandbytes
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32

    def layers(weight: torch.Tensor) -> dict[str, torch.nn.Module]:
        found = {
            "int4": bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=dtype, quant_type="nf4"),
            "int8": bitsandbytes.nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False),
        }
        for layer in found.values():
            layer.load_state_dict({"weight": weight})
        return {name: layer.to(device) for name, layer in found.items()}

    return {"version": bitsandbytes.__version__, "device": device, **_errors(layers, device, dtype)}


def _rounding() -> dict[str, Any]:
    """The same with the layers that the transformers engine puts on a CPU."""
    import torch

    from llm.engines.transformers.quantized_linear import RoundedLinear

    def layers(weight: torch.Tensor) -> dict[str, torch.nn.Module]:
        found = {f"int{bits}": RoundedLinear(64, 64, False, bits, False) for bits in (8, 4)}
        for layer in found.values():
            layer.take(weight)
        return dict(found)

    return _errors(layers, "cpu", torch.float32)


def _errors(layers: Callable[[Any], dict[str, Any]], device: str, dtype: Any) -> dict[str, float]:
    """How far each layer's product is from the exact one."""
    import torch

    torch.manual_seed(0)
    weight, given = torch.randn(64, 64) / 8, torch.randn(4, 64)
    wanted = given @ weight.t()
    found = {}
    with torch.inference_mode():
        for name, layer in layers(weight).items():
            product = layer(given.to(device, dtype)).float().cpu()
            found[name] = float((product - wanted).norm() / wanted.norm())
            if not found[name] < 0.25:
                raise ArithmeticError(f"{name} is off by {found[name]:.0%}")
    return found


def _media() -> dict[str, Any]:
    """Writes and reads back a second of sound with PyAV's own FFmpeg libraries."""
    import io

    import av
    import numpy as np

    file = io.BytesIO()
    tone = (np.sin(np.arange(16000) * 0.1) * 20000).astype(np.int16)[None]
    with av.open(file, "w", format="wav") as out:
        stream = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    file.seek(0)
    with av.open(file, "r") as back:
        count = sum(int(frame.samples) for frame in back.decode(audio=0))
    if count != 16000:
        raise ArithmeticError(f"{count} of 16000 samples came back")
    return {"version": av.__version__, "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"]))}


def _llamacpp() -> dict[str, Any]:
    import xllamacpp

    return {"parameters": bool(xllamacpp.CommonParams())}


def _llamacpp_architecture(name: str) -> dict[str, Any]:
    """Whether llama.cpp knows an architecture, by what it says of a GGUF that has this name and nothing else."""
    import contextlib
    import struct
    import tempfile

    import xllamacpp

    from llm.engines.captured_stderr import Overheard

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    # https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: version 3, no tensors, one entry, a string (8).
    body = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + text("general.architecture") + struct.pack("<I", 8) + text(name)
    with tempfile.TemporaryDirectory(prefix="hearth-") as folder, Overheard() as said:
        file = Path(folder) / "empty.gguf"
        file.write_bytes(body)
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.fit_params = params.warmup = False
        params.verbosity = 1  # errors
        with contextlib.suppress(RuntimeError):  # a file without weights always fails; the words tell why
            xllamacpp.Server(params)
    refused = any(words in said.text for words in ("unknown model architecture", "cannot be used as main model"))
    return {"known": not refused}


def _self_test() -> dict[str, Any]:
    # Read by the BLAS libraries when numpy is imported: their own threads would fight with the test's.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[name] = "1"
    from llm.machine.speed import measure

    return measure().to_dict()


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "torch": _torch,
    "bitsandbytes": _bitsandbytes,
    "rounding": _rounding,
    "media": _media,
    "llamacpp": _llamacpp,
    "llamacpp_architecture": _llamacpp_architecture,
    "self_test": _self_test,
}

if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](*sys.argv[2:])), flush=True)
