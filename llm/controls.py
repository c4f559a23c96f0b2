"""What a person can turn, declared once: its range, step and default. One drawer draws it, engines read the values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["integer", "number", "choice", "toggle", "text", "lines"]


@dataclass(frozen=True, slots=True)
class Control:
    """One thing to turn.

    kind: what its values are: an int, a float, one of `choices`, a bool, a str, or a tuple of lines.
    minimum, maximum: inclusive bounds of a number. step: by how much a slider moves. optional: None is allowed, and
    means that it is left to the engine. advanced: shown under "more".
    """

    name: str
    kind: Kind
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    advanced: bool = False

    def check(self, value: Any) -> Any:
        """The value as its kind, when it may be set.

        Raises:
            ValueError: it is of another kind or out of range; the message names the control.
        """
        if value is None:
            if self.optional:
                return None
            raise ValueError(f"{self.name} must be given")
        match self.kind:
            case "integer" | "number":
                return self._number(value)
            case "toggle":
                if not isinstance(value, bool):
                    raise ValueError(f"{self.name} must be true or false, not {value!r}")
            case "choice":
                if value not in self.choices:
                    raise ValueError(f"{self.name} must be one of {', '.join(self.choices)}, not {value!r}")
            case "text":
                if not isinstance(value, str):
                    raise ValueError(f"{self.name} must be a text, not {value!r}")
            case "lines":
                if isinstance(value, str) or not all(isinstance(line, str) for line in value):
                    raise ValueError(f"{self.name} must be a list of texts, not {value!r}")
                return tuple(value)
        return value

    def _number(self, value: Any) -> int | float:
        whole = self.kind == "integer"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise ValueError(f"{self.name} must be a number, not {value!r}")
        if whole and value != int(value):
            raise ValueError(f"{self.name} must be a whole number, not {value!r}")
        low = float("-inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        if not low <= value <= high:
            raise ValueError(f"{self.name} must lie between {self.minimum} and {self.maximum}, not {value}")
        return int(value) if whole else float(value)


def control_field(kind: Kind, default: Any, **kwargs: Any) -> Any:
    """A dataclass field that people can turn; `kwargs` are the `Control`'s."""
    return field(default=default, metadata={"control": Control("", kind, default, **kwargs)})


@cache
def declared(cls: type[Any]) -> tuple[Control, ...]:
    """What people can turn of a dataclass, in the order in which to show it."""
    return tuple(replace(f.metadata["control"], name=f.name) for f in fields(cls) if "control" in f.metadata)


def with_values(given: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a dataclass with some values changed.

    Raises:
        ValueError: a name is unknown or a value is out of its range.
    """
    known = {f.name for f in fields(given)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"unknown settings {unknown}; known are {sorted(known)}")
    return replace(given, **dict(values))


def checked(controls: Iterable[Control], values: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each control: what was given, else its default.

    Raises:
        ValueError: a name is unknown or a value cannot be set.
    """
    known = {control.name: control for control in controls}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}; known are {', '.join(known)}")
    defaults = {name: control.default for name, control in known.items()}
    return defaults | {name: known[name].check(value) for name, value in values.items()}
