"""The engine that pages, the API and the terminal talk to: text in, tokens out, weights held."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch

from llm.cancel import Cancel
from llm.catalogue.adapters import AdapterNote
from llm.catalogue.entry import ModelEntry
from llm.engine import Engine, GeneratedToken, GenerationEnd, GenerationStep, MemoryUse, Waiting
from llm.engines.transformers.adapters import Adapters, check_probe
from llm.engines.transformers.grammar import Grammars
from llm.engines.transformers.request import Ended, NewToken, Request
from llm.engines.transformers.scheduler import Scheduler
from llm.engines.transformers.text_stream import TextStream
from llm.errors import EmptyMessage, MessageTooLong, UnsupportedContent
from llm.events import Alternative, Token
from llm.families.base import SpanTokenizer
from llm.plan import LoadPlan
from llm.prompt import Piece, Prompt, Span
from llm.settings import GenerationSettings


class TransformersEngine(Engine):
    """See `llm.engine.Engine`. Safe to use from many threads.

    model, tokenizer: the underlying transformers objects, for tests and research.
    plan: the plan with device, precision and context decided, and why.
    batching: how answers share the model, and why.
    """

    def __init__(
        self,
        entry: ModelEntry,
        model: Any,
        tokenizer: SpanTokenizer,
        plan: LoadPlan,
        scheduler: Scheduler,
        adapters: Adapters,
    ) -> None:
        self.entry = entry
        self.plan = plan
        self.model = model
        self.tokenizer: Any = getattr(tokenizer, "tokenizer", tokenizer)
        self.batching = scheduler.policy.reason
        self.context_tokens = plan.context_tokens
        self.chat_template = tokenizer.chat_template
        self.special_tokens: Mapping[str, int] = tokenizer.special_tokens
        self.stop_ids = tokenizer.stop_ids
        self.bos_text = tokenizer.bos_text
        self.eos_text = tokenizer.eos_text
        self.tool_template = tokenizer.tool_template
        self.image_tag = tokenizer.image_tag
        self._spans = tokenizer
        self._grammars = Grammars(tokenizer, model.get_input_embeddings().weight.shape[0])
        self._scheduler = scheduler
        self._adapters = adapters

    def encode(self, spans: Sequence[Span]) -> Prompt:
        """Token ids and pieces of a rendered prompt; control spans to control ids, all else to plain text.

        Pictures become the prompt's inputs: what the tokenizer makes of all spans for the model's `forward`, by name.

        Raises:
            UnsupportedContent: a span stands for a picture, and the model takes none.
        """
        inputs: Mapping[str, Any] = {}
        if any(span.image is not None for span in spans):
            if not self._spans.takes_pictures:
                raise UnsupportedContent(model=self.entry.name, content="pictures", accepted="text")
            inputs = {name: _tensor(value) for name, value in self._spans.inputs(spans).items()}
        tokens = self._spans.encode_spans(spans)
        return Prompt(
            text="".join(span.text for span in spans),
            ids=tuple(token_id for token_id, _, _ in tokens),
            pieces=tuple(Piece(token_id, text, span.kind) for token_id, text, span in tokens),
            context_tokens=self.context_tokens,
            inputs=inputs,
        )

    def generate(
        self, prompt: Prompt, settings: GenerationSettings, stop_ids: frozenset[int], cancel: Cancel
    ) -> Iterator[GenerationStep]:
        """Tokens until an end; see `Engine.generate`. `Waiting(0)` is a sign of life while the prompt is read.

        Raises:
            MessageTooLong: the prompt leaves no room for an answer.
            Busy: too many are waiting.
            OutOfMemory: there was too little memory for this answer; others go on.
        """
        request = self._request(prompt, settings, stop_ids, cancel)
        self._scheduler.submit(request)
        text = TextStream(self._spans.decode_growing)
        try:
            if request.ahead:
                yield Waiting(request.ahead)
            for outcome in request.outcomes():
                if outcome is None:
                    yield Waiting(request.ahead)
                elif isinstance(outcome, NewToken):
                    yield GeneratedToken(self._token(outcome), text.push(outcome.id))
                elif isinstance(outcome, Ended):
                    yield GenerationEnd(outcome.reason, outcome.cached_tokens, text.flush())
        finally:
            request.abandon()

    def adapt(self, folder: Path) -> None:
        """See `Engine.adapt`. Also tries the adapter: what it said in training it must say here."""
        if self._adapters.has(folder):
            return
        self._adapters.load(folder)
        try:
            self._scheduler.call(partial(check_probe, self._adapters, folder, AdapterNote.read(folder)))
        except BaseException:
            self._adapters.forget(folder)
            raise

    def memory(self) -> MemoryUse:
        """Bytes of parameters, buffers, adapters and caches, by device."""
        if self.model is None:
            return MemoryUse()
        by_device = model_bytes(self.model)
        home = str(self.model.get_input_embeddings().weight.device)
        by_device[home] = by_device.get(home, 0) + self._scheduler.held_bytes + self._adapters.held_bytes
        return MemoryUse(by_device)

    def close(self) -> None:
        """Frees everything. Answers in work end as cancelled."""
        self._scheduler.close()
        self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _request(
        self, prompt: Prompt, settings: GenerationSettings, stop_ids: frozenset[int], cancel: Cancel
    ) -> Request:
        if settings.finer:
            raise UnsupportedContent(model=self.entry.name, content=", ".join(settings.finer), accepted="top_k, top_p")
        if not prompt.ids:
            raise EmptyMessage()
        left = self.context_tokens - len(prompt.ids)
        if left < 1:
            raise MessageTooLong(
                over_tokens=1 - left, prompt_tokens=len(prompt.ids), context_tokens=self.context_tokens
            )
        schema = settings.json_schema
        grammar = self._grammars.of(schema, stop_ids) if schema is not None else None
        return Request(prompt.ids, prompt.inputs, settings, stop_ids, min(settings.max_length, left), cancel, grammar)

    def _token(self, new: NewToken) -> Token:
        text = self._spans.token_text(new.id)
        if new.report is None:
            return Token(new.id, text)
        alternatives = tuple(
            Alternative(token_id, self._spans.token_text(token_id), logprob)
            for token_id, logprob in new.report.alternatives
        )
        return Token(new.id, text, new.report.logprob, alternatives)


def model_bytes(model: Any) -> dict[str, int]:
    """Bytes of parameters and buffers by device name; shared ones count once."""
    by_device: dict[str, int] = {}
    seen: set[tuple[torch.device, int]] = set()
    for tensor in [*model.parameters(), *model.buffers()]:
        key = (tensor.device, tensor.data_ptr())
        if key not in seen and tensor.device.type != "meta":
            seen.add(key)
            name = str(tensor.device)
            by_device[name] = by_device.get(name, 0) + tensor.numel() * tensor.element_size()
    return by_device


def _tensor(value: Any) -> Any:
    """Arrays as torch takes them: tokenizers of families know no torch."""
    return torch.from_numpy(value) if isinstance(value, numpy.ndarray) else value
