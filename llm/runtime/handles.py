"""Model handles: each model is loaded once and shared by every page, visitor and request of the process.

The only module of `llm` that knows Streamlit: handles live in its resource cache, so that what the pages
clear, the API no longer has, and the other way round.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.catalogue.library import mark_used
from llm.catalogue.lookup import READER, find, where
from llm.config import config
from llm.engine import MemoryUse
from llm.errors import Busy, ModelNotThere
from llm.machine.hardware import hardware
from llm.machine.heap import give_back
from llm.plan import LoadPlan, LoadProgress
from llm.planning.eviction import Holding, plan_room
from llm.planning.memory import available, estimate
from llm.planning.out_of_memory import is_out_of_memory, out_of_memory
from llm.runtime.acceptance import check_runs, with_sampling
from llm.runtime.caption_model import CaptionModel
from llm.runtime.chat_model import ChatModel
from llm.runtime.protocols import LoadedModel
from llm.runtime.speech_model import SpeechModel

log = logging.getLogger(__name__)

# Engine name -> its module, imported when a model is loaded: no page pays for an engine that it doesn't use.
ENGINE_MODULES = {
    "llamacpp": "llm.engines.llamacpp.engine",
    "transformers": "llm.engines.transformers",
    "whisper": "llm.engines.whisper.engine",
    "openai": "llm.remote.chat",
}

# Models that rank captions load by transformers too, and hold no conversations.
CLIP_MODULE = "llm.engines.clip"


@dataclass(frozen=True, slots=True)
class HandleInfo:
    """A loaded model as the Models page lists it. `active` answers are being written now."""

    key: str
    model: Any
    entry: ModelEntry
    plan: LoadPlan
    memory: MemoryUse
    active: int
    last_used: float


def load(
    model: str | Path | ModelEntry, plan: LoadPlan | None = None, progress: LoadProgress | None = None
) -> LoadedModel:
    """The shared handle of a model, loaded when nobody has asked for it before.

    Args:
        model: catalogue id, model folder, .gguf file, or an entry.
        plan: how to load it; None takes the handle that is there, else the engine's choice.
        progress: called with stage, done and total while it loads.

    Raises:
        UnknownModel, ModelNotThere, CorruptModel, UnsupportedModel, OutOfMemory: see `llm.errors`.
    """
    entry = with_sampling(model if isinstance(model, ModelEntry) else find(model))
    path = where(entry)
    if path is None:
        raise ModelNotThere(model=entry.name)
    if entry.engine == "reader":  # another model's handle, with text in the place of pictures
        from llm.runtime.reader_model import ReaderModel

        return ReaderModel(entry, load(entry.id.removeprefix(READER), plan, progress))
    wanted = plan or _plan_of_loaded(path) or LoadPlan()
    key = f"{path}|{wanted.device}|{wanted.precision}|{wanted.context_tokens}"
    handles = _handles()
    with handles.lock_of(key):
        if key not in handles.loaded and not entry.is_remote:
            if entry.own or entry.embeds_only:
                check_runs(entry, path)
            make_room(entry, wanted, path)
        handle = _handle(key, entry, path, wanted, progress or _silent)
        handles.loaded[key] = handle
    return handle


def loaded() -> list[HandleInfo]:
    """What is loaded now, the most recently used first."""
    rows = [
        HandleInfo(key, m, m.entry, m.plan, m.memory(), m.use.active, m.use.last_used)
        for key, m in list(_handles().loaded.items())
    ]
    return sorted(rows, key=lambda row: row.last_used, reverse=True)


def unload(key: str, force: bool = False) -> None:
    """Frees a handle. Unknown keys are ignored: somebody else was faster.

    Raises:
        Busy: an answer is being written and `force` is off.
    """
    handles = _handles()
    with handles.lock_of(key):
        handle = handles.loaded.get(key)
        if handle is None:
            return
        if handle.use.active and not force:
            raise Busy(waiting=handle.use.active)
        del handles.loaded[key]
        _handle.clear(key)  # calls `_release`
    del handle
    give_back()


def make_room(entry: ModelEntry, plan: LoadPlan, path: Path) -> None:
    """Unloads idle handles, the least recently used first, until a model fits and no more than may stay are kept.

    Raises:
        NotEnoughMemory, TooBig: it doesn't fit even then; the sentence says what would.
    """
    machine = hardware()
    estimated = estimate(entry, plan, path, machine)
    held = [Holding(row.key, row.memory.by_device, row.last_used, row.active > 0) for row in loaded()]
    room = plan_room(
        estimated.total_bytes,
        available(estimated.device, machine),
        estimated.device,
        held,
        config().keep_models,
    )
    for key in room.unload:
        log.info("Unloading %s to make room for %s", key.split("|")[0].rsplit("/", 1)[-1], entry.id)
        unload(key)
    if not room.enough:
        raise out_of_memory(entry, plan, path, machine)


class _Handles:
    """Which keys are loaded, and a lock for each so that two requests load once."""

    def __init__(self) -> None:
        self.loaded: dict[str, Any] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._lock = threading.Lock()

    def lock_of(self, key: str) -> threading.RLock:
        with self._lock:
            return self._locks.setdefault(key, threading.RLock())


@st.cache_resource(show_spinner=False)
def _handles() -> _Handles:
    return _Handles()


def _release(handle: Any) -> None:
    handle.close()


@st.cache_resource(show_spinner=False, on_release=_release)
def _handle(key: str, _entry: ModelEntry, _path: Path, _plan: LoadPlan, _progress: LoadProgress) -> Any:
    """Loads a model. Only `key` counts for the cache."""
    log.info("Loading %s from %s", _entry.id, _path.name)
    try:
        module = CLIP_MODULE if _entry.ranks_captions else ENGINE_MODULES[_entry.engine]
        engine = import_module(module).load(_entry, _path, _plan, _progress)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        give_back()  # what was loaded so far
        raise out_of_memory(_entry, _plan, _path) from error
    handle = _shared(_entry, _plan, engine)
    handle.use.on_use = partial(mark_used, _entry.id)
    mark_used(_entry.id)
    return handle


def _shared(entry: ModelEntry, plan: LoadPlan, engine: Any) -> Any:
    """What everybody sees of an engine's weights."""
    if entry.ranks_captions:
        return CaptionModel(entry, plan, engine)
    if entry.engine == "whisper":
        return SpeechModel(entry, engine)
    if entry.is_remote:  # another server's model has no weights here, and its own conventions there
        return engine
    return ChatModel(entry, getattr(engine, "plan", plan), engine)


def _plan_of_loaded(path: Path) -> LoadPlan | None:
    """The plan that a loaded handle of these files was asked for with."""
    for key in _handles().loaded:
        name, device, precision, context = key.rsplit("|", 3)
        if name == str(path):
            return LoadPlan(device, precision, int(context))  # type: ignore[arg-type]
    return None


def _silent(stage: str, done: float, total: float) -> None:
    return None
