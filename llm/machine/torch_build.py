"""Which torch is installed, read from its files: importing torch takes seconds and hundreds of megabytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """version: as torch reports it ("2.13.0+cpu"), "" when torch is not installed. cuda, hip: None without."""

    version: str = ""
    cuda: str | None = None
    hip: str | None = None

    @property
    def cpu_only(self) -> bool:
        return bool(self.version) and not self.cuda and not self.hip


@cache
def torch_build() -> TorchBuild:
    """The installed build. Never imports torch."""
    spec = find_spec("torch")
    if spec is None or not spec.origin:
        return TorchBuild()
    try:
        return parse_version_file((Path(spec.origin).parent / "version.py").read_text(encoding="utf-8"))
    except OSError:
        return TorchBuild()


def parse_version_file(text: str) -> TorchBuild:
    """Reads torch/version.py, which torch's build writes: `name: type = 'value'` or None, one a line."""

    def value(name: str) -> str | None:
        found = re.search(rf"^{name}\s*(?::[^=]+)?=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
        return found.group(1) if found else None

    return TorchBuild(value("__version__") or "", value("cuda"), value("hip"))
