"""From OpenAI's messages, tools and settings to ours."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from pydantic import ValidationError

from llm.api.schemas import (
    AudioContent,
    ChatMessage,
    ChatRequest,
    FileContent,
    ImageContent,
    NamedTool,
    Sampled,
    TextContent,
)
from llm.catalogue.entry import ModelEntry
from llm.errors import InvalidRequest
from llm.messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from llm.settings import CONTROLS, GenerationSettings

_LIMITS = {control.name: control for control in CONTROLS}


MAX_LINKS = 16


def messages(given: Sequence[ChatMessage]) -> list[Message]:
    """Our messages. Linked pictures are fetched, so this may take seconds.

    Raises:
        InvalidRequest: a recording cannot be read, there are too many links, or a tool answers a call that
            nobody made.
        ModelError: a picture cannot be read or fetched, see `llm.vision.picture.take_in` and `llm.vision.fetch`.
    """
    links = [part for message in given for part in _pictures(message) if not _is_data(part.image_url.url)]
    if len(links) > MAX_LINKS:
        raise InvalidRequest(detail=f"at most {MAX_LINKS} linked pictures, not {len(links)}", param="messages")
    names: dict[str, str] = {}
    result = []
    for index, message in enumerate(given):
        place = f"messages.{index}"
        for call in message.tool_calls or ():
            names[call.id] = call.function.name
        if message.role == "function":  # OpenAI's way before there were tools: the result goes by the function's name
            text = "".join(part.text for part in _parts(message, place) if isinstance(part, TextPart))
            result.append(Message("tool", (ToolResultPart(message.name or "", message.name or "", text),)))
            continue
        if message.role == "tool":
            identity = message.tool_call_id or ""
            if identity not in names:
                raise InvalidRequest(detail=f"no call before has the id {identity!r}", param=f"{place}.tool_call_id")
            text = "".join(part.text for part in _parts(message, place) if isinstance(part, TextPart))
            result.append(Message("tool", (ToolResultPart(identity, names[identity], text),)))
            continue
        role = "system" if message.role == "developer" else message.role
        calls = [ToolCallPart(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ()]
        if message.function_call is not None:
            called = message.function_call
            calls.append(ToolCallPart(called.name, called.name, called.arguments))
        thinking = [ThinkingPart(message.reasoning_content)] if message.reasoning_content else []
        result.append(Message(role, (*thinking, *_parts(message, place), *calls)))
    return result


def _parts(message: ChatMessage, place: str) -> list[Part]:
    if message.content is None:
        return []
    if isinstance(message.content, str):
        return [TextPart(message.content)]
    parts: list[Part] = []
    for index, content in enumerate(message.content):
        where = f"{place}.content.{index}"
        match content:
            case TextContent():
                parts.append(TextPart(content.text))
            case ImageContent():
                parts.append(_image(content.image_url.url, f"{where}.image_url"))
            case AudioContent():
                audio = content.input_audio
                parts.append(AudioPart(_decoded(audio.data, f"{where}.input_audio"), f"audio/{audio.format}"))
            case FileContent():
                parts.append(_file(content.file.filename, content.file.file_data, f"{where}.file.file_data"))
            case _:
                parts.append(TextPart(content.refusal))
    return parts


def _file(name: str, data: str, place: str) -> DocumentPart:
    """A file's words. Raises InvalidRequest, and DocumentUnreadable with the reason."""
    from llm.documents.attachment import attachment_of

    encoded = data.partition(",")[2] if _is_data(data) else data
    return attachment_of(name, _decoded("".join(encoded.split()), place))


def has_pictures(given: Sequence[ChatMessage]) -> bool:
    return any(_pictures(message) for message in given)


def _pictures(message: ChatMessage) -> list[ImageContent]:
    if message.content is None or isinstance(message.content, str):  # of megabytes, maybe, to be walked through
        return []
    return [part for part in message.content if isinstance(part, ImageContent)]


