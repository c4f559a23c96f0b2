"""Model handles: each model is loaded once and shared by every page, visitor and request of the process."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, cast

from llm.catalogue.entry import ModelEntry
from llm.catalogue.library import mark_used
from llm.catalogue.lookup import READER, find, where
from llm.config import config
from llm.engine import MemoryUse
from llm.errors import Busy, ModelNotThere, UnsupportedContent
from llm.machine.allocation import is_out_of_memory
from llm.machine.hardware import hardware
from llm.machine.heap import give_back
from llm.plan import LoadPlan, LoadProgress
from llm.planning.engines import engine_of
from llm.planning.estimates import available
from llm.planning.eviction import plan_room
from llm.planning.memory import estimate
from llm.planning.out_of_memory import out_of_memory
from llm.runtime.acceptance import check_runs, with_sampling
from llm.runtime.caption_model import ClipCaptionModel
from llm.runtime.chat_model import EngineChatModel
from llm.runtime.embedding_model import EmbeddingModel
from llm.runtime.protocols import CaptionModel, ChatModel, Embedder, LoadedModel, Reranker, Transcriber
from llm.runtime.ranking_model import RankingModel
from llm.runtime.registry import HandleKey, Registry, process_registry
from llm.runtime.speech_model import SpeechModel
from llm.runtime.task_model import TaskModel

log = logging.getLogger(__name__)

Model: TypeAlias = str | Path | ModelEntry
"""A catalogue id, a model folder, a .gguf file, or an entry."""


@dataclass(frozen=True, slots=True)
class HandleInfo:
    """A loaded model as the Models page lists it. `active` answers are being written now."""

    key: HandleKey
    model: LoadedModel
    entry: ModelEntry
    plan: LoadPlan
    memory: MemoryUse
    active: int
    last_used: float


def chat(model: Model, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> ChatModel:
    """The shared handle of a model that answers messages. Arguments and errors as of `load`.

    Raises:
        UnsupportedContent: it is of another kind.
    """
    entry = _entry(model)
    require(entry, entry.converses, "a conversation")
    return cast(ChatModel, load(entry, plan, progress))


def embedder(model: Model, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> Embedder:
    """The shared handle of a model that makes vectors of texts. See `chat`."""
    entry = _entry(model)
    fits = entry.converses or entry.embeds_only
    require(entry, fits, "texts for embedding")
    handle = cast(Embedder, load(entry, plan, progress))
    require(entry, handle.can_embed, "texts for embedding")
    return handle


def reranker(model: Model, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> Reranker:
    """The shared handle of a model that tells how well texts answer a question. See `chat`."""
    entry = _entry(model)
    require(entry, entry.ranks_texts, "texts for ranking")
    return cast(Reranker, load(entry, plan, progress))


def transcriber(model: Model, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> Transcriber:
    """The shared handle of a model that writes recordings down. See `chat`."""
    entry = _entry(model)
    require(entry, entry.transcribes, "a recording")
    return cast(Transcriber, load(entry, plan, progress))


def captioner(model: Model, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> CaptionModel:
    """The shared handle of a model that tells which caption fits a picture. See `chat`."""
    entry = _entry(model)
    require(entry, entry.ranks_captions, "captions of a picture")
    return cast(CaptionModel, load(entry, plan, progress))


def task_model(model: Model, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> TaskModel:
    """The shared handle of a model of one job. See `chat`."""
    entry = _entry(model)
    require(entry, entry.does_one_job, "a task")
    return cast(TaskModel, load(entry, plan, progress))


def require(entry: ModelEntry, fits: bool, content: str) -> None:
    """
    Raises:
        UnsupportedContent: the model does not fit; the sentence names `content` and what it takes instead.
    """
    if not fits:
        raise UnsupportedContent(model=entry.id, content=content, accepted=", ".join(sorted(entry.abilities)))


def load(model: Model, plan: LoadPlan | None = None, progress: LoadProgress | None = None) -> LoadedModel:
    """The shared handle of a model of any kind, loaded when nobody has asked for it before.

    Args:
        plan: how to load it; None takes the handle that is there, else the engine's choice.
        progress: called with stage, done and total while it loads.

    Raises:
        UnknownModel, ModelNotThere, CorruptModel, UnsupportedModel, OutOfMemory: see `llm.errors`.
    """
    entry = _entry(model)
    path = where(entry)
    if path is None:
        raise ModelNotThere(model=entry.name)
    if entry.is_reader:  # another model's handle, with text in the place of pictures
        from llm.runtime.reader_model import ReaderModel

        return ReaderModel(entry, chat(entry.id.removeprefix(READER), plan, progress))
    if entry.adapter is not None:
        from llm.runtime.adapted_model import AdaptedModel

        return AdaptedModel(entry, chat(entry.base_id, plan, progress))
    handles = registry()
    if plan is None:
        key = handles.key_of_files(str(path)) or HandleKey(str(path))
    else:
        key = HandleKey(str(path), plan.device, plan.precision, plan.context_tokens)
    wanted = plan or key.plan
    admit = None if engine_of(entry).remote else partial(_admit, entry, wanted, path)
    return handles.get_or_load(key, admit, partial(_load, entry, path, wanted, progress or _silent))


def registry() -> Registry:
    """What is loaded: in the app Streamlit's shared resource, elsewhere the same without Streamlit."""
    if "streamlit" in sys.modules:
        from llm.runtime.shared import shared_registry

        return shared_registry()
    return process_registry()


