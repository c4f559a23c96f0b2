"""Recordings through another server's /audio/transcriptions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.remote.client import Call, Server, events
from llm.speech.audio import own_view
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechEvent, SpeechFinished, SpeechStarted
from llm.speech.transcriber import Recording


def transcribed(
    server: Server, model: str, audio: Recording | str | Path, options: SpeechOptions, cancel: Cancel
) -> Iterator[SpeechEvent]:
    """The events of a transcription, all at the end: servers answer in one piece.

    Raises:
        NoNetwork, RemoteFailed, InvalidRequest, Busy: see `openai_http.events`.
    """
    recording = audio if isinstance(audio, Recording) else Recording(audio, Path(audio).name)
    source = recording.source
    data = Path(source).read_bytes() if isinstance(source, str | Path) else _whole(source)
    form: dict[str, Any] = {
        "model": model,
        "response_format": "verbose_json",
        "temperature": str(options.temperature),
        **({"language": options.language} if options.language and options.task == "transcribe" else {}),
        **({"prompt": options.initial_prompt} if options.initial_prompt else {}),
    }
    path = "/audio/translations" if options.task == "translate" else "/audio/transcriptions"
    answer: dict[str, Any] | None = None
    for value in events(server, Call(path, form=form, files={"file": (recording.name, data)}), cancel):
        answer = value or answer
    if answer is None:
        yield SpeechFinished("cancelled", 0.0)
        return
    duration_s = float(answer.get("duration") or 0.0)
    yield SpeechStarted(str(answer.get("language") or options.language or ""), 1.0, duration_s, "remote", "chosen")
    segments = answer.get("segments") or [{"text": answer.get("text", ""), "start": 0.0, "end": duration_s}]
    for row in segments:
        yield Segment(
            str(row["text"]).strip(),
            float(row["start"]),
            float(row["end"]),
            avg_logprob=float(row.get("avg_logprob") or 0.0),
            no_speech_prob=float(row.get("no_speech_prob") or 0.0),
            compression_ratio=float(row.get("compression_ratio") or 0.0),
            temperature=float(row.get("temperature") or 0.0),
        )
    yield SpeechFinished("stop", duration_s)


def _whole(source: Any) -> bytes:
    data: bytes = own_view(source).read()
    return data
