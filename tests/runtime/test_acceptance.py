"""A model of one's own: refused with a clear sentence where no engine knows it, sampled as its publisher says."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import llm
from llm.catalogue import library
from llm.catalogue.lookup import add, entry_of_path, find
from llm.engines.llamacpp.acceptance import llamacpp_knows
from llm.errors import UnsupportedModel
from llm.runtime import handles
from llm.runtime.acceptance import check_runs, with_sampling
from llm.settings import GenerationSettings
from tests.catalogue.test_gguf import METADATA, gguf
from tests.catalogue.test_lookup import folder

CHATGLM3 = {"model_type": "chatglm", "architectures": ["ChatGLMModel"], "padded_vocab_size": 65024}


def test_llama_cpp_is_asked_which_architectures_it_knows() -> None:
    assert llamacpp_knows("llama") and llamacpp_knows("qwen3")
    assert not llamacpp_knows("no-such-architecture")
    assert not llamacpp_knows("clip")  # known, but no model by itself


def test_a_gguf_of_an_unknown_architecture_is_refused_before_it_is_loaded(data_folder: Path) -> None:
    path = data_folder / "new.gguf"
    path.write_bytes(gguf({**METADATA, "general.architecture": "llama9"}, [("a", (4,), 0, 0)], b"\0" * 16))
    with pytest.raises(UnsupportedModel, match="llama9"):
        check_runs(entry_of_path(path))
    with pytest.raises(UnsupportedModel, match="llama9"):
        llm.load(path)
    assert not any(str(path) == info.key.path for info in handles.loaded())


def test_an_unknown_checkpoint_is_refused(tmp_path: Path) -> None:
    config = {"model_type": "no_such", "architectures": ["NoSuchForCausalLM"], "auto_map": {"AutoModel": "x.Y"}}
    with pytest.raises(UnsupportedModel, match="no_such"):
        check_runs(entry_of_path(folder(tmp_path / "model", config)))


def test_a_chatglm3_folder_is_sampled_as_chatglm3(tmp_path: Path) -> None:
    entry = with_sampling(entry_of_path(folder(tmp_path / "chatglm3-mine", CHATGLM3)))
    assert entry.family == "chatglm3"
    assert (entry.sampling["temperature"], entry.sampling["top_p"]) == (0.8, 0.8)


def test_what_the_folder_itself_says_comes_first_and_stays_within_what_can_be_turned(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine")
    says = {"do_sample": True, "temperature": 0.6, "top_p": 0.001, "top_k": 20, "eos_token_id": [1, 2]}
    (path / "generation_config.json").write_text(json.dumps(says))
    entry = with_sampling(entry_of_path(path))
    assert dict(entry.sampling) == {"temperature": 0.6, "top_p": 0.01, "top_k": 20}
    GenerationSettings().with_values(entry.sampling)
    (path / "generation_config.json").write_text(json.dumps({"do_sample": False, "temperature": 0.6}))
    assert dict(with_sampling(entry_of_path(path)).sampling) == {"temperature": 0.0}
    (path / "generation_config.json").write_text("{damaged")
    assert dict(with_sampling(entry_of_path(path)).sampling)["temperature"] == 0.6  # the Llama line's


def test_catalogue_entries_keep_their_own_values() -> None:
    entry = find("qwen2.5-0.5b-instruct")
    assert with_sampling(entry) is entry


def test_each_use_is_remembered_not_each_load(data_folder: Path, starter_file: Path) -> None:
    entry = entry_of_path(starter_file)
    add(entry)
    model = llm.load(entry)
    try:
        loaded = library.last_used(entry.id)
        assert loaded > 0
        time.sleep(0.05)
        with model.use:
            pass
        assert library.last_used(entry.id) > loaded
        assert [row.last_used for row in library.holdings() if row.entry.id == entry.id] == [
            library.last_used(entry.id)
        ]
    finally:
        for row in handles.loaded():
            handles.unload(row.key, force=True)
