"""How well texts answer a question, by a reranker in transformers' format (bge-reranker, ms-marco cross-encoders ...).

Such a checkpoint is a classifier with one output that reads question and text together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.engines import heads
from llm.engines.encoders import batches
from llm.engines.text_limits import limit_tokens
from llm.errors import Cancelled, MessageTooLong
from llm.plan import LoadPlan, LoadProgress


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> CrossEncoder:
    """Loads a checkpoint folder; errors as of `llm.engines.heads.load`."""
    return CrossEncoder(heads.load(entry, path, plan, progress))


class CrossEncoder:
    """A classifier of pairs with one output."""

    def __init__(self, head: heads.HeadModel) -> None:
        self.max_tokens = limit_tokens(head.reader, head.config)
        self._head = head

    def rank(self, question: str, texts: Sequence[str], cancel: Cancel) -> tuple[list[float], int]:
        """How well each text answers, from 0 to 1 (the logistic function of the output), and how many tokens were read.

        Raises:
            MessageTooLong: question and text together have more than `max_tokens`.
            Cancelled: `cancel` was set between two batches.
        """
        reader = self._head.reader
        with self._head.lock:
            rows = [reader(question, text, split_special_tokens=True) for text in texts]
        lengths = [len(row["input_ids"]) for row in rows]
        if max(lengths, default=0) > self.max_tokens:
            over = max(lengths) - self.max_tokens
            raise MessageTooLong(over_tokens=over, prompt_tokens=max(lengths), context_tokens=self.max_tokens)
        scores = [0.0] * len(rows)
        for batch in batches(lengths):
            with self._head.lock:
                if cancel.is_set():
                    raise Cancelled(what="The ranking")
                padded = reader.pad([rows[place] for place in batch], return_tensors="pt", padding_side="right")
                found = self._head.forward(**padded).logits[:, 0].float().sigmoid().tolist()
            for place, score in zip(batch, found, strict=True):
                scores[place] = score
        return scores, sum(lengths)

    def memory(self) -> MemoryUse:
        """What the weights take, by device."""
        return self._head.memory()

    def close(self) -> None:
        """Frees the weights."""
        self._head.close()
