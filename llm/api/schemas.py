"""What requests may say. Fields that would change an answer and can't be honoured are refused, not ignored."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

MAX_MESSAGES = 4096


class Given(BaseModel):
    """Null is the same as left out, wherever a client leaves something out."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {name: item for name, item in value.items() if item is not None} if isinstance(value, dict) else value


class Strict(Given):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Body(Strict):
    """A whole request."""

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        """JSON can spell halves of characters, which no tokenizer and no file can take."""
        rest = [value]
        while rest:
            item = rest.pop()
            if isinstance(item, str):
                try:
                    item.encode()
                except UnicodeEncodeError as error:
                    raise ValueError("a string holds half of a character (a lone surrogate)") from error
            elif isinstance(item, dict):
                rest += [*item, *item.values()]
            elif isinstance(item, list):
                rest += item
        return value


class Loose(Given):
    """For values that clients send back as they got them, with fields of their own."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class TextContent(Loose):
    type: Literal["text"]
    text: str


class ImageUrl(Loose):
    url: str


class ImageContent(Loose):
    type: Literal["image_url"]
    image_url: ImageUrl

    @field_validator("image_url", mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        """Some clients write the address where OpenAI has an object around it."""
        return {"url": value} if isinstance(value, str) else value


class InputAudio(Loose):
    data: str
    format: Literal["wav", "mp3", "flac", "ogg", "m4a", "webm"]


class AudioContent(Loose):
    type: Literal["input_audio"]
    input_audio: InputAudio


class FileData(Loose):
    """A file with the request: its bytes as base64 or as a data URL."""

    filename: str = "file"
    file_data: str


class FileContent(Loose):
    type: Literal["file"]
    file: FileData


class RefusalContent(Loose):
    type: Literal["refusal"]
    refusal: str


Content = Annotated[
    TextContent | ImageContent | AudioContent | FileContent | RefusalContent, Field(discriminator="type")
]


class CalledFunction(Loose):
    name: str
    arguments: str = "{}"

    @field_validator("arguments", mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        """Arguments as an object are taken as the JSON that they are."""
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class ToolCall(Loose):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Loose):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    name: str | None = None
    content: str | list[Content] | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None
    tool_call_id: str | None = None


class Function(Loose):
    name: str = Field(pattern=r"^[A-Za-z0-9_./:-]{1,128}$")
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    name: str


class NamedTool(Strict):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Loose):
    name: str = ""
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with type json_schema and nothing else")
        return self


class StreamOptions(Loose):
    include_usage: bool = False


class TemplateValues(Strict):
    enable_thinking: bool | None = None
    thinking: bool | None = None


class Reasoning(Loose):
    """OpenRouter's and the responses API's way to ask for thinking."""

    effort: str | None = None
    enabled: bool | None = None


def _no_limit(value: Any) -> Any:
    """-1 is llama.cpp's and LM Studio's way to say that there is no limit."""
    return None if value == -1 and not isinstance(value, bool) else value


Tokens = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_no_limit)]


TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class Sampled(Body):
    """What chat and completions share. The second group is accepted and has no bearing on an answer here."""

    model: str = Field(min_length=1, max_length=1024)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Tokens = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=200)
    repetition_penalty: float | None = Field(None, ge=1, le=2)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1, le=8)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[Annotated[int, Field(ge=0, lt=2**31)], Annotated[float, Field(ge=-100, le=100)]] | None = None

    user: str | None = None

    @model_validator(mode="after")
    def _few_stops(self) -> Sampled:
        if isinstance(self.stop, list) and len(self.stop) > 16:
            raise ValueError("at most 16 stop strings")
        return self


def _name(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _plain_choice(value: Any) -> Any:
    """`any` is other servers' word for `required`."""
    return "required" if value == "any" else value


class ChatRequest(Sampled):
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: Tokens = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | NamedTool | None,
        BeforeValidator(_plain_choice),
    ] = None
    response_format: ResponseFormat | None = None
    thinking: bool | None = None
    """For models that can both: whether to think first. Not OpenAI's."""

    chat_template_kwargs: TemplateValues | None = None
    """vLLM's way to say the same."""

    enable_thinking: bool | None = None
    reasoning: Reasoning | None = None

    @model_validator(mode="before")
    @classmethod
    def _allowed_tools(cls, value: Any) -> Any:
        """Of the tools only those that `allowed_tools` names are told to the model."""
        choice = value.get("tool_choice") if isinstance(value, dict) else None
        allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
        if not isinstance(allowed, dict) or not isinstance(value.get("tools"), list):
            return value
        names = [_name(tool) for tool in allowed.get("tools") or ()]
        kept = [tool for tool in value["tools"] if _name(tool) in names]
        return {**value, "tools": kept, "tool_choice": allowed.get("mode")}

    functions: list[Function] | None = Field(None, max_length=128)
    """OpenAI's way before there were tools; they become `tools`, and a call is answered as `function_call`."""

    function_call: Literal["none", "auto"] | NamedFunction | None = None

    @model_validator(mode="after")
    def _functions_are_tools(self) -> ChatRequest:
        if self.functions is None and self.function_call is None:
            return self
        if self.tools is not None or self.tool_choice is not None:
            raise ValueError("functions and tools do not go together")
        if not self.functions:
            raise ValueError("function_call goes with functions only")
        self.tools = [Tool(type="function", function=function) for function in self.functions]
        choice = self.function_call
        self.tool_choice = NamedTool(type="function", function=choice) if isinstance(choice, NamedFunction) else choice
        return self

    prediction: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Sampled):
    prompt: (
        str
        | list[Annotated[int, Field(ge=0, lt=2**31)]]
        | list[str]
        | list[list[Annotated[int, Field(ge=0, lt=2**31)]]]
    )
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None


class RerankDocument(Loose):
    text: str = Field(min_length=1)


class RerankRequest(Body):
    model: str = Field(min_length=1, max_length=1024)
    query: str = Field(min_length=1)
    documents: list[Annotated[str, Field(min_length=1)] | RerankDocument] = Field(min_length=1, max_length=1000)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


class EmbeddingRequest(Body):
    model: str = Field(min_length=1, max_length=1024)
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=2048)]
        | Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
        | Annotated[list[list[Annotated[int, Field(ge=0, lt=2**31)]]], Field(min_length=1, max_length=2048)]
    )
    input_type: Literal["query", "passage", "none"] = "query"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None
