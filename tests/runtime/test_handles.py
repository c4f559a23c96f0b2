"""Handles: loaded once, shared, and unloaded to make room."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import llm
from llm.catalogue.entry import ModelEntry
from llm.errors import Busy, ModelNotThere, NotEnoughMemory, OutOfMemory, TooBig, UnknownModel, UnsupportedContent
from llm.machine.hardware import hardware
from llm.plan import LoadPlan
from llm.runtime import handles
from tests.runtime.scripted import ScriptedEngine

EMPTY_GGUF = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0)


class Engines:
    """Stands in for an engine's module: counts loads, hands out scripted engines."""

    def __init__(self) -> None:
        self.made: list[ScriptedEngine] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def load(self, entry, path, plan, progress):
        self.gate.wait(10)
        if self.error:
            raise self.error
        self.made.append(ScriptedEngine())
        return self.made[-1]


@pytest.fixture
def engines(data_folder, monkeypatch):
    made = Engines()
    monkeypatch.setattr(handles, "import_module", lambda name: made)
    yield made
    for row in handles.loaded():
        handles.unload(row.key, force=True)


@pytest.fixture
def entry(tmp_path):
    def make(name: str) -> ModelEntry:
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(EMPTY_GGUF)
        return ModelEntry(
            name, name, "text-generation", "template", "llamacpp", size_bytes=1000, file=path.name, path=path
        )

    return make


def test_two_requests_at_once_load_once(engines, entry):
    one, got = entry("one"), []
    engines.gate.clear()
    threads = [threading.Thread(target=lambda: got.append(handles.load(one))) for _ in range(4)]
    for thread in threads:
        thread.start()
    engines.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(engines.made) == 1 and len(set(map(id, got))) == 1


def test_the_least_recently_used_idle_one_goes_and_never_one_that_answers(engines, entry, monkeypatch):
    monkeypatch.setenv("HEARTH_KEEP_MODELS", "2")
    llm.config.config.cache_clear()
    first, second = handles.load(entry("first")), handles.load(entry("second"))
    with first.use:  # the least recently begun, but answering
        second.use.last_used += 5
        handles.load(entry("third"))
        assert {row.entry.id for row in handles.loaded()} == {"first", "third"}
    assert engines.made[1].closed and not engines.made[0].closed


def test_a_busy_handle_is_not_unloaded(engines, entry):
    model = handles.load(entry("one"))
    key = handles.loaded()[0].key
    with model.use, pytest.raises(Busy):
        handles.unload(key)
    handles.unload(key)
    assert engines.made[0].closed and not handles.loaded()


def test_memory_that_runs_out_while_loading_is_explained_and_the_next_load_works(engines, entry):
    engines.error = MemoryError("Cannot allocate memory")
    with pytest.raises((NotEnoughMemory, TooBig)):
        handles.load(entry("one"))
    assert not handles.loaded()
    engines.error = None
    assert handles.load(entry("one"))


def test_what_cannot_fit_is_refused_before_it_is_loaded(engines, entry, monkeypatch):
    full = replace(hardware(), ram_free_bytes=0)
    monkeypatch.setattr(handles, "hardware", lambda: full)
    with pytest.raises(OutOfMemory):
        handles.load(entry("one"))
    assert not engines.made


def test_another_plan_is_another_handle_and_no_plan_takes_what_is_there(engines, entry):
    one = entry("one")
    short = handles.load(one, LoadPlan(context_tokens=512))
    assert handles.load(one) is short
    assert handles.load(one, LoadPlan(context_tokens=1024)) is not short


def test_unknown_and_absent_models(engines):
    with pytest.raises(UnknownModel):
        llm.load("no-such-model")
    with pytest.raises(ModelNotThere):
        llm.load("smollm2-135m-instruct-q4_1")


def test_a_damaged_file_of_the_users_leaves_no_handle(data_folder):
    path = Path(data_folder) / "x.gguf"
    path.write_bytes(b"not a model")
    with pytest.raises(llm.ModelError):
        llm.load(path)
    assert not handles.loaded()


def test_two_models_that_load_at_once_do_not_count_the_same_free_memory(engines, entry, monkeypatch):
    """The second is admitted when the first has taken its memory, so what it sees is what is left."""
    asked: list[int] = []
    plain = hardware()

    def machine():
        asked.append(len(engines.made))
        return plain

    monkeypatch.setattr(handles, "hardware", machine)
    engines.gate.clear()
    threads = [threading.Thread(target=handles.load, args=(entry(name),)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    time.sleep(0.3)  # long enough for the second to ask, if it were let
    assert asked == [0] and not engines.made
    engines.gate.set()
    for thread in threads:
        thread.join(10)
    assert asked == [0, 1]


def test_a_wrong_kind_of_model_is_refused_before_it_is_loaded(engines, entry):
    with pytest.raises(UnsupportedContent, match="a recording"):
        handles.transcriber(entry("one"))
    with pytest.raises(UnsupportedContent, match="captions"):
        handles.captioner(entry("one"))
    with pytest.raises(UnsupportedContent, match="a conversation"):
        handles.chat(replace(entry("one"), task="feature-extraction"))
    assert not engines.made


def test_the_terminal_shares_handles_without_streamlit():
    code = (
        "import sys, llm.cli.app; from llm.runtime import handles; handles.loaded(); print('streamlit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_a_handle_that_somebody_closed_is_not_given_out_again(engines, entry):
    first = handles.load(entry("one"))
    first.close()
    assert not handles.loaded()
    assert handles.load(entry("one")) is not first and len(engines.made) == 2
