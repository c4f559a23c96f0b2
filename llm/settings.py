"""Generation settings: what a person can turn, each declared once with its range, step and default.

The settings panel draws `CONTROLS`; engines read the values; the API checks them. The words for a
control live in the locale files under `settings.<name>` and `settings.<name>_help`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.controls import control_field, declared, with_values


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How an answer is sampled.

    max_length: longest reply in tokens; further bounded by what is left of the context.
    temperature: 0 is greedy and repeatable, whatever the other settings say.
    top_p: nucleus probability mass; 1 keeps all.
    top_k: how many of the likeliest tokens stay; 0 keeps all.
    repetition_penalty: divides the score of tokens seen before (CTRL, arXiv:1909.05858); 1 is off.
    strength: for a model with an adapter: how much of what the adapter adds counts; 0 is the model alone.
    seed: makes sampling repeatable; None is a new one each time.
    stop: strings that end the answer; they are not part of it.
    thinking: for models that can both: True thinks first, False does not, None is the model's default.
    logprobs: how many alternatives to report with each answer token; None reports none.
    json_schema: constrains the answer to this JSON schema, where the engine can.
    min_p: tokens less likely than this share of the likeliest are left out; 0 keeps all.
    frequency_penalty, presence_penalty: taken from a token's score for each time it was written, and once
    (OpenAI's API reference). logit_bias: added to the scores of token ids.
    adapter: the folder of the adapter that answers; see `llm.runtime.adapted_model`.
    """

    max_length: int = control_field("integer", 1024, minimum=1, maximum=32768, step=1)
    temperature: float = control_field("number", 0.7, minimum=0.0, maximum=2.0, step=0.05)
    top_p: float = control_field("number", 0.9, minimum=0.01, maximum=1.0, step=0.01)
    top_k: int = control_field("integer", 40, minimum=0, maximum=200, step=1, advanced=True)
    repetition_penalty: float = control_field("number", 1.0, minimum=1.0, maximum=2.0, step=0.01, advanced=True)
    strength: float = control_field("number", 1.0, minimum=0.0, maximum=1.5, step=0.05)
    seed: int | None = control_field(
        "integer", None, optional=True, minimum=0, maximum=2**31 - 1, step=1, advanced=True
    )
    stop: tuple[str, ...] = control_field("lines", (), advanced=True)
    thinking: bool | None = None
    logprobs: int | None = None
    json_schema: Mapping[str, Any] | None = None
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    adapter: Path | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)

    @property
    def finer(self) -> dict[str, Any]:
        """What is set of the finer ways to sample, which not every engine has, by name."""
        names = ("min_p", "frequency_penalty", "presence_penalty", "logit_bias")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def __post_init__(self) -> None:
        for control in CONTROLS:
            control.check(getattr(self, control.name))

    def with_values(self, values: Mapping[str, Any]) -> GenerationSettings:
        """A copy with some values changed.

        Raises:
            ValueError: a name is unknown or a value is out of its range.
        """
        changed: GenerationSettings = with_values(self, values)
        return changed


CONTROLS = declared(GenerationSettings)
"""What a person can turn, in the order in which to show it."""
