"""Choosing the next token of one answer, independent of who else is in the batch.

Order of the steps as in transformers' and llama.cpp's samplers: repetition penalty, temperature, top-k, top-p.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from llm.settings import GenerationSettings

# Enough of the likeliest tokens that a nucleus nearly always lies within; spares sorting a whole vocabulary.
NUCLEUS_GUESS = 512


@dataclass(frozen=True, slots=True)
class Report:
    """Natural-log probability of a token before sampling settings, and the likeliest tokens with theirs."""

    logprob: float
    alternatives: tuple[tuple[int, float], ...]


class Sampler:
    """One answer's settings with its own random numbers and its own memory of tokens seen.

    Args:
        settings: how to sample. `temperature` 0 takes the likeliest token.
        prompt_ids: the prompt's tokens, which the repetition penalty counts as seen.
    """

    def __init__(self, settings: GenerationSettings, prompt_ids: Iterable[int]) -> None:
        self.settings = settings
        self._random = random.Random(settings.seed)
        self._seen: set[int] | None = set(prompt_ids) if settings.repetition_penalty != 1.0 else None
        self._seen_tensor: torch.Tensor | None = None

    @property
    def is_plain_greedy(self) -> bool:
        return self.settings.temperature == 0 and self._seen is None

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token for `logits` of shape (vocabulary,) in float32, as a tensor of shape (), unsynchronised."""
        logits = self._penalised(logits)
        if self.settings.temperature == 0:
            return logits.argmax()
        return _draw(logits / self.settings.temperature, self.settings, self._random.random())

    def saw(self, token_id: int) -> None:
        if self._seen is not None and token_id not in self._seen:
            self._seen.add(token_id)
            if self._seen_tensor is not None:
                self._seen_tensor = torch.cat([self._seen_tensor, self._seen_tensor.new_tensor([token_id])])

    def report(self, logits: torch.Tensor, token_id: int) -> Report | None:
        """What the model thought of its choice; None when the settings don't ask."""
        if self.settings.logprobs is None:
            return None
        logprobs = torch.log_softmax(logits, dim=-1)
        top = logprobs.topk(min(self.settings.logprobs, logprobs.shape[-1]))
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return Report(logprobs[token_id].item(), tuple(pairs))

    def _penalised(self, logits: torch.Tensor) -> torch.Tensor:
        """CTRL's penalty (arXiv:1909.05858): scores of seen tokens are divided if positive, else multiplied."""
        if self._seen is None:
            return logits
        if self._seen_tensor is None:
            known = sorted(token for token in self._seen if token < logits.shape[-1])
            self._seen_tensor = torch.tensor(known, dtype=torch.long, device=logits.device)
        penalty = self.settings.repetition_penalty
        scores = logits[self._seen_tensor]
        return logits.scatter(0, self._seen_tensor, torch.where(scores > 0, scores / penalty, scores * penalty))


def _draw(logits: torch.Tensor, settings: GenerationSettings, uniform: float) -> torch.Tensor:
    """Draws from softmax(logits) cut to top-k and top-p by inverting its distribution at `uniform` in [0, 1)."""
    ids: torch.Tensor | None = None
    if settings.top_k:
        logits, ids = logits.topk(min(settings.top_k, logits.shape[-1]))
        probabilities = logits.softmax(-1)
    elif settings.top_p < 1:
        probabilities, ids = _nucleus_candidates(logits.softmax(-1), settings.top_p)
    else:
        probabilities = logits.softmax(-1)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64 if probabilities.device.type != "mps" else None)
    if settings.top_p < 1:
        # A token stays while the mass before it is below top_p, so the first always stays.
        probabilities = probabilities.where(cumulative - probabilities < settings.top_p, 0)
        cumulative = probabilities.cumsum(-1, dtype=cumulative.dtype)
    place = torch.searchsorted(cumulative, cumulative[-1:] * uniform, right=True)[0]
    place = place.clamp(max=cumulative.shape[-1] - 1)
    return place if ids is None else ids[place]


def _nucleus_candidates(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and ids, likeliest first, of at least the nucleus."""
    # Looking at the sum would make a GPU wait; there sorting is quick.
    if probabilities.device.type == "cpu" and probabilities.shape[-1] > NUCLEUS_GUESS:
        top, ids = probabilities.topk(NUCLEUS_GUESS)
        if top.sum() >= top_p:
            return top, ids
    return probabilities.sort(descending=True)
