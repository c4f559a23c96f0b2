"""One pass over rows: packed without padding where the network can, the head reckoned on trained places only.

Rows in one pass stand behind one another, each seeing itself alone, at positions of its own. What all of them begin
with (a template's system prompt is often half of a short row) is reckoned once and seen by all; the gradients through
it add up to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from llm.finetune.encode import Encoded

PACKED_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens in one pass, by device: enough to keep it busy. More only takes memory, attention's grows with the square."""
TOLERANCE, LOOSE_TOLERANCE = 1e-3, 0.05
"""How far scores may be off when rows are packed, as a share of the largest, with all weights in float32 and else:
rounding, never another row's words."""


class Passes:
    """Losses and answers of one network. packs: whether rows may stand one behind another; found by trying."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._places: torch.Tensor | None = None
        self.device: torch.device = model.get_input_embeddings().weight.device
        model.get_output_embeddings().register_forward_pre_hook(self._only_trained)
        self._window = _window(model.config)
        self.packs = self._can_pack()

    def loss(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """The sum of the losses of all trained tokens of the rows, which stand in one pass (see `grouped`)."""
        return functional.cross_entropy(*self._logits(rows), reduction="sum")

    def row_losses(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """The sum of the losses of each row's trained tokens, (rows,)."""
        groups = [rows] if self.packs else [[row] for row in rows]
        parts = [functional.cross_entropy(*self._logits(group), reduction="none") for group in groups]
        by_row = torch.cat(parts).split([row.trained_tokens for row in rows])
        return torch.stack([part.sum() for part in by_row])

    def grouped(self, rows: Sequence[Encoded], most_rows: int) -> list[list[Encoded]]:
        """Rows by pass: packed up to a length, or those of equal length, so that nothing is ever padded."""
        most_tokens = PACKED_TOKENS.get(self.device.type, PACKED_TOKENS["cpu"])
        groups: list[list[Encoded]] = []
        shared = tokens = 0
        # In order of their ids those stand together that begin alike.
        for row in sorted(rows, key=lambda row: row.ids if self.packs else len(row.ids)):
            last = groups[-1] if groups else []
            common = _common((last[0], row), shared) if last else 0
            together = tokens + (shared - common) * (len(last) - 1) + len(row.ids) - common
            if self.packs:
                fits = together <= most_tokens and max(len(other.ids) for other in (*last[:1], row)) <= self._window
            else:
                fits = len(last[0].ids) == len(row.ids) if last else False
            if last and len(last) < most_rows and fits:
                last.append(row)
                shared, tokens = common, together
            else:
                groups.append([row])
                shared, tokens = len(row.ids), len(row.ids)
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
        targets = torch.tensor([row.ids[place] for row in rows for place in row.places], device=self.device)
        given: dict[str, Any]
        if len(rows) > 1 and self.packs:
            given, places = self._packed(rows)
        else:
            given = {"input_ids": torch.tensor([row.ids for row in rows], device=self.device)}
            places = [n * len(row.ids) + place - 1 for n, row in enumerate(rows) for place in row.places]
        self._places = torch.tensor(places, device=self.device)
        try:
            logits = self.model(**given, use_cache=False).logits
        finally:
            self._places = None
        return logits.view(len(targets), -1).float(), targets

    def _packed(self, rows: Sequence[Encoded]) -> tuple[dict[str, Any], list[int]]:
        """What the network is given for rows behind one another, and the places before their trained tokens."""
        shared = _common(rows, len(rows[0].ids))
        ids, positions, segments, places = list(rows[0].ids[:shared]), list(range(shared)), [0] * shared, []
        for number, row in enumerate(rows, start=1):
            start = len(ids) - shared  # a row's place in the pass is its own place and this
            places += [place - 1 + (start if place > shared else 0) for place in row.places]
            ids += row.ids[shared:]
            positions += range(shared, len(row.ids))
            segments += [number] * (len(row.ids) - shared)
        of = torch.tensor(segments, device=self.device)
        visible = ((of[:, None] == of[None]) | (of[None] == 0)).tril_()
        dtype = self.model.get_input_embeddings().weight.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=self.device)
        mask.masked_fill_(~visible, torch.finfo(dtype).min)
        given = {
            "input_ids": torch.tensor([ids], device=self.device),
            "position_ids": torch.tensor([positions], device=self.device),
            "attention_mask": mask[None, None],
        }
        return given, places

    def _only_trained(self, head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._places is None:
            return None
        return (inputs[0].flatten(0, -2)[self._places][None], *inputs[1:])

    @torch.no_grad()
    def _can_pack(self) -> bool:
        """Whether rows in one pass get the same scores as each alone."""
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        rows = []
        for number, length in enumerate((4, 3, 6)):  # not longer than any sight
            ids = (7, 8, *((10 + 3 * number + place) % vocabulary for place in range(length)))
            rows.append(Encoded(ids, (*[False] * (len(ids) - 1), True)))
        self.packs = False
        alone = torch.cat([self._logits([row])[0] for row in rows])
        self.packs = True
        try:
            together = self._logits(rows)[0]
        except Exception:  # networks that take no positions say so each in another way
            return False
        held = (*self.model.parameters(), *self.model.buffers())
        exact = all(tensor.dtype == torch.float32 for tensor in held if tensor.dim() > 1)
        tolerance = TOLERANCE if exact else LOOSE_TOLERANCE
        return bool((alone - together).abs().max() <= tolerance * alone.abs().max().clamp(min=1e-3))


def _common(rows: Sequence[Encoded], most: int) -> int:
    """How many tokens all rows begin with and none of them learns."""
    first = rows[0].ids
    for row in rows:
        most = min(most, row.places[0] if row.places else len(row.ids) - 1)
        most = next((place for place in range(most) if row.ids[place] != first[place]), most)
    return most


def _window(config: Any) -> float:
    """The shortest sight that a layer has; rows that are longer stand alone, with the network's own mask."""
    text = config.get_text_config(decoder=True)
    sights = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((sight for sight in sights if isinstance(sight, int) and sight > 0), default=float("inf"))
