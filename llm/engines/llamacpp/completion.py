"""What is asked of llama.cpp's server for an answer, and what its chunks and errors say."""

from __future__ import annotations

import secrets
from typing import Any

from llm.engine import GeneratedToken
from llm.errors import InvalidRequest, MessageTooLong, ModelError, OutOfMemory
from llm.events import Alternative, Token
from llm.prompt import Prompt
from llm.settings import GenerationSettings


def request(prompt: Prompt, settings: GenerationSettings, room: int) -> dict[str, Any]:
    """The body for llama.cpp. Values that it would add by itself (min_p, a short penalty window) are set to off."""
    body: dict[str, Any] = {
        "prompt": list(prompt.ids),
        "stream": True,
        "cache_prompt": True,
        "n_predict": min(settings.max_length, room),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "min_p": settings.min_p,
        "frequency_penalty": settings.frequency_penalty,
        "presence_penalty": settings.presence_penalty,
        "logit_bias": [[token_id, bias] for token_id, bias in settings.logit_bias.items()],
        "repeat_penalty": settings.repetition_penalty,
        "repeat_last_n": len(prompt.ids) + room,  # the whole context
        "seed": secrets.randbelow(2**31) if settings.seed is None else settings.seed,
    }
    if settings.logprobs is not None:
        body["n_probs"] = max(1, settings.logprobs)
    if settings.json_schema is not None:
        # Small models can go on with spaces between two values for ever; llguidance then allows none but the usual.
        body["json_schema"] = {**settings.json_schema, "x-guidance": {"whitespace_flexible": False}}
    return body


def as_chat(body: dict[str, Any], content: list[dict[str, Any]]) -> None:
    """Turns the body of a completion into that of a chat request with these parts."""
    del body["prompt"]
    body["messages"] = [{"role": "user", "content": content}]
    body["stream_options"] = {"include_usage": True}
    if "n_probs" in body:
        body["logprobs"], body["top_logprobs"] = True, body.pop("n_probs")


def step(text: str, choice: dict[str, Any]) -> GeneratedToken:
    content = (choice.get("logprobs") or {}).get("content") or []
    if not content:
        return GeneratedToken(Token(-1, text), text)
    seen = content[0]
    alternatives = tuple(Alternative(a["id"], a["token"], a["logprob"]) for a in seen["top_logprobs"])
    return GeneratedToken(Token(seen["id"], seen["token"], seen["logprob"], alternatives), text)


def error_of(error: dict[str, Any], name: str) -> ModelError:
    if error.get("type") == "exceed_context_size_error":
        prompt, context = error["n_prompt_tokens"], error["n_ctx"]
        return MessageTooLong(over_tokens=prompt - context + 1, prompt_tokens=prompt, context_tokens=context)
    message = str(error.get("message", error))
    if error.get("type") == "invalid_request_error":
        return InvalidRequest(detail=message)
    if "context" in message.lower() or "memory" in message.lower():
        return OutOfMemory(model=name, detail=message)
    return ModelError(detail=message)
