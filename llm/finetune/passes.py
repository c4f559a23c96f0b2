"""One pass over rows: packed without padding where the network can, the head reckoned on trained places only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from llm.finetune.encode import Encoded

PACKED_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens in one pass, by device: enough to keep it busy. More only takes memory, attention's grows with the square."""
TOLERANCE = {torch.float32: 1e-3}
LOOSE_TOLERANCE = 0.05
"""How far scores may be off when rows are packed, as a share of the largest: rounding, never another row's words."""


class Passes:
    """Losses and answers of one network. packs: whether rows may stand one behind another; found by trying."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._places: torch.Tensor | None = None
        self.device: torch.device = model.get_input_embeddings().weight.device
        model.get_output_embeddings().register_forward_pre_hook(self._only_trained)
        self.packs = self._can_pack()

    def loss(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """The sum of the losses of all trained tokens of the rows, which stand in one pass (see `grouped`)."""
        return functional.cross_entropy(*self._logits(rows), reduction="sum")

    def grouped(self, rows: Sequence[Encoded], most_rows: int) -> list[list[Encoded]]:
        """Rows by pass: packed up to a length, or those of equal length, so that nothing is ever padded."""
        most_tokens = PACKED_TOKENS.get(self.device.type, PACKED_TOKENS["cpu"])
        groups: list[list[Encoded]] = []
        for row in sorted(rows, key=lambda row: len(row.ids)):
            last = groups[-1] if groups else []
            tokens = sum(len(other.ids) for other in last) + len(row.ids)
            alike = self.packs or (last and len(last[0].ids) == len(row.ids))
            if last and len(last) < most_rows and alike and tokens <= most_tokens:
                last.append(row)
            else:
                groups.append([row])
        return groups

    @torch.no_grad()
    def mean_loss(self, rows: Sequence[Encoded]) -> float | None:
        """Mean over the trained tokens of all rows; None without rows."""
        losses = [float(self.loss(group)) for group in self.grouped(rows, len(rows))]
        return sum(losses) / sum(row.trained_tokens for row in rows) if rows else None

    @torch.no_grad()
    def last_logits(self, ids: Sequence[int]) -> torch.Tensor:
        """Scores (vocabulary,) of what comes after ids, in float32."""
        self._places = torch.tensor([len(ids) - 1], device=self.device)
        try:
            given = torch.tensor([list(ids)], device=self.device)
            scores: torch.Tensor = self.model(input_ids=given, use_cache=False).logits[0, -1].float().cpu()
            return scores
        finally:
            self._places = None

    @torch.no_grad()
    def answer(self, ids: Sequence[int], stops: frozenset[int], most_tokens: int) -> list[int]:
        """The likeliest answer, token by token, without the token that ends it."""
        given, cache = torch.tensor([list(ids)], device=self.device), None
        written: list[int] = []
        while len(written) < most_tokens:
            out = self.model(input_ids=given, past_key_values=cache, use_cache=True)
            token, cache = int(out.logits[0, -1].argmax()), out.past_key_values
            if token in stops:
                break
            written.append(token)
            given = torch.tensor([[token]], device=self.device)
        return written

    def _logits(self, rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (trained tokens, vocabulary) in float32, and the ids that should have been likeliest."""
        places: list[int] = []
        targets: list[int] = []
        start = 0
        for row in rows:
            trained = row.places
            places += [start + place - 1 for place in trained]
            targets += [row.ids[place] for place in trained]
            start += len(row.ids)
        ids = torch.tensor([token for row in rows for token in row.ids], device=self.device)
        given: dict[str, Any] = {"use_cache": False}
        if self.packs:
            positions = torch.cat([torch.arange(len(row.ids)) for row in rows])
            given["position_ids"] = positions[None].to(self.device)
            ids = ids[None]
        else:
            ids = ids.view(len(rows), -1)
        self._places = torch.tensor(places, device=self.device)
        try:
            logits = self.model(input_ids=ids, **given).logits
        finally:
            self._places = None
        return logits.view(len(targets), -1).float(), torch.tensor(targets, device=self.device)

    def _only_trained(self, head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._places is None:
            return None
        return (inputs[0].flatten(0, -2)[self._places][None], *inputs[1:])

    @torch.no_grad()
    def _can_pack(self) -> bool:
        """Whether rows in one pass get the same scores as each alone."""
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        rows = []
        for number, length in enumerate((7, 5, 9)):
            ids = tuple((10 + 3 * number + place) % vocabulary for place in range(length))
            rows.append(Encoded(ids, (*[False] * (length - 1), True)))
        self.packs = False
        alone = torch.cat([self._logits([row])[0] for row in rows])
        self.packs = True
        try:
            together = self._logits(rows)[0]
        except Exception:  # networks that take no positions say so each in another way
            return False
        tolerance = TOLERANCE.get(self.model.get_input_embeddings().weight.dtype, LOOSE_TOLERANCE)
        return bool((alone - together).abs().max() <= tolerance * alone.abs().max().clamp(min=1e-3))
