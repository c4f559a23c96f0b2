"""What requests of /v1/responses may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from llm.api.schemas import MAX_MESSAGES, Body, Loose


class Content(Loose):
    type: Literal["input_text", "output_text", "input_image", "input_file", "refusal", "reasoning_text", "summary_text"]
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    filename: str = "file"
    file_data: str | None = None


class Item(Loose):
    """What an input is made of: a message, a call, a call's result, or thinking that is sent back."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[Content] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Content] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Item:
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
            "reasoning": (),
        }[self.type]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"an item of type {self.type} needs {', '.join(missing)}")
        return self


class Tool(Loose):
    type: Literal["function"]
    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class Format(Loose):
    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class Text(Loose):
    format: Format | None = None


class Reasoning(Loose):
    effort: str | None = None


def _items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class ResponsesRequest(Body):
    """The second group is accepted and has no bearing on an answer here."""

    model: str = Field(min_length=1, max_length=1024)
    input: Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES), BeforeValidator(_items)]
    instructions: str | None = None
    stream: bool = False
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Any = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = Field(None, max_length=128)
    store: bool = True

    metadata: dict[str, str] | None = None
    user: str | None = None
    truncation: Literal["disabled"] | None = None
    include: list[str] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    stream_options: dict[str, Any] | None = None
    background: Literal[False] | None = None
