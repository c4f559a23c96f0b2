"""The llama.cpp engine: GGUF weights on `xllamacpp`, llama.cpp's server living in this process.

The server batches continuously: each answer has a slot, and one pass over the weights serves all. Answers
go through function calls, not HTTP; only tokenising uses the server's loopback port, which a random key
locks, because the binding has no call for it.
"""

from __future__ import annotations

import atexit
import json
import queue
import re
import secrets
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil

from llm.cancel import Cancel
from llm.catalogue import gguf
from llm.catalogue.entry import ModelEntry
from llm.catalogue.lookup import mmproj_of
from llm.config import config
from llm.engine import Engine, GeneratedToken, GenerationEnd, GenerationStep, MemoryUse, Waiting
from llm.engines.captured_stderr import Overheard
from llm.engines.llamacpp.contention import Servers, calmer
from llm.engines.llamacpp.server import parameters
from llm.engines.llamacpp.vision import IMAGE_TAG, NO_TOKEN, Eyes, give_eyes
from llm.engines.prompt_tokens import pieces_of_run
from llm.errors import (
    CorruptModel,
    InvalidRequest,
    MessageTooLong,
    ModelError,
    OutOfMemory,
    UnsupportedContent,
)
from llm.events import Alternative, FinishReason, Token
from llm.machine.allocation import is_out_of_memory, says_out_of_memory
from llm.plan import LoadPlan, LoadProgress
from llm.prompt import Piece, Prompt, Span
from llm.settings import GenerationSettings

HEARTBEAT_S = 0.2
DEFAULT_CONTEXT_TOKENS = 8192
CACHED_RUNS = 4096
# How llama.cpp says that memory ran out: ggml's allocators, the mapping of the file, C++.

