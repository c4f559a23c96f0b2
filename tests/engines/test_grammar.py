"""The transformers engine holds answers to JSON schemas, whatever the tokenizer and whoever is beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tiny_checkpoints
from tiny_engines import GREEDY, answer, at_once, load, steps

from llm.engine import GeneratedToken, GenerationEnd
from llm.engines.transformers import grammar
from llm.errors import InvalidRequest
from llm.settings import GenerationSettings

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["rot", "红色", "🟥 red"]},
        "name": {"type": "string", "minLength": 2, "maxLength": 5},
        "ages": {"type": "array", "items": {"type": "integer", "minimum": 3, "maximum": 40}, "maxItems": 3},
        "inner": {"$ref": "#/$defs/inner"},
    },
    "required": ["colour", "name", "ages", "inner"],
    "additionalProperties": False,
    "$defs": {"inner": {"anyOf": [{"type": "null"}, {"type": "boolean"}, {"const": {"a b": [1, "\n"]}}]}},
}


def said(engine: Any, ids: list[int], seed: int, **values: Any) -> tuple[str, GenerationEnd]:
    settings = GenerationSettings(
        **{"json_schema": SCHEMA, "seed": seed, "max_length": 400, "temperature": 1, **values}
    )
    *tokens, end = steps(engine, ids, settings, engine.stop_ids)
    assert isinstance(end, GenerationEnd)
    return "".join(step.text for step in tokens if isinstance(step, GeneratedToken)) + end.text, end


@pytest.mark.parametrize("kind", [kind for kind in tiny_checkpoints.TOKENIZERS if kind != "unigram"])
def test_random_weights_write_what_the_schema_says(kind: str, tmp_path: Path) -> None:
    engine = load(tiny_checkpoints.save_checkpoint(tmp_path, "llama", tiny_checkpoints.TOKENIZERS[kind]()))
    try:
        for seed in range(4):
            text, end = said(engine, [3, 7, 9], seed, repetition_penalty=1.2)
            assert end.reason == "stop"
            jsonschema.validate(json.loads(text), SCHEMA)
        assert json.loads(said(engine, [5], 0, temperature=0, json_schema={"const": "a 木 b"})[0]) == "a 木 b"
    finally:
        engine.close()


def test_a_vocabulary_that_cannot_spell_the_schema_says_so(tmp_path: Path) -> None:
    engine = load(tiny_checkpoints.save_checkpoint(tmp_path, "llama", tiny_checkpoints.unigram()))
    with pytest.raises(InvalidRequest, match="schema"):
        said(engine, [5], 0, json_schema={"const": "{€}"})
    engine.close()


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_neighbours_without_a_schema_write_what_they_would_alone(engine_of: Any, kind: str) -> None:
    engine = engine_of(kind)
    alone = answer(engine, [9, 8, 7])
    texts = at_once(
        lambda: said(engine, [3, 7, 9], 1)[0],
        lambda: answer(engine, [9, 8, 7]),
        lambda: said(engine, [4, 4], 2, temperature=0, max_length=60)[0],
    )
    assert texts[1] == alone
    jsonschema.validate(json.loads(texts[0]), SCHEMA)
    assert texts[2].startswith("{")


def test_probabilities_are_the_models_own(engine_of: Any) -> None:
    """As on llama.cpp: what is reported is what the model thought before the schema ruled out its favourite."""
    engine = engine_of("llama")
    settings = GenerationSettings(temperature=0, logprobs=2, max_length=3)
    free = [step.token for step in steps(engine, [3, 7, 9], settings) if isinstance(step, GeneratedToken)]
    held = [
        step.token
        for step in steps(engine, [3, 7, 9], GenerationSettings(temperature=0, logprobs=2, json_schema=SCHEMA))
        if isinstance(step, GeneratedToken)
    ]
    assert held[0].text == "{" and held[0].alternatives == free[0].alternatives
    assert held[0].logprob is not None and held[0].logprob < held[0].alternatives[0].logprob


def test_a_grammar_beyond_its_bounds_ends_its_answer_alone(engine_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of("llama")
    alone = answer(engine, [9, 8, 7])
    monkeypatch.setattr(grammar, "LIMITS", grammar.LLParserLimits(max_lexer_states=30))
    wide = {"type": "string", "pattern": "^(a[a-z]{3,20}|b[b-y]{4,20}|[c-x]{2,9}z)+$"}

    def refused() -> None:
        with pytest.raises(InvalidRequest, match="schema"):
            said(engine, [3, 7, 9], 1, json_schema=wide)

    assert at_once(refused, lambda: answer(engine, [9, 8, 7]))[1] == alone


def test_what_is_no_grammar_is_refused_before_it_waits(engine_of: Any) -> None:
    with pytest.raises(InvalidRequest, match="schema"):
        answer(engine_of("llama"), [3], GenerationSettings(json_schema={"type": "bogus"}))
    assert answer(engine_of("llama"), [3], GREEDY)
