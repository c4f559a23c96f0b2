"""Forward passes: a prompt's next stretch for one row, and one more token for several rows at once.

Rows of a batch are right-aligned in one cache, so that all write their next token to the same place; what
lies left of a shorter row is masked, and each row has its own positions.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from llm.engines.transformers.cache import CacheRow, RoomyCache, gather
from llm.engines.transformers.request import Row


class Decoder:
    """Drives a model's `forward` with caches of our own. Used by one thread.

    Args:
        model: a decoder-only `PreTrainedModel` that takes `past_key_values`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device: torch.device = model.get_input_embeddings().weight.device
        names = set(inspect.signature(model.forward).parameters)
        self._takes_positions = "position_ids" in names
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in names else {}
        self._reads_prompt_whole = getattr(model, "reads_prompt_whole", None)

    def reads_whole(self, row: Row) -> bool:
        """Whether the row's prompt must be read in one pass and its keys are of no use to other prompts.

        A model says so with a method `reads_prompt_whole(prompt_tokens)`.
        """
        return self._reads_prompt_whole is not None and self._reads_prompt_whole(len(row.request.ids))

    def prefill(self, row: Row, tokens: int) -> torch.Tensor:
        """Reads the next `tokens` of the row's prompt; logits after the last, of shape (vocabulary,)."""
        cache = row.cache = row.cache or RoomyCache()
        begin, end = row.filled, row.filled + tokens
        ids = torch.tensor([row.ids[begin:end]], device=self.device)
        try:
            logits = self.forward(ids, torch.arange(begin, end, device=self.device)[None], None, cache)
        except BaseException:
            cache.cut(begin)  # an error may have left layers of different lengths
            raise
        row.filled = end
        return logits[0]

    def synchronize(self) -> None:
        """Waits until the device has done its work."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: RoomyCache
    ) -> torch.Tensor:
        """Logits (rows, vocabulary) after the last of `ids` (rows, tokens), in float32."""
        kwargs = {"position_ids": positions} if self._takes_positions else {}
        outputs = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **kwargs, **self._last_only
        )
        return outputs.logits[:, -1].float()


class Batch:
    """Rows that take their steps together.

    Args:
        decoder: runs the model.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.rows: list[Row] = []
        self._decoder = decoder
        self._cache = RoomyCache()
        self._mask: torch.Tensor | None = None
        self._positions = torch.empty(0)

    @property
    def length(self) -> int:
        """Tokens in the cache, of the longest row."""
        return max((row.filled for row in self.rows), default=0)

    @property
    def held_bytes(self) -> int:
        return self._cache.held_bytes

    def cache_row(self, row: Row) -> CacheRow:
        return CacheRow(self._cache, self.rows.index(row), row.filled)

    def join(self, row: Row) -> None:
        """Takes in a row, which brings its own cache."""
        joining = row.cache_row()
        if joining is None:
            raise ValueError("a row joins once its prompt has been read")
        self._cache = gather([*map(self.cache_row, self.rows), joining]) if self.rows else joining.cache
        row.cache = None
        self.rows.append(row)
        self._align()

    def leave(self, row: Row) -> None:
        """Lets a row go and drops its part of the cache; takes no memory."""
        length, index = self.length, self.rows.index(row)
        self.rows[index] = self.rows[-1]
        self.rows.pop()
        if self.rows:
            self._cache.drop_row(index)
            self._cache.trim_left(length - self.length)
        else:
            self._cache = RoomyCache()
        self._align()

    def step(self) -> torch.Tensor:
        """Reads each row's last token; logits (rows, vocabulary) for the next, in float32."""
        length = self.length
        device = self._decoder.device
        ids = torch.tensor([[row.ids[row.filled]] for row in self.rows], device=device)
        return self._decoder.forward(ids, self._positions, self._mask_to(length + 1), self._cache)

    def advance(self) -> None:
        """Counts the token that `step` read; to be called once the next one has been chosen."""
        for row in self.rows:
            row.filled += 1
        self._positions = self._positions + 1

    def roll_back(self) -> bool:
        """Puts everything back to before a failed `step`; True, as it can be tried again."""
        self._cache.cut(self.length)
        return True

    def _align(self) -> None:
        length, device = self.length, self._decoder.device
        positions = [[row.filled + row.position_delta] for row in self.rows]
        self._positions = torch.tensor(positions, dtype=torch.long, device=device)
        self._mask = None
        if any(row.filled < length for row in self.rows):
            self._mask = torch.ones((len(self.rows), length), dtype=torch.long, device=device)
            for index, row in enumerate(self.rows):
                self._mask[index, : length - row.filled] = 0

    def _mask_to(self, tokens: int) -> torch.Tensor | None:
        """The padding mask (rows, tokens), or None where no row is shorter than another."""
        if self._mask is None:
            return None
        if self._mask.shape[1] < tokens:
            self._mask = torch.nn.functional.pad(self._mask, (0, tokens - self._mask.shape[1] + 255), value=1)
        return self._mask[:, :tokens]
