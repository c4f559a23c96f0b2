"""`python -m llm transcribe`: recordings to text files."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import typer
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from llm.cli.terminal import notes
from llm.runtime.protocols import Transcriber
from llm.speech import exports
from llm.speech.languages import language_code
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, SpeechFinished, SpeechProgress, SpeechStarted, Transcription

FORMATS: dict[str, Callable[[Transcription], str]] = {
    "txt": exports.txt,
    "srt": exports.srt,
    "vtt": exports.vtt,
    "lrc": exports.lrc,
    "tsv": exports.tsv,
    "json": exports.to_json,
}


def format_of(name: str) -> Callable[[Transcription], str]:
    if name not in FORMATS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(FORMATS)}", param_hint="--to")
    return FORMATS[name]


def transcription(handle: Transcriber, file: Path, language: str, translate: bool) -> Transcription:
    """A whole recording's text, with a bar on standard error.

    Raises:
        ModelError: the file cannot be read, or nobody speaks.
    """
    options = SpeechOptions(language=language_code(language), task="translate" if translate else "transcribe")
    segments: list[Segment] = []
    started = SpeechStarted("", 0.0, None, "", "")
    duration_s, begin = 0.0, time.perf_counter()
    columns = (TextColumn("{task.description}"), *Progress.get_default_columns()[1:3], TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as bar, closing(handle.transcribe(file, options)) as events:
        task = bar.add_task(file.name, total=None)
        for event in events:
            match event:
                case SpeechStarted():
                    started = event
                case Segment():
                    segments.append(event)
                case SpeechProgress():
                    bar.update(task, completed=event.done_s, total=event.total_s)
                case SpeechFinished():
                    duration_s = event.duration_s
    return Transcription(
        file.name,
        started.language,
        tuple(segments),
        language_probability=started.language_probability,
        duration_s=duration_s,
        model=handle.entry.id,
        options=options.to_dict(),
        took_s=time.perf_counter() - begin,
    )
