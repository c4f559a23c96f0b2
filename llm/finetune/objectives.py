"""What is learnt of rows: their answers, or which of two answers is better (DPO, arXiv:2305.18290)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch.nn import functional

from llm.files import write_whole
from llm.finetune.encode import Encoded
from llm.finetune.passes import Passes
from llm.finetune.settings import TrainSettings
from llm.finetune.workers import mine, summed


class Objective(Protocol):
    def backward(self, rows: Sequence[Encoded]) -> float:
        """The loss of one step's rows; adds its gradients."""

    def mean(self, rows: Sequence[Encoded]) -> float | None:
        """The loss of rows without learning; None without rows."""


class Answers:
    """The mean loss over the trained tokens of all rows of a step, however they are spread over passes."""

    def __init__(self, passes: Passes, settings: TrainSettings) -> None:
        self.passes, self.settings = passes, settings

    def backward(self, rows: Sequence[Encoded]) -> float:
        count, loss = sum(row.trained_tokens for row in rows), 0.0
        for group in mine(self.passes.grouped(rows, self.settings.batch_rows)):
            part = self.passes.loss(group) / count
            part.backward()
            loss += part.item()
        return summed(loss)

    def mean(self, rows: Sequence[Encoded]) -> float | None:
        return self.passes.mean_loss(rows)


class Preferences:
    """Direct preference optimisation: -log sigmoid(beta * how much more the better answer gained than the worse one).

    What is gained is log probability over the untouched model's, which is asked once, before anything is learnt.

    Args:
        rows: all pairs that will come.
        kept: a file that keeps what the untouched model said, for a run that goes on.
    """

    def __init__(self, passes: Passes, settings: TrainSettings, rows: Sequence[Encoded], kept: Path) -> None:
        self.passes, self.settings = passes, settings
        if not kept.is_file():
            with torch.no_grad():
                told = [self._losses(row).tolist() for row in rows]
            write_whole(kept, json.dumps(told))
        said = json.loads(kept.read_text(encoding="utf-8"))
        self._untouched = {_key(row): torch.tensor(pair) for row, pair in zip(rows, said, strict=True)}

    def backward(self, rows: Sequence[Encoded]) -> float:
        loss = 0.0
        for row in mine(rows):
            part = self._loss(row) / len(rows)
            part.backward()
            loss += part.item()
        return summed(loss)

    @torch.no_grad()
    def mean(self, rows: Sequence[Encoded]) -> float | None:
        return sum(float(self._loss(row)) for row in rows) / len(rows) if rows else None

    def _loss(self, row: Encoded) -> torch.Tensor:
        losses = self._losses(row)
        gained = self._untouched[_key(row)].to(losses.device) - losses
        return -functional.logsigmoid(self.settings.beta * (gained[0] - gained[1]))

    def _losses(self, row: Encoded) -> torch.Tensor:
        """Summed losses of the better and the worse answer, (2,); both share the pass and their prompt."""
        return self.passes.row_losses([row, row.worse] if row.worse else [row])


def _key(row: Encoded) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return row.ids, row.worse.ids if row.worse else ()