def _image(url: str, place: str) -> ImagePart:
    """A picture from a data URL, or from a link by the same guarded way that the Image page goes."""
    from llm.vision.fetch import fetch
    from llm.vision.picture import take_in

    if _is_data(url):
        return take_in(_data_of(url, place), place).part
    found = fetch(url)
    return take_in(found.data, found.name).part


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _data_of(url: str, place: str) -> bytes:
    """The bytes of a data URL (RFC 2397), in its odd but legal forms: parameters, no type, percent signs, line ends.

    Raises:
        InvalidRequest: it has no data, or they are not base64 where it says so.
    """
    head, comma, data = url[5:].partition(",")
    kind = head.split(";")[0].strip().lower()
    if not comma or not (not kind or kind.startswith("image/") or kind == "application/octet-stream"):
        raise InvalidRequest(detail="a picture's data is written as data:image/png;base64,...", param=place)
    if head.lower().rstrip().endswith(";base64"):
        compact = "".join(unquote(data).split()).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
        return _decoded(compact + "=" * (-len(compact) % 4), place)
    return unquote_to_bytes(data)


def _decoded(data: str, place: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(detail="it is not valid base64", param=place) from error


def settings(request: Sampled, entry: ModelEntry, context_tokens: int) -> GenerationSettings:
    """The request's sampling over the model's own published defaults.

    Without a limit an answer may fill the rest of the context, as OpenAI's do.
    """
    wanted = getattr(request, "max_completion_tokens", None) or request.max_tokens or context_tokens or 1024
    values: dict[str, Any] = {
        **entry.sampling,
        "max_length": int(min(wanted, _LIMITS["max_length"].maximum or wanted)),
        "stop": (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
    }
    for name in ("temperature", "top_k", "repetition_penalty"):
        if getattr(request, name) is not None:
            values[name] = max(getattr(request, name), 0)  # -1 for top_k is no bound, as 0 is
    if request.top_p is not None:
        values["top_p"] = max(request.top_p, _LIMITS["top_p"].minimum or 0)  # 0 keeps the likeliest token, as 0.01 does
    for name in ("min_p", "frequency_penalty", "presence_penalty", "logit_bias"):
        if getattr(request, name):
            values[name] = getattr(request, name)
    if request.seed is not None:
        values["seed"] = request.seed & 0x7FFFFFFF
    return GenerationSettings().with_values(values)


def tools(request: ChatRequest) -> list[dict[str, Any]]:
    """The tools to tell the model of, as templates want them; none when the caller wants no call."""
    if request.tool_choice == "none":
        return []
    chosen = [tool.function for tool in request.tools or ()]
    if isinstance(request.tool_choice, NamedTool):
        name = request.tool_choice.function.name
        chosen = [function for function in chosen if function.name == name]
        if not chosen:
            raise InvalidRequest(detail=f"there is no tool {name!r}", param="tool_choice")
    if request.tool_choice not in (None, "auto") and not chosen:
        raise InvalidRequest(detail="a call is required and there are no tools", param="tool_choice")
    return [
        {
            "type": "function",
            "function": {
                "name": function.name,
                "description": function.description,
                "parameters": function.parameters or {"type": "object", "properties": {}},
            },
        }
        for function in chosen
    ]


def call_schema(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A JSON schema for one call of any of the tools. Arguments that a tool doesn't name are not made up.

    A tool's parameters are a schema of their own: their references lead to where they stand now.
    """
    several = len(told) > 1
    shapes = []
    for index, tool in enumerate(told):
        place = f"#/anyOf/{index}/properties/arguments" if several else "#/properties/arguments"
        shapes.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": tool["function"]["name"]},
                    "arguments": {"additionalProperties": False, **moved(tool["function"]["parameters"], place)},
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": shapes} if several else shapes[0]


def moved(schema: Any, place: str, depth: int = 0) -> Any:
    """A copy of a schema that stands at `place` of another. What is nested beyond any bound is left for the check."""
    if depth > 64:
        return schema
    if isinstance(schema, list):
        return [moved(item, place, depth + 1) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: place + value[1:]
        if name == "$ref" and isinstance(value, str) and value.startswith("#")
        else moved(value, place, depth + 1)
        for name, value in schema.items()
    }


def chat_request(values: Mapping[str, Any]) -> ChatRequest:
    """Another protocol's request, put into this one's words.

    Raises:
        InvalidRequest: it says what cannot be said here.
    """
    try:
        return ChatRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(detail=f"{first['msg']} (at {'.'.join(map(str, first['loc']))})") from error
