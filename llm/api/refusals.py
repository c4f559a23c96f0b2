"""What OpenAI's chat and completions refuse, and what both share of a request with several answers."""

from __future__ import annotations

from typing import TypeVar

from llm.api.schemas import ChatRequest, CompletionRequest, Sampled
from llm.errors import InvalidRequest

S = TypeVar("S", bound=Sampled)
MAX_STOPS = 4


def refuse_as_openai(body: ChatRequest | CompletionRequest) -> None:
    """
    Raises:
        InvalidRequest: parts that mean nothing without others are there alone, or there are too many stops.
    """
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest(detail="stream_options goes with stream: true only", param="stream_options")
    if isinstance(body.stop, list) and len(body.stop) > MAX_STOPS:
        raise InvalidRequest(detail=f"at most {MAX_STOPS} stop strings", param="stop")
    if isinstance(body, ChatRequest):
        _refuse_chat(body)


def _refuse_chat(body: ChatRequest) -> None:
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest(detail="top_logprobs goes with logprobs: true only", param="top_logprobs")
    if body.tool_choice is not None and not body.tools:
        raise InvalidRequest(detail="tool_choice goes with tools only", param="tool_choice")
    waiting: set[str] = set()
    for message in body.messages:
        if message.role == "tool" and message.tool_call_id not in waiting:
            return  # answers a call that nobody made, which `conversion.messages` names
        if message.role in ("tool", "function"):
            waiting.discard(message.tool_call_id or "")
        elif waiting:
            break
        waiting |= {call.id for call in message.tool_calls or ()}
    if waiting:
        unanswered = ", ".join(sorted(waiting))
        raise InvalidRequest(
            detail=f"each call must be answered by a message of role tool; {unanswered} is not", param="messages"
        )


def counts_usage(body: Sampled) -> bool:
    return bool(body.stream_options and body.stream_options.include_usage)


def with_seed(body: S, number: int) -> S:
    """The request for the answer of this number: several to one prompt differ though a seed is given."""
    if body.seed is None or not number:
        return body
    return body.model_copy(update={"seed": (body.seed + number) & 0x7FFFFFFF})
