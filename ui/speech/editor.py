"""The transcript beside its player: click to hear, edit in place, merge, split, try again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from llm.paths import COMPONENTS
from llm.speech import editing
from llm.speech.marks import LOW_PROBABILITY, marked
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment, Transcription
from llm.store import Transcript
from ui.shared.i18n import t
from ui.speech.state import change

_component = st.components.v2.component(
    "hearth_speech_editor",
    html='<div class="editor"></div>',
    css=(COMPONENTS / "speech_editor.css").read_text(encoding="utf-8"),
    js=(COMPONENTS / "speech_editor.js").read_text(encoding="utf-8"),
)
_WORDS = [
    *("hint", "chosen", "merge", "merge_help", "retry", "retry_help", "delete", "delete_help", "select", "play"),
    *("edit", "start", "end", "save", "cancel", "split", "split_help", "sure"),
    *(f"mark_{mark}{suffix}" for mark in ("repeat", "silence", "unlikely") for suffix in ("", "_help")),
]

Retry = Callable[[float, float], None]


def editor(item: Transcript, transcription: Transcription, retry: Retry) -> None:
    """Draws the transcript; what a person does to it is saved. `retry` is called with a passage in seconds."""
    revision = item.updated_at.isoformat()
    key = f"speech_editor_{item.id}"

    def acted() -> None:
        action = st.session_state[key].get("action")
        if action and action.get("revision") == revision:
            act(item, transcription, action, retry)

    _component(
        key=key,
        data={
            "id": item.id,
            "revision": revision,
            "low": LOW_PROBABILITY,
            "segments": [_row(segment) for segment in transcription.segments],
            "words": {name: t(f"speech.editor_{name}") for name in _WORDS},
        },
        on_action_change=acted,
    )


def act(item: Transcript, transcription: Transcription, action: Mapping[str, Any], retry: Retry) -> None:
    """Does what the editor asks for: kind edit, split, merge, delete or retry, for segments `first` to `last`."""
    segments = list(transcription.segments)
    first, last = action.get("first", 0), action.get("last", 0)
    if not 0 <= first <= last < len(segments):
        return
    kind = action.get("kind")
    if kind == "retry":
        retry(segments[first].start_s, segments[last].end_s)
        return
    changed = _changed(segments, kind, first, last, action)
    if changed != segments:
        options = SpeechOptions().with_values(transcription.options)
        change(item, transcription, marked(changed, options))


def _changed(segments: list[Segment], kind: Any, first: int, last: int, action: Mapping[str, Any]) -> list[Segment]:
    if kind == "merge":
        return editing.merged(segments, first, last)
    if kind == "delete":
        return editing.removed(segments, first, last)
    text = str(action.get("text", ""))
    if not text.strip():
        return editing.removed(segments, first, first)
    if kind == "split":
        offset = len(" ".join(text[: int(action["offset"])].split()))
        segments = [*segments[:first], editing.with_text(segments[first], text), *segments[first + 1 :]]
        return editing.split(segments, first, offset)
    if kind == "edit":
        segments = [*segments[:first], editing.with_text(segments[first], text), *segments[first + 1 :]]
        start_s, end_s = float(action["start"]), float(action["end"])
        if (start_s, end_s) != (segments[first].start_s, segments[first].end_s):
            return editing.with_times(segments, first, start_s, end_s)
    return segments


def _row(segment: Segment) -> dict[str, Any]:
    return {
        "text": segment.text,
        "start": segment.start_s,
        "end": segment.end_s,
        "marks": list(segment.marks),
        "words": [[word.text, word.start_s, word.end_s, word.probability] for word in segment.words],
    }
