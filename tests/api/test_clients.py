"""LangChain, recordings, and the API beside the pages: what people use, unchanged."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from llm.catalogue.lookup import find
from llm.config import config
from llm.sources import fetch
from tests.api.conftest import PATIENCE_S, TOOLED, Served, free_port, serve_command, start, stop
from tests.conftest import STARTER

SPEECH = "faster-whisper-base"


def chat(served: Served, model: str = STARTER, **values: Any) -> ChatOpenAI:
    how = {"max_tokens": 12, "temperature": 0, **values}
    return ChatOpenAI(base_url=f"{served.url}/v1", api_key="none", model=model, timeout=PATIENCE_S, **how)


def test_langchain_asks_and_streams(served: Served) -> None:
    messages = [SystemMessage("You are brief."), HumanMessage("Count from one to five.")]
    whole = chat(served).invoke(messages)
    assert whole.content and whole.usage_metadata and 1 <= whole.usage_metadata["output_tokens"] <= 12
    parts = list(chat(served, stream_usage=True).stream(messages))
    assert "".join(str(part.content) for part in parts) == whole.content and len(parts) > 3
    assert (
        sum((part.usage_metadata or {}).get("output_tokens", 0) for part in parts)
        == (whole.usage_metadata["output_tokens"])
    )


@tool
def get_weather(city: Literal["Rome", "Paris"]) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


def test_langchain_calls_tools(served: Served) -> None:
    bound = chat(served, TOOLED, max_tokens=200).bind_tools([get_weather], tool_choice="get_weather")
    answer = bound.invoke("How is the weather in Rome?")
    assert answer.tool_calls[0]["name"] == "get_weather" and set(answer.tool_calls[0]["args"]) == {"city"}
    gathered = None
    for part in bound.stream("How is the weather in Rome?"):
        gathered = part if gathered is None else gathered + part
    assert gathered is not None and gathered.tool_calls[0]["args"] == answer.tool_calls[0]["args"]


class Count(BaseModel):
    number: Literal[1, 2, 3]
    even: bool


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_structures_output(served: Served, method: Any) -> None:
    found = (
        chat(served, TOOLED, max_tokens=200).with_structured_output(Count, method=method).invoke("Say the number 3.")
    )
    assert isinstance(found, Count)


def test_langchain_embeds_and_hears_errors(served: Served) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=f"{served.url}/v1",
        api_key="none",
        model=STARTER,
        check_embedding_ctx_length=False,  # type: ignore[arg-type]
    )
    assert len(embeddings.embed_query("A hearth")) == 576
    with pytest.raises(openai.NotFoundError):
        chat(served, "no-such-model").invoke("Hi")
    with pytest.raises(openai.BadRequestError):
        chat(served).invoke("x " * 9000)


@pytest.fixture(scope="module")
def hearing(make_home: Callable[[], Path]) -> Iterator[Served]:
    """A server with the starter speech model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEARTH_HOME", raising=False)
        if cache := os.environ.get("HEARTH_TEST_CACHE"):
            patch.setenv("HEARTH_HOME", cache)
        config.cache_clear()
        folder = fetch(find(SPEECH))
        config.cache_clear()
    home = make_home()
    (home / "models" / SPEECH).symlink_to(folder)
    port = free_port()
    server = start(serve_command(port), home, port)
    yield server
    stop(server)


def test_a_recording_in_every_format(hearing: Served, spoken: Path) -> None:
    sound = hearing.client().audio.transcriptions
    plain = sound.create(model=SPEECH, file=spoken)
    assert "brown fox" in plain.text.lower()
    text: Any = sound.create(model=SPEECH, file=spoken, response_format="text", language="en")
    assert "lazy dog" in text.lower()
    srt: Any = sound.create(model=SPEECH, file=spoken, response_format="srt", language="en")
    assert srt.startswith("1\n00:00:0") and " --> " in srt
    vtt: Any = sound.create(model=SPEECH, file=spoken, response_format="vtt", language="en")
    assert vtt.startswith("WEBVTT")
    long = sound.create(
        model=SPEECH, file=spoken, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert long.language == "en" and long.duration > 3 and long.segments and long.words
    assert [word.start for word in long.words] == sorted(word.start for word in long.words)


def test_a_transcription_streams(hearing: Served, spoken: Path) -> None:
    stream = hearing.client().audio.transcriptions.create(model=SPEECH, file=spoken, language="en", stream=True)
    events = list(stream)
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert events[-1].type == "transcript.text.done" and events[-1].text == deltas and "fox" in deltas


def test_a_translation_and_silence(hearing: Served, spoken: Path, tmp_path: Path) -> None:
    assert "fox" in hearing.client().audio.translations.create(model=SPEECH, file=spoken).text.lower()
    import wave

    silent = tmp_path / "silent.wav"
    with wave.open(str(silent), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(64_000))
    assert hearing.client().audio.transcriptions.create(model=SPEECH, file=silent).text == ""


def test_what_is_no_recording(hearing: Served, tmp_path: Path) -> None:
    sound = hearing.client().audio.transcriptions
    for name, data in (("empty.wav", b""), ("text.mp3", b"Not sound at all. " * 50)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(openai.BadRequestError):
            sound.create(model=SPEECH, file=tmp_path / name)
    (tmp_path / "x.wav").write_bytes(b"x")
    with pytest.raises(openai.BadRequestError, match="recording"):
        sound.create(model=STARTER, file=tmp_path / "x.wav")
    with pytest.raises(openai.BadRequestError, match="conversation"):
        hearing.client().chat.completions.create(model=SPEECH, messages=[{"role": "user", "content": "Hi"}])


def test_the_api_beside_the_pages(make_home: Callable[[], Path]) -> None:
    """`streamlit run Home.py` serves both, from one process."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "Home.py",
        "--server.port",
        str(port),
        "--server.headless=true",
    ]
    served = start(command, make_home(), port)
    try:
        answer = chat(served).invoke("Count from one to five.")
        assert answer.content
        assert "streamlit" in httpx.get(f"{served.url}/", timeout=PATIENCE_S).text.lower()
        assert httpx.get(f"{served.url}/v1/models", headers={"Origin": "https://evil.example"}).status_code == 403
        stream = served.client().chat.completions.create(
            model=STARTER,
            messages=[{"role": "user", "content": "Tell a story"}],
            max_tokens=4000,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "string", "minLength": 9000}},
            },
            stream=True,
        )
        next(stream)
        stream.close()
        served.wait_idle()
    finally:
        stop(served)
