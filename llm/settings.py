"""Generation settings: what a person can turn, each declared once with its range, step and default.

The settings panel draws `controls()`; engines read the values; the API checks them. The words for a
control live in the locale files under `settings.<name>` and `settings.<name>_help`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Control:
    """How one setting may be turned. Bounds are inclusive; `step` None means free text."""

    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    advanced: bool = False


def _control(default: Any, **kwargs: Any) -> Any:
    return field(default=default, metadata={"control": Control(**kwargs)})


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How an answer is sampled.

    max_length: longest reply in tokens; further bounded by what is left of the context.
    temperature: 0 is greedy and repeatable, whatever the other settings say.
    top_p: nucleus probability mass; 1 keeps all.
    top_k: how many of the likeliest tokens stay; 0 keeps all.
    repetition_penalty: divides the score of tokens seen before (CTRL, arXiv:1909.05858); 1 is off.
    seed: makes sampling repeatable; None is a new one each time.
    stop: strings that end the answer; they are not part of it.
    thinking: for models that can both: True thinks first, False does not, None is the model's default.
    logprobs: how many alternatives to report with each answer token; None reports none.
    json_schema: constrains the answer to this JSON schema, where the engine can.
    min_p: tokens less likely than this share of the likeliest are left out; 0 keeps all.
    frequency_penalty, presence_penalty: taken from a token's score for each time it was written, and once
    (OpenAI's API reference). logit_bias: added to the scores of token ids.
    """

    max_length: int = _control(1024, minimum=1, maximum=32768, step=1)
    temperature: float = _control(0.7, minimum=0.0, maximum=2.0, step=0.05)
    top_p: float = _control(0.9, minimum=0.01, maximum=1.0, step=0.01)
    top_k: int = _control(40, minimum=0, maximum=200, step=1, advanced=True)
    repetition_penalty: float = _control(1.0, minimum=1.0, maximum=2.0, step=0.01, advanced=True)
    seed: int | None = _control(None, minimum=0, maximum=2**31 - 1, step=1, advanced=True)
    stop: tuple[str, ...] = _control((), advanced=True)
    thinking: bool | None = None
    logprobs: int | None = None
    json_schema: Mapping[str, Any] | None = None
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)

    @property
    def finer(self) -> dict[str, Any]:
        """What is set of the finer ways to sample, which not every engine has, by name."""
        names = ("min_p", "frequency_penalty", "presence_penalty", "logit_bias")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def __post_init__(self) -> None:
        for name, control in controls():
            value = getattr(self, name)
            if control.step is None or value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                raise ValueError(f"{name} must be a number, not {value!r}")
            if not control.minimum <= value <= control.maximum:  # type: ignore[operator]
                raise ValueError(f"{name} must lie between {control.minimum} and {control.maximum}, not {value}")

    def with_values(self, values: Mapping[str, Any]) -> GenerationSettings:
        """A copy with some values changed.

        Raises:
            ValueError: a name is unknown or a value is out of its range.
        """
        known = {f.name for f in fields(self)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown settings {unknown}; known are {sorted(known)}")
        return replace(self, **dict(values))


def controls() -> Iterator[tuple[str, Control]]:
    """Name and control of each setting that a person can turn, in the order in which to show them."""
    for f in fields(GenerationSettings):
        if "control" in f.metadata:
            yield f.name, f.metadata["control"]
