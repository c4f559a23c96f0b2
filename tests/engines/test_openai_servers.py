"""Models of other servers, of every kind that there is: pictures, recordings, vectors; and transformers' own server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import llm
from llm.cancel import Cancel
from llm.catalogue import lookup
from llm.catalogue.entry import ModelEntry
from llm.config import config
from llm.errors import InvalidRequest, ModelError
from llm.events import Finished, TextDelta
from llm.messages import ImagePart
from llm.remote.servers import add_server
from llm.settings import GenerationSettings
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechFinished, SpeechStarted
from tests.api.conftest import PATIENCE_S, Served, free_port, serve_command, spoken, start, stop  # noqa: F401
from tests.conftest import fetched
from tests.engines.tiny_checkpoints import save_checkpoint
from tests.vision.test_transformers_vision import picture
from tests.vision.tiny_lines import tiny_line
from tests.vision.tiny_vlm import tiny_vlm

SPEECH = "faster-whisper-base"
GREEDY = GenerationSettings(max_length=6, temperature=0)


def said(model: Any, *parts: Any, settings: GenerationSettings = GREEDY) -> tuple[str, Finished]:
    found = list(model.stream([llm.user(*parts)], settings))
    assert isinstance(found[-1], Finished)
    return "".join(event.text for event in found if isinstance(event, TextDelta)), found[-1]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for pictures and one for words, tiny and random."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny_vlm("qwen2_vl", folder / "sees")
    save_checkpoint(folder / "writes", "qwen2")
    tiny_line("llava", folder / "llava")
    return folder


@pytest.fixture(scope="module")
def hearth(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Another Hearth with the model for pictures and the starter speech model."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    (home / "models" / SPEECH).symlink_to(fetched(SPEECH))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTH_HOME", str(home))
        config.cache_clear()
        lookup.add(lookup.entry_of_path(checkpoints / "sees"))
    config.cache_clear()
    port = free_port()
    server = start(serve_command(port), home, port)
    yield server
    stop(server)


def only(entries: list[ModelEntry], task: str) -> ModelEntry:
    (entry,) = (entry for entry in entries if entry.task == task)
    return entry


def test_a_picture_reaches_the_other_server(hearth: Served, checkpoints: Path, data_folder: Path) -> None:
    """The answer over there is the one that the same weights give here, and another picture gets another."""
    entry = only(add_server("other", f"{hearth.url}/v1"), "image-text-to-text")
    assert "image" in entry.abilities
    there, here = llm.load(entry.id), llm.load(str(checkpoints / "sees"))
    answers = []
    for seed in (1, 2):
        asked = (picture(seed), "What is in the picture?")
        text, end = said(there, *asked)
        assert text == said(here, *asked)[0]
        assert end.usage.prompt_tokens > said(there, "What is in the picture?")[1].usage.prompt_tokens
        answers.append(text)
    assert answers[0] != answers[1]
    with pytest.raises(InvalidRequest, match="picture"):
        said(there, ImagePart(b"no picture at all"), "What?")


def test_the_other_server_holds_answers_to_a_schema(hearth: Served, data_folder: Path) -> None:
    entry = only(add_server("other", f"{hearth.url}/v1"), "image-text-to-text")
    schema = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 2}
    held, _ = said(llm.load(entry.id), "x", settings=GenerationSettings(json_schema=schema, max_length=40))
    assert set(json.loads(held)) <= {"a", "b"}


def test_a_recording_is_transcribed_by_the_other_server(
    hearth: Served,
    spoken: Path,  # noqa: F811
    data_folder: Path,
    tmp_path: Path,
) -> None:
    model: Any = llm.load(only(add_server("other", f"{hearth.url}/v1"), "automatic-speech-recognition").id)
    begun, *segments, end = list(model.transcribe(spoken, SpeechOptions(language="en")))
    assert isinstance(begun, SpeechStarted) and begun.language == "en" and isinstance(end, SpeechFinished)
    assert all(isinstance(row, Segment) and row.end_s > row.start_s for row in segments)
    assert "brown fox" in " ".join(row.text for row in segments).lower() and end.duration_s > 3
    cancel = Cancel()
    cancel.set()
    assert [event.reason for event in model.transcribe(spoken, SpeechOptions(), cancel)] == ["cancelled"]
    (tmp_path / "x.wav").write_bytes(b"no sound at all" * 99)
    with pytest.raises(InvalidRequest, match=r"x\.wav"):
        list(model.transcribe(tmp_path / "x.wav", SpeechOptions()))


def test_vectors_from_llama_cpps_server(starter_file: Path, data_folder: Path) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(starter_file)
    params.n_ctx, params.n_parallel, params.verbosity, params.embedding = 512, 1, 1, True
    params.fit_params = False
    params.pooling_type = xllamacpp.llama_pooling_type(1)  # the mean
    params.hostnames = ["127.0.0.1"]
    server = xllamacpp.Server(params)
    (entry,) = add_server("llama", f"{server.listening_address}/v1")
    vectors, tokens = llm.load(entry.id).embed(["a hearth", "a fireplace"])  # type: ignore[attr-defined]
    assert [len(vector) for vector in vectors] == [576, 576] and tokens > 2
    del server


@pytest.fixture(scope="module")
def transformers_serve(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with tiny models in its cache, as if they had been fetched from the hub.

    For pictures a LLaVA: to read Qwen2-VL's processor that server wants torchvision, which Hearth does without.
    """
    home = tmp_path_factory.mktemp("hub")
    for name in ("writes", "llava"):
        place = home / "hub" / f"models--tiny--{name}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("0" * 40)
        (place / "snapshots").mkdir()
        (place / "snapshots" / ("0" * 40)).symlink_to(checkpoints / name)
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    log = home / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                break
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.3)
    yield f"http://127.0.0.1:{port}/v1"
    process.kill()
    process.wait()


def test_transformers_serve(transformers_serve: str, checkpoints: Path, data_folder: Path) -> None:
    models = {entry.remote_id.split("@")[0]: entry for entry in add_server("hf", transformers_serve)}
    assert set(models) == {"tiny/writes", "tiny/llava"}
    model = llm.load(models["tiny/writes"].id)
    text, end = said(model, "Count from one to five.")
    assert end.reason == "length" and end.usage.completion_tokens == 6 and end.usage.prompt_tokens > 6
    # Its server leaves out the bytes of a character that the answer ends inside of; here they show as U+FFFD.
    assert text == said(llm.load(str(checkpoints / "writes")), "Count from one to five.")[0].rstrip("\ufffd")

    cancel = Cancel()
    begin = time.perf_counter()
    for event in model.stream([llm.user("x")], GenerationSettings(max_length=2000, temperature=0), cancel):
        if isinstance(event, TextDelta):
            cancel.set()
    assert isinstance(event, Finished) and event.reason == "cancelled" and time.perf_counter() - begin < 30
    with pytest.raises(ModelError) as caught:
        said(model, "x", settings=GenerationSettings(max_length=4, top_k=7))
    assert "top_k" in str(caught.value)

    asked = (picture(1), "What is in the picture?")
    text, end = said(llm.load(models["tiny/llava"].id), *asked)
    assert text == said(llm.load(str(checkpoints / "llava")), *asked)[0]
    assert end.usage.prompt_tokens > 16
