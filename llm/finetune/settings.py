"""What can be turned of a run, declared once, and goals that turn everything.

Sources of the values: QLoRA (arXiv:2305.14314, appendix B) and "LoRA Without Regret" for rates and targets, rsLoRA
(arXiv:2312.03732), DoRA (arXiv:2402.09353), the published scripts of ChatGLM-6B for the prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from llm.controls import Control, checked, control_field, declared

Method: TypeAlias = Literal["lora", "qlora", "full", "prefix"]
Goal: TypeAlias = Literal["style", "answers", "format", "domain"]
"""Speak my way; know my answers; follow a format; know a field's language (pre-training goes on)."""
METHODS: tuple[Method, ...] = get_args(Method)
GOALS: tuple[Goal, ...] = get_args(Goal)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a run trains.

    method: what is trained. lora: two thin matrices beside each large one. qlora: the same on a base in few bits.
    full: all weights. prefix: P-Tuning v2's keys and values in front of every layer's own (ChatGLM).
    rank, alpha, dropout: of a LoRA; what it adds is scaled by alpha / rank, with rslora by alpha / sqrt(rank).
    dora: also trains the length of each column. targets: which large matrices get one, by the family's names.
    prefix_tokens, prefix_projection: of a prefix.
    epochs: how often each row is seen; max_steps: so many steps of the optimiser instead, 0 goes by epochs.
    batch_rows, accumulation: rows in one pass, and passes in one step; their product is what counts for learning.
    learning_rate, schedule, warmup: the highest rate, how it falls, and the share of steps in which it rises.
    max_tokens: longest row; max_prompt_tokens, max_answer_tokens: bounds of its halves. cut: what happens to longer
    ones: they are left out (drop), the beginning of the prompt goes (front), or the end of the answer (answer).
    turns: train the last answer of a conversation, or all of them.
    checkpoint_every: steps between looks and checkpoints, 0 takes about ten in a run. keep_checkpoints: how many of
    the newest stay beside the best.
    samples, sample_tokens: held-out questions that are asked at each look, and how long answers may get.
    learn: the answers of rows, or by pairs which of two answers is better (preferences; DPO). beta: how close DPO stays
    to the untouched model.
    general_share: share of rows about other things, answered by the untouched model, against forgetting.
    workers: GPUs or machines that share a step, with Ray Train.
    checkpointing: activations are reckoned twice instead of kept. precision: of the weights in training.
    """

    method: str = control_field("choice", "lora", choices=METHODS)
    rank: int = control_field("integer", 16, minimum=1, maximum=256, step=1)
    alpha: float = control_field("number", 32.0, minimum=1, maximum=1024, step=1)
    dropout: float = control_field("number", 0.0, minimum=0, maximum=0.9, step=0.05)
    targets: str = control_field("choice", "all", choices=("all", "attention", "qv"), advanced=True)
    rslora: bool = control_field("toggle", False, advanced=True)
    dora: bool = control_field("toggle", False, advanced=True)
    prefix_tokens: int = control_field("integer", 128, minimum=1, maximum=2048, step=1)
    prefix_projection: bool = control_field("toggle", False, advanced=True)
    epochs: float = control_field("number", 3.0, minimum=0.1, maximum=1000, step=0.5)
    max_steps: int = control_field("integer", 0, minimum=0, maximum=1_000_000, step=10, advanced=True)
    learning_rate: float = control_field("number", 2e-4, minimum=1e-8, maximum=1.0)
    batch_rows: int = control_field("integer", 8, minimum=1, maximum=512, step=1)
    accumulation: int = control_field("integer", 1, minimum=1, maximum=512, step=1, advanced=True)
    schedule: str = control_field("choice", "cosine", choices=("constant", "linear", "cosine"), advanced=True)
    warmup: float = control_field("number", 0.05, minimum=0, maximum=0.5, step=0.01, advanced=True)
    weight_decay: float = control_field("number", 0.0, minimum=0, maximum=1, step=0.01, advanced=True)
    clip: float = control_field("number", 1.0, minimum=0, maximum=100, step=0.1, advanced=True)
    max_tokens: int = control_field("integer", 512, minimum=8, maximum=131_072, step=8)
    max_prompt_tokens: int | None = control_field(
        "integer", None, minimum=1, maximum=131_072, optional=True, advanced=True
    )
    max_answer_tokens: int | None = control_field(
        "integer", None, minimum=1, maximum=131_072, optional=True, advanced=True
    )
    cut: str = control_field("choice", "drop", choices=("drop", "front", "answer"), advanced=True)
    turns: str = control_field("choice", "all", choices=("all", "last"), advanced=True)
    checkpoint_every: int = control_field("integer", 0, minimum=0, maximum=1_000_000, step=10, advanced=True)
    keep_checkpoints: int = control_field("integer", 2, minimum=1, maximum=100, step=1, advanced=True)
    samples: int = control_field("integer", 4, minimum=0, maximum=32, step=1, advanced=True)
    sample_tokens: int = control_field("integer", 64, minimum=8, maximum=1024, step=8, advanced=True)
    learn: str = control_field("choice", "answers", choices=("answers", "preferences"), advanced=True)
    beta: float = control_field("number", 0.1, minimum=0.01, maximum=10, step=0.05, advanced=True)
    general_share: float = control_field("number", 0.0, minimum=0, maximum=0.9, step=0.05, advanced=True)
    workers: int = control_field("integer", 1, minimum=1, maximum=64, step=1, advanced=True)
    checkpointing: bool = control_field("toggle", False, advanced=True)
    precision: str = control_field("choice", "auto", choices=("auto", "float32", "bfloat16"), advanced=True)
    seed: int = control_field("integer", 42, minimum=0, maximum=2**31 - 1, advanced=True)

    @property
    def step_rows(self) -> int:
        """Rows in one step of the optimiser."""
        return self.batch_rows * self.accumulation

    @property
    def scaling(self) -> float:
        """What a LoRA's product is multiplied by."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """
        Raises:
            ValueError: a name is unknown or a value out of its range; the message names it.
        """
        return cls(**checked(train_controls(), values))


def train_controls() -> tuple[Control, ...]:
    """What people can turn, in the order in which to show it."""
    return declared(TrainSettings)


def preset(goal: Goal, rows: int, parameters: int = 0) -> TrainSettings:
    """Every value for a goal, by how much there is to learn and how large the model is.

    Few rows are seen more often, so that there are enough steps to learn anything in; small models take a higher rate.
    """
    batch = 8 if rows >= 64 else 4
    rate = 1e-3 if 0 < parameters < 1_000_000_000 else 2e-4
    often = max(3.0, min(30.0, round(150 * batch / max(1, rows))))
    match goal:
        case "answers":
            return TrainSettings(rank=16, alpha=32, epochs=often, learning_rate=rate, batch_rows=batch)
        case "style":
            epochs = max(2.0, min(10.0, often / 3))
            return TrainSettings(
                rank=8, alpha=16, epochs=epochs, learning_rate=rate / 2, batch_rows=batch, dropout=0.05
            )
        case "format":
            epochs = max(2.0, min(10.0, often / 3))
            return TrainSettings(rank=8, alpha=16, epochs=epochs, learning_rate=rate / 2, batch_rows=batch)
        case "domain":
            return TrainSettings(rank=32, alpha=64, epochs=1.0, learning_rate=rate / 2, batch_rows=batch)


CHATGLM_PREFIX = TrainSettings(
    method="prefix",
    prefix_tokens=128,
    learning_rate=2e-2,
    max_prompt_tokens=64,
    max_answer_tokens=64,
    max_tokens=128,
    cut="answer",
    batch_rows=1,
    accumulation=16,
    max_steps=3000,
    checkpoint_every=1000,
    schedule="linear",
    warmup=0.0,
)
"""The published recipe (THUDM/ChatGLM-6B, ptuning/train.sh)."""

PRESETS: Mapping[str, TrainSettings] = {"chatglm_prefix": CHATGLM_PREFIX}


def changed(settings: TrainSettings, base: TrainSettings = TrainSettings()) -> dict[str, Any]:
    """What differs from another choice of values: all that a page or a log needs to tell."""
    pairs = ((f.name, getattr(settings, f.name), getattr(base, f.name)) for f in fields(TrainSettings))
    return {name: value for name, value, other in pairs if value != other}