def loaded() -> list[HandleInfo]:
    """What is loaded now, the most recently used first."""
    rows = [
        HandleInfo(key, m, m.entry, m.plan, m.memory(), m.use.active, m.use.last_used) for key, m in registry().items()
    ]
    return sorted(rows, key=lambda row: row.last_used, reverse=True)


def unload(key: HandleKey, force: bool = False) -> None:
    """Frees a handle. Unknown keys are ignored: somebody else was faster.

    Raises:
        Busy: an answer is being written and `force` is off.
    """
    with registry().holding(key) as handle:
        if handle is None:
            return
        if handle.use.active and not force:
            raise Busy(waiting=handle.use.active)
        registry().free(key)


def _entry(model: Model) -> ModelEntry:
    return with_sampling(model if isinstance(model, ModelEntry) else find(model))


def _admit(entry: ModelEntry, plan: LoadPlan, path: Path, handles: Registry) -> None:
    """Unloads idle handles, the least recently used first, until a model fits and no more than may stay are kept.

    Raises:
        NotEnoughMemory, TooBig: it doesn't fit even then; the sentence says what would.
    """
    if entry.own or entry.embeds_only:
        check_runs(entry, path)
    machine = hardware()
    estimated = estimate(entry, plan, path, machine)
    room = plan_room(
        estimated.total_bytes,
        available(estimated.device, machine),
        estimated.device,
        handles.holdings(),
        config().keep_models,
    )
    for key in room.unload:
        log.info("Unloading %s to make room for %s", Path(key.path).name, entry.id)
        handles.evict(key)
    if not room.enough:
        raise out_of_memory(entry, plan, path, machine)


def _load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> LoadedModel:
    log.info("Loading %s from %s", entry.id, path.name)
    try:
        engine = import_module(engine_of(entry).module).load(entry, path, plan, progress)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        give_back()  # what was loaded so far
        raise out_of_memory(entry, plan, path) from error
    handle = _shared(entry, plan, engine)
    handle.use.on_use = partial(mark_used, entry.id)
    mark_used(entry.id)
    return handle


def _shared(entry: ModelEntry, plan: LoadPlan, engine: Any) -> LoadedModel:
    """What everybody sees of an engine's weights."""
    spec = engine_of(entry)
    if spec.remote:  # another server's model has no weights here, and its own conventions there
        return cast(LoadedModel, engine)
    if spec.serves == "captions":
        return ClipCaptionModel(entry, plan, engine)
    if spec.serves == "speech":
        return SpeechModel(entry, engine)
    if spec.serves == "vectors":
        return EmbeddingModel(entry, plan, engine)
    if spec.serves == "ranking":
        return RankingModel(entry, plan, engine)
    if spec.serves == "task":
        return TaskModel(entry, plan, engine)
    return EngineChatModel(entry, getattr(engine, "plan", plan), engine)


def _silent(stage: str, done: float, total: float) -> None:
    return None
