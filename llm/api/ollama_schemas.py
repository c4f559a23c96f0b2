"""What requests by Ollama's protocol may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from llm.api import conversion
from llm.api.schemas import MAX_MESSAGES, Body, ChatRequest, Given, Loose

LATEST = ":latest"
"""The tag that Ollama's clients write behind a name."""
Think = bool | Literal["low", "medium", "high"] | None


class Options(Given):
    """Ollama's names of what can be set. What decides how a model is loaded there is accepted and has no bearing."""

    model_config = ConfigDict(extra="ignore")

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=200)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    stop: list[str] | str | None = None
    num_predict: int | None = None
    repeat_penalty: float | None = Field(None, ge=0, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)

    def named(self) -> dict[str, Any]:
        """The same by OpenAI's names. A negative num_predict is no bound."""
        values = self.model_dump(exclude={"num_predict", "repeat_penalty"}, exclude_none=True)
        if self.num_predict is not None and self.num_predict > 0:
            values["max_tokens"] = self.num_predict
        if self.repeat_penalty is not None:
            values["repetition_penalty"] = max(1.0, self.repeat_penalty)
        return values


class Called(Loose):
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Call(Loose):
    function: Called


class Turn(Loose):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None


class Asked(Body):
    """What every question to a model may say."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=1024)
    stream: bool = True
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: Options = Field(default_factory=lambda: Options.model_validate({}))
    think: Think = None
    keep_alive: float | str | None = None

    @property
    def id(self) -> str:
        """The model's id here; Ollama's clients write a tag behind it."""
        return self.model.removesuffix(LATEST)

    def chat(self, messages: list[dict[str, Any]], **more: Any) -> ChatRequest:
        """The question as this API's own request.

        Raises:
            InvalidRequest: it says what cannot be said there.
        """
        schema: dict[str, Any] | None = None
        if self.format == "json":
            schema = {"type": "json_object"}
        elif isinstance(self.format, dict):
            schema = {"type": "json_schema", "json_schema": {"schema": self.format}}
        values = {"model": self.id, "messages": messages, "response_format": schema, **self.options.named(), **more}
        if self.think is not None:
            values["thinking"] = bool(self.think)
        return conversion.chat_request(values)


class ChatAsked(Asked):
    messages: list[Turn] = Field(default_factory=list, max_length=MAX_MESSAGES)
    tools: list[dict[str, Any]] | None = Field(None, max_length=128)


class GenerateAsked(Asked):
    prompt: str = ""
    system: str | None = None
    images: list[str] | None = None
    raw: bool = False
    suffix: str | None = None


class EmbedAsked(Body):
    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=1024)
    input: str | Annotated[list[str], Field(max_length=2048)] = ""
    prompt: str = ""
    """What the older /api/embeddings takes."""

    @property
    def id(self) -> str:
        return self.model.removesuffix(LATEST)


class Named(Loose):
    model: str = Field("", max_length=1024)
    name: str = Field("", max_length=1024)
    stream: bool = True

    @property
    def id(self) -> str:
        return (self.model or self.name).removesuffix(LATEST)
