"""What a check of the machine is: an id, a status, which case it is, and values. Sentences are in the locale files.

For a check with id `torch` and case `cpu_only`, `diagnostics.toml` holds `torch` (what is checked),
`torch_cpu_only` (what was found) and, where something is to be done, `torch_cpu_only_mend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `fail` is kept for what Hearth cannot work without; `warn` costs speed or a feature."""

    id: str
    status: Status
    case: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.id}_{self.case}"

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "status": self.status, "case": self.case, "values": dict(self.values)}


@dataclass(frozen=True, slots=True)
class Examiner:
    """A check to be made. `slow` ones start a process or ask the network."""

    id: str
    examine: Callable[[], Check]
    slow: bool = False

    def run(self) -> Check:
        """The finding; an examiner that fails itself is a finding, too."""
        try:
            return self.examine()
        except Exception as error:  # a check must never take the others with it
            return Check(self.id, "warn", "unknown", {"detail": f"{type(error).__name__}: {error}"})
