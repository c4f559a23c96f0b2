"""Answers held to a JSON schema: before each token, those that the schema rules out lose all their score.

llguidance (https://github.com/guidance-ai/llguidance, also inside llama.cpp) turns a schema into a grammar over bytes
and says which tokens may come next. It is told the bytes of each token; so it serves tokenizers of every kind.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from llm.errors import InvalidRequest
from llm.families.base import SpanTokenizer
from llm.prompt import Span

# A step costs at most some 20 ms and a grammar's states 50 MB; the library's own bounds allow five times as many.
LIMITS = LLParserLimits(max_lexer_states=25_000)


class Grammar:
    """How far one answer is in its schema. Made by a reader's thread, then used by the scheduler's.

    Args:
        tokenizer: the vocabulary as llguidance holds it.
        schema: as the engine is to follow it.

    Raises:
        InvalidRequest: it cannot be compiled, or not within `LIMITS`.
    """

    def __init__(self, tokenizer: LLTokenizer, schema: Mapping[str, Any]) -> None:
        # Small models can go on with spaces between two values for ever: none but the usual.
        text = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})
        self._matcher = LLMatcher(tokenizer, text, log_level=0, limits=LIMITS)  # without the interpreter's lock
        self.error: InvalidRequest | None = None
        """Set where a step went beyond `LIMITS`; the answer cannot go on."""
        self._check()
        if self.error is not None:
            raise self.error

    def mask(self, scores: torch.Tensor) -> None:
        """Sets the scores of tokens that may not come next to minus infinity, in place; shape (vocabulary,)."""
        bits = numpy.frombuffer(self._matcher.compute_bitmask(), numpy.uint8)
        self._check()
        if self.error is not None:
            return
        forbidden = numpy.ones(scores.shape[0], bool)
        allowed = numpy.unpackbits(bits, bitorder="little")[: len(forbidden)]
        forbidden[: len(allowed)] = allowed == 0
        scores.masked_fill_(torch.from_numpy(forbidden).to(scores.device, non_blocking=True), float("-inf"))

    def take(self, token_id: int) -> bool:
        """Goes on by the token that was chosen; whether the answer is complete and nothing may follow."""
        self._matcher.consume_token(token_id)
        self._check()
        return self.error is None and self._matcher.is_stopped()

    def _check(self) -> None:
        if self.error is None and self._matcher.is_error():
            detail = f"the answer cannot be held to this schema: {self._matcher.get_error()[:300]}"
            self.error = InvalidRequest(detail=detail, param="response_format")


class Grammars:
    """Makes the grammars of one loaded model. Safe to use from many threads.

    Args:
        spans: the model's tokenizer.
        size: how many tokens the model knows.
    """

    def __init__(self, spans: SpanTokenizer, size: int) -> None:
        self._spans = spans
        self._size = size
        self._lock = threading.Lock()
        self._tokenizers: dict[frozenset[int], LLTokenizer] = {}

    def of(self, schema: Mapping[str, Any], stop_ids: frozenset[int]) -> Grammar:
        """A grammar at its beginning. `stop_ids`: what may come when the schema is satisfied.

        Raises:
            InvalidRequest: see `Grammar`.
        """
        with self._lock:
            if stop_ids not in self._tokenizers:
                self._tokenizers[stop_ids] = LLTokenizer(self._vocabulary, eos_token=sorted(stop_ids) or None)
        return Grammar(self._tokenizers[stop_ids], schema)

    @cached_property
    def _vocabulary(self) -> TokenizerWrapper:
        """A second for 150,000 tokens: not before the first schema."""
        return TokenizerWrapper(_Vocabulary(self._spans, self._size))


class _Vocabulary:
    """A tokenizer as llguidance asks for one: attributes by these names, and a call that tokenises."""

    bos_token_id = None
    eos_token_id = None

    def __init__(self, spans: SpanTokenizer, size: int) -> None:
        self._spans = spans
        self.tokens = [spans.token_bytes(token_id) for token_id in range(size)]
        self.special_token_ids = sorted(token_id for token_id in spans.special_tokens.values() if token_id < size)
        special = set(self.special_token_ids)
        self._ids = {word: token_id for token_id, word in enumerate(self.tokens) if word and token_id not in special}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: str) -> Sequence[int]:
        """The ids of words within an answer, the usual ones where their bytes are these and no more."""
        ids = [token_id for token_id, _, _ in self._spans.encode_spans([Span(text, "assistant")])]
        whole = text.encode()
        return ids if b"".join(self.tokens[token_id] for token_id in ids) == whole else self._longest_first(whole)

    def _longest_first(self, rest: bytes) -> list[int]:
        ids: list[int] = []
        while rest:
            lengths = range(min(self._longest, len(rest)), 0, -1)
            length = next((length for length in lengths if rest[:length] in self._ids), 0)
            if not length:
                break
            ids.append(self._ids[rest[:length]])
            rest = rest[length:]
        return ids
