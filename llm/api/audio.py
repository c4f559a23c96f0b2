"""/v1/audio/transcriptions and /v1/audio/translations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from starlette.responses import PlainTextResponse, Response

from llm.api.answers import streamed
from llm.api.models import entry_of
from llm.api.work import Work, result
from llm.cancel import Cancel
from llm.config import config
from llm.errors import InvalidRequest, NoSpeech
from llm.runtime import handles
from llm.speech import exports
from llm.speech.languages import language_code
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechEvent, SpeechFinished, SpeechStarted, Transcription, joined
from llm.speech.transcriber import Recording

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]


@dataclass(slots=True)
class Asked:
    """The fields of the form. Field names are OpenAI's."""

    model: Annotated[str, Form(min_length=1, max_length=1024)]
    file: Annotated[UploadFile, File()]
    response_format: Annotated[Format, Form()] = "json"
    prompt: Annotated[str, Form(max_length=4000)] = ""
    temperature: Annotated[float, Form(ge=0, le=1)] = 0.0
    stream: Annotated[bool, Form()] = False

    @property
    def name(self) -> str:
        return self.file.filename or "audio"


def router() -> APIRouter:
    group = APIRouter(prefix="/v1/audio", tags=["audio"])
    limit = config().api_upload_mib << 20

    @group.post("/transcriptions", response_model=None, max_body_size=limit)
    async def transcriptions(
        request: Request,
        asked: Annotated[Asked, Depends()],
        language: Annotated[str, Form(max_length=32)] = "",
        granularities: Annotated[list[Literal["word", "segment"]], Form(alias="timestamp_granularities[]")] = [],  # noqa: B006
    ) -> Any:
        """A recording's words, in its own language."""
        options = SpeechOptions(
            language=_code(language),
            word_timestamps="word" in granularities or asked.response_format in ("srt", "vtt"),
            initial_prompt=asked.prompt,
            temperature=asked.temperature,
        )
        if asked.stream:
            if asked.response_format not in ("json", "text"):
                raise InvalidRequest(detail="a stream comes as json", param="response_format")
            return await streamed(_work(request, asked, options), [], _Deltas().of)
        return _response(await _heard(request, asked, options), asked, options)

    @group.post("/translations", response_model=None, max_body_size=limit)
    async def translations(request: Request, asked: Annotated[Asked, Depends()]) -> Any:
        """A recording's words in English."""
        options = SpeechOptions(
            task="translate",
            word_timestamps=asked.response_format in ("srt", "vtt"),
            initial_prompt=asked.prompt,
            temperature=asked.temperature,
        )
        if asked.stream:
            raise InvalidRequest(detail="translations do not stream", param="stream")
        return _response(await _heard(request, asked, options), asked, options)

    return group


def _code(language: str) -> str | None:
    """
    Raises:
        InvalidRequest: nobody knows such a language.
    """
    try:
        return language_code(language)
    except ValueError as error:
        raise InvalidRequest(detail=str(error), param="language") from error


def _events(request: Request, asked: Asked, options: SpeechOptions, cancel: Cancel) -> Iterator[SpeechEvent]:
    entry = entry_of(asked.model, request)
    model = handles.transcriber(entry)
    if options.language and model.languages and options.language not in model.languages:
        raise InvalidRequest(detail=f"{entry.id} does not know the language {options.language!r}", param="language")
    try:
        for event in model.transcribe(Recording(asked.file.file, asked.name), options, cancel):
            if isinstance(event, (SpeechStarted, Segment, SpeechFinished)):
                yield event
    except NoSpeech as error:
        # OpenAI's clients expect an empty text for silence, where people are told what to try.
        yield SpeechStarted(options.language or "", 0.0, None, "", "")
        yield SpeechFinished("stop", float(error.values.get("duration_s", 0.0)))


def _work(request: Request, asked: Asked, options: SpeechOptions) -> Work[SpeechEvent]:
    return Work(request, asked.model, lambda cancel: _events(request, asked, options, cancel))


async def _heard(request: Request, asked: Asked, options: SpeechOptions) -> Transcription:
    def whole(cancel: Cancel) -> Transcription:
        started = SpeechStarted("", 0.0, None, "", "")
        segments: list[Segment] = []
        duration_s = 0.0
        for event in _events(request, asked, options, cancel):
            match event:
                case SpeechStarted():
                    started = event
                case Segment():
                    segments.append(event)
                case SpeechFinished():
                    duration_s = event.duration_s
        return Transcription(asked.name, started.language, tuple(segments), duration_s=duration_s)

    return await result(request, asked.model, whole)


def _response(heard: Transcription, asked: Asked, options: SpeechOptions) -> dict[str, Any] | Response:
    text = joined(segment.text for segment in heard.segments)
    match asked.response_format:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt":
            return PlainTextResponse(exports.srt(heard))
        case "vtt":
            return PlainTextResponse(exports.vtt(heard), media_type="text/vtt")
        case "verbose_json":
            return _verbose(heard, text, options)
    return {"text": text, "usage": {"type": "duration", "seconds": round(heard.duration_s)}}


def _verbose(heard: Transcription, text: str, options: SpeechOptions) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "task": options.task,
        "language": heard.language,
        "duration": heard.duration_s,
        "text": text,
        "segments": [
            {
                "id": index,
                "seek": 0,
                "start": segment.start_s,
                "end": segment.end_s,
                "text": segment.text,
                "tokens": [],
                "temperature": segment.temperature,
                "avg_logprob": segment.avg_logprob,
                "compression_ratio": segment.compression_ratio,
                "no_speech_prob": segment.no_speech_prob,
            }
            for index, segment in enumerate(heard.segments)
        ],
        "usage": {"type": "duration", "seconds": round(heard.duration_s)},
    }
    if options.word_timestamps:
        answer["words"] = [
            {"word": word.text.strip(), "start": word.start_s, "end": word.end_s}
            for segment in heard.segments
            for word in segment.words
        ]
    return answer


class _Deltas:
    """Writes a transcription's events as OpenAI's `transcript.text.*`."""

    def __init__(self) -> None:
        self._text = ""

    def of(self, event: SpeechEvent) -> Iterator[dict[str, Any]]:
        if isinstance(event, Segment):
            before, self._text = self._text, joined((self._text, event.text))
            delta = self._text[len(before) :]
            yield {"type": "transcript.text.delta", "delta": delta}
        elif isinstance(event, SpeechFinished):
            usage = {"type": "duration", "seconds": round(event.duration_s)}
            yield {"type": "transcript.text.done", "text": self._text, "usage": usage}
