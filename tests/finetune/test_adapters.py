"""Adapters in use: the same loaded weights answer with and without them, as peft reckons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import llm
from llm.catalogue.adapters import WEIGHTS, AdapterNote, adapters, keep_adapter, remove_adapter
from llm.catalogue.lookup import adapted, find, installed
from llm.errors import AdapterRefused, NotFound, UnknownModel
from llm.events import Finished
from llm.plan import LoadPlan
from llm.runtime import handles
from llm.settings import GenerationSettings
from tests.finetune import tiny

GREEDY = GenerationSettings(temperature=0, max_length=12)


@pytest.fixture
def model(data_folder: Path) -> Iterator[Path]:
    yield tiny.base(data_folder / "base")
    handles.registry().close_all()


def made(model: Path, name: str, **changes: Any) -> Any:
    """A kept adapter; peft's model of it."""
    folder, tuned = tiny.adapter(model, model.parent / f"made-{name}", **changes)
    note = AdapterNote.read(folder)
    assert note is not None
    keep_adapter(name, folder, note)
    return tuned


def said(name: str, ids: list[int], settings: GenerationSettings = GREEDY) -> list[int]:
    handle = handles.chat(name, LoadPlan(device="cpu", precision="float32"))
    events = list(handle.complete(ids, settings.with_values({"logprobs": 1})))
    assert isinstance(events[-1], Finished)
    return [token.id for event in events for token in getattr(event, "tokens", ())]


@pytest.mark.parametrize("changes", [{}, {"use_rslora": True}, {"use_dora": True}, {"target_modules": ["q_proj"]}])
def test_an_adapter_answers_as_in_peft_and_the_model_stays_itself(model: Path, changes: dict[str, Any]) -> None:
    ids = [5, 9, 40, 77]
    tuned = made(model, "town", **changes)
    plain, after = said(str(model), ids), said(f"{model}@town", ids)
    expected = tiny.greedy(tuned, ids, 12)
    assert after == expected[: len(after)] and len(after) >= 1
    with tuned.disable_adapter():
        assert plain == tiny.greedy(tuned, ids, 12)[: len(plain)]
    assert after != plain
    assert said(f"{model}@town", ids, replace(GREEDY, strength=0.0)) == plain
    assert [row.key.path for row in handles.loaded()].count(str(model)) == 1  # one copy of the weights


def test_several_adapters_answer_at_once_from_one_copy_and_never_mix(model: Path) -> None:
    """The prompt cache is shared, and must not give one the keys of another."""
    ids = list(range(3, 40))
    names = ["a", "b"]
    peft_models = {name: made(model, name, seed=seed) for seed, name in enumerate(names, start=3)}
    expected = {f"{model}@{name}": tiny.greedy(tuned, ids, 12) for name, tuned in peft_models.items()}
    with peft_models["a"].disable_adapter():
        expected[str(model)] = tiny.greedy(peft_models["a"], ids, 12)
    assert len({tuple(answer) for answer in expected.values()}) == 3
    asked = [*expected, *expected, *reversed(expected)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda name: said(name, ids), asked))
    for name, answer in zip(asked, answers, strict=True):
        assert answer == expected[name][: len(answer)] and answer


def test_half_strength_lies_between(model: Path) -> None:
    tuned = made(model, "town")
    ids = [5, 9, 40, 77]
    for module in tuned.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling["default"] *= 0.5
    answer = said(f"{model}@town", ids, replace(GREEDY, strength=0.5))
    assert answer == tiny.greedy(tuned, ids, 12)[: len(answer)]


def test_an_adapter_stands_under_its_base_everywhere(model: Path) -> None:
    from llm.catalogue import lookup

    lookup.add(replace(find(model), id="tiny"))
    made(model, "town")
    assert [entry.id for entry in adapted()] == ["tiny@town"]
    assert "tiny@town" in {entry.id for entry in installed()}
    assert find("tiny@town").base_id == "tiny"
    assert said("tiny@town", [5, 9, 40]) == said(f"{model}@town", [5, 9, 40])
    with pytest.raises(UnknownModel):
        find("tiny@village")
    remove_adapter("town")
    assert adapted() == []
    with pytest.raises((UnknownModel, NotFound)):
        find("tiny@town")


def test_another_base_is_refused_by_name(model: Path, data_folder: Path) -> None:
    made(model, "town")
    other = tiny.base(data_folder / "other", seed=7)
    with pytest.raises(AdapterRefused, match="other weights"):
        said(f"{other}@town", [5, 9])


def spoil(what: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    key = next(key for key in tensors if "lora_B" in key)
    match what:
        case "renamed":
            tensors[key.replace("self_attn", "attention").replace("mlp", "feed")] = tensors.pop(key)
        case "missing":
            del tensors[key]
        case "shape":
            tensors[key] = tensors[key][:-1].contiguous()
        case "values":
            tensors[key] = tensors[key] + 1.0
    return tensors


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("renamed", "no layer for its tensor"),
        ("missing", "half of what"),
        ("shape", "the shape"),
        ("values", "test question"),
    ],
)
def test_a_changed_adapter_is_refused_and_says_how(model: Path, what: str, says: str) -> None:
    made(model, "town")
    file = adapters()[0].folder / WEIGHTS
    save_file(spoil(what, load_file(file)), file)
    with pytest.raises(AdapterRefused, match=says):
        said(f"{model}@town", [5, 9])
    assert said(str(model), [5, 9])  # the model itself goes on


def test_what_cannot_be_expressed_is_refused(model: Path) -> None:
    made(model, "town")
    file = adapters()[0].folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"modules_to_save": ["lm_head"]}))
    with pytest.raises(AdapterRefused, match="whole layers"):
        said(f"{model}@town", [5, 9])


def test_probe_logits_come_back_to_a_ten_thousandth(model: Path) -> None:
    made(model, "town")
    handle = llm.load(model, LoadPlan(device="cpu", precision="float32"))
    folder, note = adapters()[0].folder, adapters()[0].note
    engine = handle.engine  # type: ignore[attr-defined]
    engine.adapt(folder)
    engine._adapters.use((folder, 1.0))
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([note.probe_ids])).logits[0, -1, : len(note.probe_logits)]
    assert float((logits - torch.tensor(note.probe_logits)).abs().max()) < 1e-4


def test_an_adapter_works_on_a_model_in_eight_bits(model: Path) -> None:
    made(model, "town")
    handle = handles.chat(f"{model}@town", LoadPlan(device="cpu", precision="int8"))
    assert isinstance(list(handle.complete([5, 9, 40], GREEDY))[-1], Finished)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a@b", ".hidden", "x" * 80])
def test_a_name_that_leads_elsewhere_is_refused(model: Path, name: str) -> None:
    folder, _ = tiny.adapter(model, model.parent / "made")
    note = AdapterNote.read(folder)
    assert note is not None
    with pytest.raises(AdapterRefused):
        keep_adapter(name, folder, note)
    remove_adapter(name)
    assert model.is_dir()
