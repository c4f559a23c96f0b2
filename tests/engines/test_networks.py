"""Networks of one job: their files are loaded, or refused with a sentence; their handles are shared and freed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llm.catalogue.lookup import find
from llm.checkpoints.efficientnet_lite import EfficientNetLite0
from llm.errors import CorruptModel, UnsupportedContent
from llm.machine.hardware import hardware
from llm.planning.memory import choices, verdict
from llm.runtime import handles
from tests.conftest import fetched

VAD, LITE = "silero-vad-v6", "efficientnet-lite0"


@pytest.fixture
def lite(data_folder: Path) -> Path:
    """A random EfficientNet-Lite0 where the catalogue's lies."""
    entry = find(LITE)
    file = data_folder / "models" / LITE / entry.file
    file.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(EfficientNetLite0().state_dict(), file)
    yield file
    for row in handles.loaded():
        handles.unload(row.key, force=True)


def test_a_network_is_one_handle_that_is_listed_and_freed(lite: Path) -> None:
    model = handles.task_model(LITE)
    assert handles.task_model(LITE) is model
    with model.in_use() as network:
        (logits,) = network.run_first(np.zeros((1, 3, 224, 224), np.float32))
    assert logits.shape == (1, 1000) and np.isfinite(logits).all()
    (row,) = (row for row in handles.loaded() if row.key.path == str(lite))
    assert row.memory.total_bytes == 4 * find(LITE).parameters
    handles.unload(row.key)
    assert model.memory().total_bytes == 0 and row.key not in [other.key for other in handles.loaded()]


def test_a_side_that_no_stride_divides_keeps_its_odd_pixel(lite: Path) -> None:
    with handles.task_model(LITE).in_use() as network:
        assert network.run_first(np.zeros((2, 3, 61, 37), np.float32))[0].shape == (2, 1000)


@pytest.mark.parametrize("body", [b"", b"not weights", b"PK\x03\x04 cut"])
@pytest.mark.parametrize("model_id", [VAD, LITE])
def test_a_damaged_file_is_refused_by_name(data_folder: Path, model_id: str, body: bytes) -> None:
    entry = find(model_id)
    file = data_folder / "models" / model_id / entry.file
    file.parent.mkdir(parents=True)
    file.write_bytes(body)
    with pytest.raises(CorruptModel, match=entry.file):
        handles.task_model(model_id)


def test_a_state_dict_of_another_network_is_refused(lite: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, lite)
    with pytest.raises(CorruptModel, match="Missing key"):
        handles.task_model(LITE)


def test_a_pickle_that_would_run_something_is_refused(lite: Path) -> None:
    torch.save({"weight": Path("/")}, lite)
    with pytest.raises(CorruptModel):
        handles.task_model(LITE)


def test_a_network_answers_no_messages_and_a_chat_model_does_no_job(lite: Path) -> None:
    with pytest.raises(UnsupportedContent):
        handles.chat(LITE)
    with pytest.raises(UnsupportedContent):
        handles.task_model(replace(find(LITE), task="text-generation"))


def test_an_onnx_file_of_the_catalogue_runs(data_folder: Path) -> None:
    """Silero's network: 576 samples and a state to the probability of speech."""
    entry = replace(find(VAD), path=fetched(VAD))
    with handles.task_model(entry).in_use() as network:
        state = np.zeros((1, 1, 128), np.float32)
        speech, *_ = network.run(input=np.zeros((3, 576), np.float32), h=state, c=state)
    assert speech.size == 3 and speech.max() < 0.5
    handles.registry().close_all()


def test_the_small_networks_fit_any_machine_that_runs_hearth() -> None:
    for model_id in (VAD, LITE, "u2netp", "picodet-layout-cdla", "page-orientation"):
        machine = replace(hardware(), ram_free_bytes=2 << 30, ram_total_bytes=4 << 30, gpus=())
        assert verdict(choices(find(model_id), machine)) == "fits"
