"""What a person can turn when speech becomes text, each declared once with its range, step and default.

The page draws `CONTROLS` and the engine reads the values. The words for an option live in the locale files under
`speech.option_<name>` and `speech.option_<name>_help`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from llm.controls import control_field, declared, with_values

Decoding: TypeAlias = Literal["batched", "sequential"]
FALLBACK_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried in turn when a passage fails a threshold at temperature 0 (Radford et al. 2022, section 4.5)."""
BATCH_CPU, BATCH_CUDA = 8, 16
"""Windows of 30 s that are decoded together."""
BATCHED_FROM_S = 30.0
"""Shorter recordings are a single window: there is nothing to decode together."""


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """How a recording becomes text.

    language: a code such as "en" or "zh"; None is detected from the first speech.
    task: transcribe, or translate to English.
    vad_filter: only what sounds like speech reaches the model.
    word_timestamps: a start, an end and a probability for every word.
    beam_size: hypotheses kept while decoding at temperature 0.
    temperature: 0 decodes by beam search and tries higher ones where a threshold fails; above 0 samples at it only.
    initial_prompt: text that is taken for what was said before the recording.
    hotwords: names and terms to expect, given to every window.
    decoding: auto chooses by length.
    condition_on_previous_text: each window sees the text before it. Off, since one invented sentence breeds more.
    no_speech_threshold: a window whose no-speech probability is above this and whose text is improbable is silence.
    log_prob_threshold: mean log-probability per token below which a window is decoded again, hotter.
    compression_ratio_threshold: zlib ratio of a window's text above which it is taken for a loop and decoded again.
    hallucination_silence_threshold: improbable words amid more silence than this are skipped, in seconds; 0 is off.
        Needs word timestamps and sequential decoding.
    repetition_penalty: divides the score of tokens seen before (CTRL, arXiv:1909.05858); 1 is off.
    """

    language: str | None = None
    task: str = control_field("choice", "transcribe", choices=("transcribe", "translate"))
    vad_filter: bool = control_field("toggle", True)
    word_timestamps: bool = control_field("toggle", True)
    beam_size: int = control_field("integer", 5, minimum=1, maximum=10, step=1)
    initial_prompt: str = control_field("text", "")
    hotwords: str = control_field("text", "")
    decoding: str = control_field("choice", "auto", choices=("auto", *get_args(Decoding)))
    condition_on_previous_text: bool = control_field("toggle", False, advanced=True)
    temperature: float = control_field("number", 0.0, minimum=0.0, maximum=1.0, step=0.1, advanced=True)
    no_speech_threshold: float = control_field("number", 0.6, minimum=0.0, maximum=1.0, step=0.05, advanced=True)
    log_prob_threshold: float = control_field("number", -1.0, minimum=-5.0, maximum=0.0, step=0.1, advanced=True)
    compression_ratio_threshold: float = control_field("number", 2.4, minimum=1.0, maximum=5.0, step=0.1, advanced=True)
    hallucination_silence_threshold: float = control_field(
        "number", 0.0, minimum=0.0, maximum=10.0, step=0.5, advanced=True
    )
    repetition_penalty: float = control_field("number", 1.0, minimum=1.0, maximum=2.0, step=0.05, advanced=True)

    def __post_init__(self) -> None:
        for control in CONTROLS:
            control.check(getattr(self, control.name))

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures to try in turn."""
        return (0.0, *FALLBACK_TEMPERATURES) if self.temperature == 0 else (self.temperature,)

    def with_values(self, values: Mapping[str, Any]) -> SpeechOptions:
        """A copy with some values changed.

        Raises:
            ValueError: a name is unknown or a value is out of its range.
        """
        changed: SpeechOptions = with_values(self, values)
        return changed

    def retry(self, temperature: float, language: str | None) -> SpeechOptions:
        """The same for another try at one passage: another temperature, no context, alone, all of it."""
        return replace(
            self,
            temperature=temperature,
            language=language or self.language,
            initial_prompt="",
            condition_on_previous_text=False,
            decoding="sequential",
            vad_filter=False,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


CONTROLS = declared(SpeechOptions)
"""What a person can turn, in the order in which to show it."""


def choose_decoding(options: SpeechOptions, duration_s: float | None) -> tuple[Decoding, str]:
    """How to decode, and why: `chosen`, `context`, `silence`, `short`, `long` or `unknown_length`."""
    if options.condition_on_previous_text:
        return "sequential", "context"
    if options.hallucination_silence_threshold > 0 and options.word_timestamps:
        return "sequential", "silence"
    if options.decoding != "auto":
        return ("batched" if options.decoding == "batched" else "sequential"), "chosen"
    if duration_s is None:
        return "batched", "unknown_length"
    return ("batched", "long") if duration_s >= BATCHED_FROM_S else ("sequential", "short")
