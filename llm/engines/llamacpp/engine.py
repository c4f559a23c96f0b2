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
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
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
from llm.engine import Engine, GenerationEnd, GenerationStep, MemoryUse, Waiting
from llm.engines.captured_stderr import Overheard
from llm.engines.llamacpp.adapters import LoraFiles, check_probe, refusal
from llm.engines.llamacpp.completion import as_chat, error_of, request, step
from llm.engines.llamacpp.contention import Servers, Writing, calmer
from llm.engines.llamacpp.server import parameters
from llm.engines.llamacpp.vision import IMAGE_TAG, NO_TOKEN, Eyes, give_eyes
from llm.engines.prompt_tokens import pieces_of_run
from llm.errors import (
    AdapterRefused,
    CorruptModel,
    MessageTooLong,
    ModelError,
    OutOfMemory,
    UnsupportedContent,
)
from llm.events import FinishReason
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
    engine.loras = LoraFiles(params, xllamacpp.Server)
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
        # SentencePiece puts a blank before every text, also before one that goes on in the middle of an answer.
        blank = header.metadata.get("tokenizer.ggml.add_space_prefix", True)
        self._joins = not (header.tokenizer_model == "llama" and blank)
        self._memory_bytes = memory_bytes
        self._server = server
        self.servers = Servers(server)
        self._key = key
        self._runs: dict[str, list[tuple[int, bytes]]] = {}
        self._running: dict[Cancel, threading.Thread] = {}
        self._leaving: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._adapting = threading.Lock()
        self.loras: LoraFiles | None = None
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
        server = self._server  # held, as `adapt` may put another one in its place meanwhile
        asked = urllib.request.Request(
            server.listening_address + route,
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        try:
            # A proxy that the environment names is for the world outside, not for this process's own port.
            with _DIRECT.open(asked, timeout=60) as reply:
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
        body = request(prompt, settings, room)
        if self.loras is not None:
            body["lora"] = self.loras.chosen(settings)
        limit = body["n_predict"]
        # What a seed or a grammar has come to is in the server. What was written is read again in one batch, whose last
        # digits differ, so that a greedy answer could go another way.
        repeatable = settings.seed is not None or settings.temperature == 0
        movable = self._joins and not repeatable and settings.json_schema is None and self._eyes is None
        writing = Writing(self.servers, len(prompt.ids), movable)
        try:
            while True:
                end = yield from self._part(writing, body, prompt, cancel)
                written = [] if end else [token_id for token_id, _ in self._tokenize(writing.text)]
                if end or len(written) >= limit:
                    yield end or GenerationEnd("length")
                    return
                body |= {"prompt": [*prompt.ids, *written], "n_predict": limit - len(written)}
        finally:
            cancel.set()

    def _part(
        self, writing: Writing, body: dict[str, Any], prompt: Prompt, cancel: Cancel
    ) -> Generator[GenerationStep, None, GenerationEnd | None]:
        """What one server writes of an answer, and its end; None where another server is to go on."""
        chunks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        enough = Cancel()
        answer = writing.server.handle_completions
        if self._eyes is not None:
            as_chat(body, prompt.inputs.get("content") or self._eyes.content_of_ids(prompt.ids))
            answer = writing.server.handle_chat_completions

        def take(chunk: Any) -> bool:
            chunks.put(chunk)
            return cancel.is_set() or enough.is_set()

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
            return (yield from self._steps(chunks, cancel, writing, enough))
        finally:
            enough.set()
            with self._lock:
                del self._running[cancel]
                self._leaving = [thread, *(left for left in self._leaving if left.is_alive())]

    def _steps(
        self, chunks: queue.SimpleQueue[Any], cancel: Cancel, writing: Writing, enough: Cancel
    ) -> Generator[GenerationStep, None, GenerationEnd | None]:
        end: GenerationEnd | None = None
        begun = False
        while True:
            if not enough.is_set() and writing.should_move(time.monotonic()):
                enough.set()
            try:
                chunk = chunks.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                yield Waiting(0 if begun else max(0, len(self._running) - config().parallel))
                continue
            if chunk is None:
                if end is None and enough.is_set() and not cancel.is_set():
                    writing.move()
                    return None
                return end or GenerationEnd("cancelled")
            if isinstance(chunk, Exception):
                raise ModelError(detail=str(chunk)) from chunk
            if "error" in chunk:
                raise error_of(chunk["error"], self._path.name)
            begun = True
            cached = (chunk.get("usage") or {}).get("prompt_tokens_details", {}).get("cached_tokens", 0)
            if not chunk["choices"]:  # a chat's usage comes by itself, after its last choice
                end = replace(end or GenerationEnd("cancelled"), cached_tokens=cached)
                continue
            choice = chunk["choices"][0]
            if choice["finish_reason"]:
                reason: FinishReason = "length" if choice["finish_reason"] == "length" else "stop"
                end = GenerationEnd("cancelled" if cancel.is_set() else reason, cached)
            text = choice["delta"].get("content") or "" if "delta" in choice else choice["text"]
            if text or choice.get("logprobs"):
                writing.wrote(text, time.monotonic())
                yield step(text, choice)

    def embed(self, inputs: Sequence[str | Sequence[int]], cancel: Cancel) -> tuple[list[list[float]], int]:
        """See `llamacpp_embeddings.Embedder`, which is made when it is first needed."""
        with self._lock:
            if self._embedder is None:
                from llm.engines.llamacpp.embeddings import Embedder

                self._embedder = Embedder(self._path)
            embedder: Embedder = self._embedder
        return embedder.embed(inputs, cancel)

    # ---- upkeep

    def adapt(self, folder: Path) -> None:
        """See `Engine.adapt`. Answers in work are written to their end by the server that began them."""
        with self._adapting:
            if self.loras is None:
                raise refusal(folder, "the model was unloaded")
            if self.loras.has(folder):
                return
            self._server = server = self.loras.server_with(folder)
            self.servers.replace(server)
            chosen = self.loras.chosen(GenerationSettings(adapter=folder))
            try:
                check_probe(folder, server.handle_completions, chosen)
            except AdapterRefused as error:
                self.loras.refuse(folder, error)
                raise

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
        self._server = self._embedder = self.loras = None
        self.servers.close()


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _runs(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Control spans and pictures one by one, neighbouring plain spans together; empty ones are left out."""
    for plain, group in groupby(spans, key=lambda span: span.kind != "control" and span.image is None):
        if plain:
            run = [span for span in group if span.text]
            if run:
                yield run
        else:
            yield from ([span] for span in group)


def _piece_bytes(piece: str | list[int]) -> bytes:
    """llama.cpp gives a token that is no whole UTF-8 as a list of bytes."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)
