"""Programs that only know Ollama, by its official client."""

from __future__ import annotations

import json

import httpx
import ollama
import pytest

from tests.api.conftest import PATIENCE_S, TOOLED, Served

HELLO = [{"role": "user", "content": "Say hello in one short sentence."}]
SHORT = {"num_predict": 12, "temperature": 0}


@pytest.fixture
def client(served: Served) -> ollama.Client:
    return ollama.Client(host=served.url, timeout=PATIENCE_S)


def test_the_models_are_listed_and_described(client, model):
    listed = {found.model: found for found in client.list().models}
    assert listed[model].details.format == "gguf" and listed[model].size > 10_000_000
    shown = client.show(f"{model}:latest")
    assert shown.capabilities == ["completion"] and shown.details.quantization_level
    assert "tools" in client.show(TOOLED).capabilities


def test_an_answer_streams_line_by_line_and_ends_with_its_figures(client, model):
    whole = client.chat(model, HELLO, options=SHORT)
    lines = list(client.chat(model, HELLO, options=SHORT, stream=True))
    assert "".join(line.message.content for line in lines) == whole.message.content != ""
    assert lines[-1].done and lines[-1].eval_count == whole.eval_count <= 12 and lines[-1].done_reason
    assert not lines[0].done


def test_generate_answers_and_goes_on_with_a_raw_prompt(client, model):
    assert client.generate(model, "What is a hearth?", system="Be short.", options=SHORT).response
    assert client.generate(model, "Once upon a", raw=True, options=SHORT).response
    assert client.generate(model).done_reason == "load"


def test_an_answer_can_be_held_to_a_schema(client, model):
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    said = client.chat(model, HELLO, format=schema, options={"num_predict": 64, "temperature": 0}).message.content
    assert isinstance(json.loads(said)["city"], str)


def test_a_tools_result_finds_its_call(client):
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "tool_name": "weather", "content": "18 degrees"},
    ]
    assert client.chat(TOOLED, messages, options=SHORT).message.content


def test_vectors_come_one_for_each_text(client, model):
    vectors = client.embed(model, ["a hearth", "a home"]).embeddings
    assert len(vectors) == 2 and abs(sum(value * value for value in vectors[0]) - 1) < 1e-3
    assert client.embeddings(model, "a hearth").embedding == pytest.approx(list(vectors[0]), abs=1e-3)


def test_errors_are_one_sentence(client, served):
    with pytest.raises(ollama.ResponseError) as missing:
        client.chat("nobody", HELLO)
    assert missing.value.status_code == 404 and "nobody" in missing.value.error
    assert isinstance(httpx.post(f"{served.url}/api/chat", json={}).json()["error"], str)
    assert httpx.get(f"{served.url}/api/version").json()["version"]