# Where a file does not say whether a prompt begins with the begin-of-sequence token, llama.cpp goes by the vocabulary:
# SentencePiece's has one, and these of byte pairs (`llama_vocab::impl::load` of llama.cpp's llama-vocab.cpp).
_PRE_WITH_BOS = frozenset(
    ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken", "chameleon")
)


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> LlamaCppEngine:
    """Loads a .gguf file, with its vision tower where there is one.

    Raises:
        CorruptModel: a file is no GGUF, is cut short, is missing, or llama.cpp refuses it.
        MissingPackage: xllamacpp is not installed.
        OutOfMemory: weights or cache do not fit.
    """
    header = gguf.read_header(path)
    mmproj = mmproj_of(entry, path)
    weight_bytes = header.tensor_bytes + (gguf.read_header(mmproj).tensor_bytes if mmproj else 0)
    progress("weights", 0, 1)
    settings = config()
    context_tokens = plan.context_tokens or min(header.context_tokens or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    params, key = parameters(path, header, device=plan.device)
    import xllamacpp

    params.n_parallel = settings.parallel
    # One pool of cells for all answers: a lone conversation may use its whole context, and what several
    # hold at once is bounded by twice that. What does not fit any more is kept in ordinary memory.
    params.kv_unified = True
    params.n_ctx = context_tokens if settings.parallel == 1 else 2 * context_tokens
    params.cache_ram_mib = settings.prompt_cache_mib
    params.n_gpu_layers = 0 if plan.device == "cpu" else 999
    params.enable_chat_template = False
    if mmproj is not None:
        give_eyes(params, mmproj, on_gpu=plan.device != "cpu")
    before = psutil.Process().memory_info().rss
    try:
        with Overheard() as said:
            server = xllamacpp.Server(params)
    except (RuntimeError, MemoryError) as error:
        name = f"{path} with {mmproj.name}" if mmproj else str(path)
        raise _not_loaded(error, said.text, entry, name) from error
    progress("weights", 1, 1)
    # The weights, mapped or read, are in memory after the warm-up, so the growth is all that the model takes.
    grown = psutil.Process().memory_info().rss - before
    engine = LlamaCppEngine(server, key, path, context_tokens, max(grown, weight_bytes))
    if mmproj is not None:
        engine.open_eyes()
    elif plan.device in ("auto", "cpu"):
        engine.servers.make_calm = calmer(params, xllamacpp.Server)
        engine.servers.fits = lambda: psutil.virtual_memory().available > 2 * engine.memory().total_bytes
    # The server's threads must end before the interpreter does, or the process aborts on its way out.
    atexit.register(_close, weakref.ref(engine))
    return engine


def _not_loaded(error: Exception, said: str, entry: ModelEntry, name: str) -> ModelError:
    """Why llama.cpp did not load a file. Its exception only says that; the reason is in what it `said` meanwhile."""
    if is_out_of_memory(error) or says_out_of_memory(said):
        return OutOfMemory(model=entry.name, detail="llama.cpp found no memory while loading")
    reasons = re.findall(r"error loading model: (.+)", said)
    return CorruptModel(path=name, detail=reasons[0] if reasons else str(error) or "llama.cpp cannot load it")


def _close(engine: weakref.ref[LlamaCppEngine]) -> None:
    alive = engine()
    if alive is not None:
        alive.close()


class LlamaCppEngine(Engine):
    """See `llm.engine.Engine`."""

    can_constrain = True
    can_embed = True
    pictures_as_words = True
    """llama.cpp puts a picture's tags around it by itself, so that a template is to treat it as one of the words."""
    image_tag = IMAGE_TAG

    def __init__(self, server: Any, key: str, path: Path, context_tokens: int, memory_bytes: int) -> None:
        header = gguf.read_header(path)
        self.context_tokens = context_tokens
        self.chat_template = header.chat_template
        self.tool_template = str(header.metadata.get("tokenizer.chat_template.tool_use", ""))
        self.special_tokens = gguf.special_tokens(path)
        names = {token_id: text for text, token_id in self.special_tokens.items()}
        ends = [header.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
        self.stop_ids = frozenset(end for end in ends if isinstance(end, int))
        bos = header.metadata.get("tokenizer.ggml.bos_token_id")
        self.bos_text = names.get(bos, "") if isinstance(bos, int) else ""
        self.eos_text = names.get(ends[0], "") if isinstance(ends[0], int) else ""
        # The vocabulary's own wish; where the file is silent, llama.cpp's.
        silent = header.tokenizer_model == "llama" or header.metadata.get("tokenizer.ggml.pre") in _PRE_WITH_BOS
        self._add_bos = bool(header.metadata.get("tokenizer.ggml.add_bos_token", silent) and self.bos_text)
        self._memory_bytes = memory_bytes
        self._server = server
        self.servers = Servers(server)
        self._key = key
        self._runs: dict[str, list[tuple[int, bytes]]] = {}
        self._running: dict[Cancel, threading.Thread] = {}
        self._leaving: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._path = path
        self._embedder: Any = None
        self._eyes: Eyes | None = None

    def open_eyes(self) -> None:
        """The server has a vision tower: prompts go to it as text with pictures from now on."""
        self._eyes = Eyes(self._post, gguf.special_tokens(self._path, parsed_only=True), self._add_bos)

    # ---- prompts

    def encode(self, spans: Sequence[Span]) -> Prompt:
        """See `Engine.encode`. Neighbouring plain spans are one run, so that merges across them are as published.

        Raises:
            UnsupportedContent: a span stands for a picture, and there is no vision tower.
        """
        begins_itself = spans and spans[0].kind == "control" and spans[0].text == self.bos_text
        bos = [Span(self.bos_text, "control")] if self._add_bos and not begins_itself else []
        sent: list[Span] = []
        pieces: list[Piece] = []
        for run in _runs([*bos, *spans]):
            if run[0].image is not None:
                count = self._seeing().tokens_of(run[0].image)
                pieces += [Piece(NO_TOKEN, "" if place else IMAGE_TAG, "image") for place in range(count)]
            elif run[0].kind == "control":
                pieces.append(Piece(self.special_tokens[run[0].text], run[0].text, "control"))
            else:
                run = self._eyes.guarded(run) if self._eyes else run
                pieces += pieces_of_run(run, self._tokenize("".join(span.text for span in run)))
            sent += run
        ids = tuple(piece.id for piece in pieces)
        inputs = {}
        if self._eyes is not None:  # which adds the begin-of-sequence token by itself
            inputs = {"content": self._eyes.content(sent[1:] if self._add_bos else sent)}
        text = "".join(span.text for span in sent[len(bos) :])
        return Prompt(text, ids, tuple(pieces), self.context_tokens, inputs=inputs)

    def _seeing(self) -> Eyes:
        if self._eyes is None:
            raise UnsupportedContent(model=self._path.name, content="pictures", accepted="text")
        return self._eyes

    def _tokenize(self, text: str) -> list[tuple[int, bytes]]:
        """Ids and bytes of plain text. Kept, since every turn of a conversation sends its history again."""
        known = self._runs.get(text)
        if known is None:
            body = {"content": text, "add_special": False, "parse_special": False, "with_pieces": True}
            tokens = self._post("/tokenize", body)["tokens"]
            known = [(token["id"], _piece_bytes(token["piece"])) for token in tokens]
            if len(self._runs) >= CACHED_RUNS:
                self._runs.clear()
            self._runs[text] = known
        return known

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._server.listening_address + route,
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        try:
            # A proxy that the environment names is for the world outside, not for this process's own port.
            with _DIRECT.open(request, timeout=60) as reply:
                answer: dict[str, Any] = json.load(reply)
                return answer
        except (OSError, ValueError) as error:
            raise ModelError(detail=f"llama.cpp did not answer {route}: {error}") from error

    # ---- answers

    def generate(
        self, prompt: Prompt, settings: GenerationSettings, stop_ids: frozenset[int], cancel: Cancel
    ) -> Iterator[GenerationStep]:
        """See `Engine.generate`. llama.cpp knows the end tokens from the file; `stop_ids` need not be passed on."""
        room = self.context_tokens - len(prompt.ids)
        if room < 1:
            raise MessageTooLong(
                over_tokens=1 - room, prompt_tokens=len(prompt.ids), context_tokens=self.context_tokens
            )
        chunks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        body = _request(prompt, settings, room)
        server = self.servers.now(repeatable=settings.seed is not None or settings.temperature == 0)
        answer = server.handle_completions
        if self._eyes is not None:
            _as_chat(body, prompt.inputs.get("content") or self._eyes.content_of_ids(prompt.ids))
            answer = server.handle_chat_completions

        def take(chunk: Any) -> bool:
            chunks.put(chunk)
            return cancel.is_set()

        def work() -> None:
            try:
                answer(body, take)
            except Exception as error:  # whatever the binding raises belongs to the reader, not to this thread
                chunks.put(error)
            finally:
                chunks.put(None)

        thread = threading.Thread(target=work, name="llamacpp-answer", daemon=True)
        with self._lock:
            self._running[cancel] = thread
        thread.start()
        try:
            yield from self._steps(chunks, cancel)
        finally:
            cancel.set()
            with self._lock:
                del self._running[cancel]
                self._leaving = [thread, *(left for left in self._leaving if left.is_alive())]

    def _steps(self, chunks: queue.SimpleQueue[Any], cancel: Cancel) -> Iterator[GenerationStep]:
        end = GenerationEnd("cancelled")
        begun = False
        while True:
            try:
                chunk = chunks.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                yield Waiting(0 if begun else max(0, len(self._running) - config().parallel))
                continue
            if chunk is None:
                yield end
                return
            if isinstance(chunk, Exception):
                raise ModelError(detail=str(chunk)) from chunk
            if "error" in chunk:
                raise _error(chunk["error"], self._path.name)
            begun = True
            cached = (chunk.get("usage") or {}).get("prompt_tokens_details", {}).get("cached_tokens", 0)
            if not chunk["choices"]:  # a chat's usage comes by itself, after its last choice
                end = replace(end, cached_tokens=cached)
                continue
            choice = chunk["choices"][0]
            if choice["finish_reason"]:
                reason: FinishReason = "length" if choice["finish_reason"] == "length" else "stop"
                end = GenerationEnd("cancelled" if cancel.is_set() else reason, cached)
            text = choice["delta"].get("content") or "" if "delta" in choice else choice["text"]
            if text or choice.get("logprobs"):
                yield _step(text, choice)

    def embed(self, inputs: Sequence[str | Sequence[int]], cancel: Cancel) -> tuple[list[list[float]], int]:
        """See `llamacpp_embeddings.Embedder`, which is made when it is first needed."""
        with self._lock:
            if self._embedder is None:
                from llm.engines.llamacpp.embeddings import Embedder

                self._embedder = Embedder(self._path)
            embedder: Embedder = self._embedder
        return embedder.embed(inputs, cancel)

    # ---- upkeep

    def memory(self) -> MemoryUse:
        """What the process grew by when weights, key/value cells and buffers were set up."""
        return MemoryUse({"cpu": self._memory_bytes})

    def close(self) -> None:
        """See `Engine.close`. The server is freed when its last answer has let go of it."""
        with self._lock:
            for cancel in self._running:
                cancel.set()
            threads = [*self._running.values(), *self._leaving]
        deadline = time.monotonic() + 5
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._server = self._embedder = None
        self.servers.close()


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _request(prompt: Prompt, settings: GenerationSettings, room: int) -> dict[str, Any]:
    """The body for llama.cpp. Values that it would add by itself (min_p, a short penalty window) are set to off."""
    body: dict[str, Any] = {
        "prompt": list(prompt.ids),
        "stream": True,
        "cache_prompt": True,
        "n_predict": min(settings.max_length, room),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "min_p": settings.min_p,
        "frequency_penalty": settings.frequency_penalty,
        "presence_penalty": settings.presence_penalty,
        "logit_bias": [[token_id, bias] for token_id, bias in settings.logit_bias.items()],
        "repeat_penalty": settings.repetition_penalty,
        "repeat_last_n": len(prompt.ids) + room,  # the whole context
        "seed": secrets.randbelow(2**31) if settings.seed is None else settings.seed,
    }
    if settings.logprobs is not None:
        body["n_probs"] = max(1, settings.logprobs)
    if settings.json_schema is not None:
        # Small models can go on with spaces between two values for ever; llguidance then allows none but the usual.
        body["json_schema"] = {**settings.json_schema, "x-guidance": {"whitespace_flexible": False}}
    return body


def _as_chat(body: dict[str, Any], content: list[dict[str, Any]]) -> None:
    """Turns the body of a completion into that of a chat request with these parts."""
    del body["prompt"]
    body["messages"] = [{"role": "user", "content": content}]
    body["stream_options"] = {"include_usage": True}
    if "n_probs" in body:
        body["logprobs"], body["top_logprobs"] = True, body.pop("n_probs")


def _runs(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Control spans and pictures one by one, neighbouring plain spans together; empty ones are left out."""
    for plain, group in groupby(spans, key=lambda span: span.kind != "control" and span.image is None):
        if plain:
            run = [span for span in group if span.text]
            if run:
                yield run
        else:
            yield from ([span] for span in group)


def _step(text: str, choice: dict[str, Any]) -> GeneratedToken:
    content = (choice.get("logprobs") or {}).get("content") or []
    if not content:
        return GeneratedToken(Token(-1, text), text)
    seen = content[0]
    alternatives = tuple(Alternative(a["id"], a["token"], a["logprob"]) for a in seen["top_logprobs"])
    return GeneratedToken(Token(seen["id"], seen["token"], seen["logprob"], alternatives), text)


def _piece_bytes(piece: str | list[int]) -> bytes:
    """llama.cpp gives a token that is no whole UTF-8 as a list of bytes."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def _error(error: dict[str, Any], name: str) -> ModelError:
    if error.get("type") == "exceed_context_size_error":
        prompt, context = error["n_prompt_tokens"], error["n_ctx"]
        return MessageTooLong(over_tokens=prompt - context + 1, prompt_tokens=prompt, context_tokens=context)
    message = str(error.get("message", error))
    if error.get("type") == "invalid_request_error":
        return InvalidRequest(detail=message)
    if "context" in message.lower() or "memory" in message.lower():
        return OutOfMemory(model=name, detail=message)
    return ModelError(detail=message)
