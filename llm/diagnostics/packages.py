"""Installed packages against what requirements.txt asks for, read from metadata: nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from llm.paths import REQUIREMENTS

PackageState: TypeAlias = Literal["ok", "other", "missing"]


@dataclass(frozen=True, slots=True)
class Package:
    """required: the pin's version; "" when any will do. installed: "" when it is not there."""

    name: str
    required: str
    installed: str

    @property
    def state(self) -> PackageState:
        if not self.installed:
            return "missing"
        # A build's local part (2.13.0+cu130) is not the pin's business.
        return "ok" if not self.required or self.installed.split("+")[0] == self.required.split("+")[0] else "other"


def packages(file: Path = REQUIREMENTS) -> list[Package]:
    """Each requirement that applies to this machine, in the file's order. An unreadable file gives none."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for line in _lines(file):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker and not requirement.marker.evaluate():
            continue
        pins = [spec.version for spec in requirement.specifier if spec.operator in ("==", "===")]
        found.append(Package(requirement.name, pins[0] if pins else "", installed(requirement.name)))
    return found


@cache
def installed(name: str) -> str:
    """The installed version of a package; "" when it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return []
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]
