"""A transcript as a file: TXT, SRT, VTT, LRC, TSV and JSON, always from the segments as they are now.

SRT has no standard; this is what SubRip writes. VTT follows W3C WebVTT, LRC the simple format of lyrics players with
hundredths of a second, TSV (start and end in ms, text) is openai-whisper's, and so are JSON's names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from llm.speech.segments import Transcription, joined
from llm.speech.subtitles import cues, in_order

_LRC_GAP_MS = 4000
"""After a longer pause an empty line takes the words off the screen."""
_LRC_TAG = re.compile(r"^\s*\[(?=[^\]]*\])")


def txt(transcription: Transcription) -> str:
    """A line a segment."""
    return "".join(" ".join(s.text.split()) + "\n" for s in transcription.segments if s.text.strip())


def srt(transcription: Transcription) -> str:
    return "\n".join(
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{_no_arrow(cue.text)}\n"
        for number, cue in enumerate(cues(transcription.segments), 1)
    )


def vtt(transcription: Transcription) -> str:
    body = "".join(
        f"\n{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{_vtt_text(cue.text)}\n"
        for cue in cues(transcription.segments)
    )
    return "WEBVTT\n" + body


def lrc(transcription: Transcription) -> str:
    lines = [f"[ti:{_lrc_value(transcription.name)}]", f"[length:{_lrc_clock(round(transcription.duration_s * 1000))}]"]
    rows = in_order(transcription.segments)
    for index, (start, end, segment) in enumerate(rows):
        # A bracket at the start would be read as one more tag.
        lines.append(f"[{_lrc_clock(start)}]{_LRC_TAG.sub('(', ' '.join(segment.text.split()))}")
        following = rows[index + 1][0] if index + 1 < len(rows) else None
        if following is None or following - end > _LRC_GAP_MS:
            lines.append(f"[{_lrc_clock(end)}]")
    return "\n".join(lines) + "\n"


def tsv(transcription: Transcription) -> str:
    rows = (
        f"{start}\t{end}\t{' '.join(segment.text.split())}\n"
        for start, end, segment in in_order(transcription.segments)
    )
    return "start\tend\ttext\n" + "".join(rows)


def to_json(transcription: Transcription) -> str:
    segments = [
        {
            "id": number,
            "start": start / 1000,
            "end": end / 1000,
            "text": segment.text,
            "avg_logprob": segment.avg_logprob,
            "no_speech_prob": segment.no_speech_prob,
            "compression_ratio": segment.compression_ratio,
            "temperature": segment.temperature,
            "marks": list(segment.marks),
            "words": [
                {
                    "word": word.text,
                    "start": round(word.start_s, 3),
                    "end": round(word.end_s, 3),
                    "probability": word.probability,
                }
                for word in segment.words
            ],
        }
        for number, (start, end, segment) in enumerate(in_order(transcription.segments))
    ]
    values = {
        "text": joined(s.text for s in transcription.segments),
        "language": transcription.language,
        "duration": round(transcription.duration_s, 3),
        "model": transcription.model,
        "segments": segments,
    }
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


FORMATS: dict[str, tuple[Callable[[Transcription], str], str]] = {
    "txt": (txt, "text/plain"),
    "srt": (srt, "application/x-subrip"),
    "vtt": (vtt, "text/vtt"),
    "lrc": (lrc, "text/plain"),
    "tsv": (tsv, "text/tab-separated-values"),
    "json": (to_json, "application/json"),
}
"""File ending -> the writer and the media type."""


def _clock(ms: int, point: str) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _lrc_clock(ms: int) -> str:
    hundredths = ms // 10
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _lrc_value(text: str) -> str:
    return " ".join(text.replace("[", "(").replace("]", ")").split())


def _no_arrow(text: str) -> str:
    return text.replace("-->", "→")


def _vtt_text(text: str) -> str:
    return _no_arrow(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
