"""Which files of a hub's repository to take: all that loading needs, each weight once, no pickle without need."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

# Weights for other frameworks, training state, and whole second copies.
_UNWANTED = (
    "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel", "*.mlpackage/*", "*.pdparams",
    "onnx/*", "openvino/*", "coreml/*", "original/*", "metal/*", "runs/*", "optimizer.*", "training_args.bin",
    "*.png", "*.jpg", "*.jpeg", "*.gif", "*.mp4", "*.pdf", ".gitattributes", ".gitignore",
)  # fmt: skip
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Runs inside the model's folder only when remote code is trusted, which never happens here.
_CODE = ("*.py", "*.cpp", "*.cu", "*.so", "*.ipynb", "*.sh")


def choose(names: Sequence[str], patterns: Sequence[str] = (), single_file: str = "") -> list[str]:
    """The names to fetch.

    Args:
        patterns: the catalogue's own choice for this source, which then holds.
        single_file: of a model that is one file (GGUF).
    """
    if patterns:
        return [name for name in names if _matches(name, patterns)]
    if single_file:
        return [name for name in names if name.rsplit("/", 1)[-1] == single_file]
    kept = [name for name in names if not _matches(name, (*_UNWANTED, *_CODE))]
    if any(name.endswith(".safetensors") for name in kept):
        kept = [name for name in kept if not _matches(name, _PICKLES) and not name.endswith(".bin.index.json")]
        if "model.safetensors" in kept or "model.safetensors.index.json" in kept:
            # Repositories that also carry the weights as released by others (consolidated.*) or adapters.
            kept = [name for name in kept if not fnmatch(name, "consolidated*.safetensors")]
    return [name for name in kept if not name.endswith(".gguf")]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
