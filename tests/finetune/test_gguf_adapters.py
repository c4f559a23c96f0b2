"""The same adapter in llama.cpp and in transformers: the same words, from one copy of the weights each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from llm.catalogue import lookup
from llm.catalogue.adapters import GGUF, WEIGHTS, AdapterNote, fingerprint, get_adapter, keep_adapter
from llm.errors import AdapterRefused
from llm.events import Finished
from llm.finetune.gguf_lora import gguf_lora
from llm.runtime import handles
from llm.settings import GenerationSettings
from tests.finetune import tiny
from tests.finetune.llama_gguf import to_gguf

IDS = [5, 9, 40, 77]


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def pair(folder: Path, kind: str = "llama") -> tuple[Path, Path]:
    """A checkpoint folder and the same weights for llama.cpp."""
    model = tiny.base(folder / kind, kind)
    return model, to_gguf(model, folder / f"{kind}.gguf")


def keep(name: str, model: Path, file: Path, **changes: Any) -> Any:
    """An adapter trained beside `model`, kept for `file`; peft's model of it."""
    folder, tuned = tiny.adapter(model, model.parent / f"made-{name}", **changes)
    note = AdapterNote.read(folder)
    assert note is not None
    note = replace(note, base=str(file), base_fingerprint=fingerprint(file))
    keep_adapter(name, folder, note, {GGUF: gguf_lora(folder, file)})
    return tuned


def likeliest(name: str, ids: list[int] = IDS, **changes: Any) -> dict[int, float]:
    """Log probabilities of the next token. A plain letter is written: of half a character llama.cpp tells nothing."""
    settings = GenerationSettings(temperature=0, max_length=1, logprobs=20, logit_bias={40: 100.0}, **changes)
    events = list(handles.chat(name).complete(ids, settings))
    assert isinstance(events[-1], Finished)
    (token,) = [token for event in events for token in getattr(event, "tokens", ())]
    return {alternative.id: alternative.logprob for alternative in token.alternatives}


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("changes", [{}, {"use_rslora": True}])
def test_llama_cpp_says_what_peft_says(closed: Path, kind: str, changes: dict[str, Any]) -> None:
    model, file = pair(closed, kind)
    tuned = keep("town", model, file, **changes)
    before, after = likeliest(str(file)), likeliest(f"{file}@town")
    assert tiny.expects(tuned, IDS, after) and not tiny.expects(tuned, IDS, before)
    with tuned.disable_adapter():
        assert tiny.expects(tuned, IDS, before)
    assert likeliest(str(file)) == pytest.approx(before, abs=1e-3)
    assert likeliest(f"{file}@town", strength=0.0) == pytest.approx(before, abs=1e-3)
    assert [row.key.path for row in handles.loaded()].count(str(file)) == 1


def test_adapters_that_come_later_answer_from_the_same_model_and_never_mix(closed: Path) -> None:
    model, file = pair(closed)
    ids = list(range(3, 60))  # long enough to be kept by the prompt cache
    plain = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    every = {str(file): plain}
    for seed, name in enumerate(("a", "b"), start=3):
        every[f"{file}@{name}"] = keep(name, model, file, seed=seed)
        assert tiny.expects(every[f"{file}@{name}"], ids, likeliest(f"{file}@{name}", ids))
    asked = [*every, *reversed(every), *every, *every]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda name: likeliest(name, ids), asked))
    for name, found in zip(asked, answers, strict=True):
        assert [other for other, network in every.items() if tiny.expects(network, ids, found)] == [name]
    assert [row.key.path for row in handles.loaded()].count(str(file)) == 1


def test_a_model_of_the_catalogue_takes_one_by_its_id(closed: Path) -> None:
    model, file = pair(closed)
    place = closed / "models" / "own" / file.name
    place.parent.mkdir(parents=True)
    place.symlink_to(file)
    lookup.add(replace(lookup.find(file), id="own", path=None, file=file.name))
    tuned = keep("town", model, file)
    assert tiny.expects(tuned, IDS, likeliest("own@town"))


def test_a_changed_adapter_is_refused_and_the_model_goes_on(closed: Path) -> None:
    model, file = pair(closed)
    keep("town", model, file)
    before = likeliest(str(file))
    folder = get_adapter("town").folder
    tensors = load_file(folder / WEIGHTS)
    save_file({key: value * (-3.0 if "lora_B" in key else 1.0) for key, value in tensors.items()}, folder / WEIGHTS)
    (folder / GGUF).write_bytes(gguf_lora(folder, file))
    for _ in range(2):
        with pytest.raises(AdapterRefused, match="test question"):
            likeliest(f"{file}@town")
    assert likeliest(str(file)) == pytest.approx(before, abs=1e-3)


def test_a_damaged_file_is_refused_and_the_model_goes_on(closed: Path) -> None:
    model, file = pair(closed)
    keep("town", model, file)
    broken = get_adapter("town").folder / GGUF
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(AdapterRefused):
        likeliest(f"{file}@town")
    assert likeliest(str(file))


def test_what_llama_cpp_cannot_express_is_refused(closed: Path) -> None:
    model, file = pair(closed)
    folder, _ = tiny.adapter(model, closed / "dora", use_dora=True)
    with pytest.raises(AdapterRefused, match="DoRA"):
        gguf_lora(folder, file)
    folder, _ = tiny.adapter(model, closed / "plain")
    tensors = load_file(folder / WEIGHTS)
    save_file({key.replace("layers.0", "layers.9"): value for key, value in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(AdapterRefused, match=r"layers\.9"):
        gguf_lora(folder, file)


def test_a_base_in_sixteen_bits_is_near(closed: Path) -> None:
    model = tiny.base(closed / "llama")
    file = to_gguf(model, closed / "half.gguf", numpy.float16)
    tuned = keep("town", model, file)
    assert tiny.expects(tuned, IDS, likeliest(f"{file}@town"), rounding=0.1)
