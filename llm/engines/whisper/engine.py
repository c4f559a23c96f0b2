"""Whisper through faster-whisper and CTranslate2: weights in, segments out.

A folder in CTranslate2's layout loads as it is. A checkpoint in transformers' layout is converted on first load
(`whisper_convert`), and where that cannot be done runs through transformers (`whisper_transformers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.catalogue.ctranslate2_file import missing_alignment_heads
from llm.catalogue.entry import ModelEntry
from llm.config import config
from llm.engine import MemoryUse
from llm.errors import CorruptModel, MissingPackage, OutOfMemory, UnsupportedModel
from llm.machine.allocation import is_out_of_memory
from llm.machine.hardware import hardware
from llm.plan import Device, LoadPlan, LoadProgress
from llm.speech.chunks import Chunk
from llm.speech.marks import compression_ratio
from llm.speech.options import BATCH_CPU, BATCH_CUDA, FALLBACK_TEMPERATURES, SpeechOptions
from llm.speech.segments import Segment, Word
from llm.speech.sentences import sentences

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

    from llm.engines.whisper.transformers_engine import TransformersWhisper

_COMPUTE = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16", "int8": "int8"}


def load(
    entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress
) -> Ctranslate2Whisper | TransformersWhisper:
    """Loads a Whisper from a folder. Its `plan.reason` says why it runs as it does.

    Raises:
        MissingPackage: faster-whisper is not installed.
        CorruptModel: the files cannot be read as a Whisper.
        UnsupportedModel: a checkpoint that neither CTranslate2 nor transformers runs.
        OutOfMemory: it doesn't fit.
    """
    from llm.engines.whisper import conversion as whisper_convert

    if not (path / "model.bin").is_file():
        try:
            path = whisper_convert.converted(path, progress)
            plan = replace(plan, reason=_join(plan.reason, "converted to CTranslate2 on first load"))
        except whisper_convert.CannotConvert as error:
            from llm.engines.whisper import transformers_engine as whisper_transformers

            plan = replace(plan, reason=_join(plan.reason, f"through transformers: {error}"))
            return whisper_transformers.load(entry, path, plan)
    progress("weights", 0, 1)
    recogniser = Ctranslate2Whisper(entry, path, plan)
    progress("weights", 1, 1)
    return recogniser


class Ctranslate2Whisper:
    """A `Recogniser` over faster-whisper."""

    runtime = "ctranslate2"

    def __init__(self, entry: ModelEntry, path: Path, plan: LoadPlan) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise MissingPackage(package="faster-whisper") from error
        if lacking := missing_alignment_heads(path):
            detail = f"config.json aligns words by layer {lacking[0][0]}, head {lacking[0][1]}, which the model lacks"
            raise CorruptModel(path=str(path), detail=detail)
        device = _device(plan)
        self.plan = replace(plan, device=device)
        precision = "float16" if device == "cuda" else "int8"
        if plan.precision not in ("auto", "file"):
            if plan.precision not in _COMPUTE:
                raise UnsupportedModel(path=str(path), detail=f"Whisper doesn't run in {plan.precision}")
            precision = _COMPUTE[plan.precision]
        try:
            self._model: WhisperModel = _sparing(WhisperModel)(
                str(path),
                device=device,
                compute_type=precision,
                cpu_threads=config().threads or hardware().usable_cores,
                local_files_only=True,
            )
        except (MemoryError, RuntimeError, ValueError, OSError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(model=entry.name, detail=str(error)) from error
            raise CorruptModel(path=str(path), detail=str(error)) from error
        self.languages = tuple(sorted(self._model.supported_languages))
        self.batch = BATCH_CUDA if device == "cuda" else BATCH_CPU
        weights = (path / "model.bin").stat().st_size
        # model.bin is float16 as a rule, and int8 halves what is held of it.
        self._weights_bytes = weights // 2 if precision == "int8" else weights * (2 if precision == "float32" else 1)

    def memory(self) -> MemoryUse:
        return MemoryUse({"cuda:0" if self.plan.device == "cuda" else "cpu": self._weights_bytes})

    def detect(self, chunk: Chunk) -> tuple[str, float]:
        if not self._model.model.is_multilingual:
            return "en", 1.0
        # The last frame is the end's padding, and left out as faster-whisper does when it writes the window.
        features = self._model.feature_extractor(chunk.samples)[..., :-1]
        language, probability, _ = self._model.detect_language(features=features)
        return language, float(probability)

    def together(self, chunks: Sequence[Chunk], language: str, options: SpeechOptions) -> Iterator[tuple[int, Segment]]:
        """Written without timestamp tokens: they take a tenth of the time, and with them Whisper leaves a sentence
        that a window cuts to the next window, which a batch doesn't have. The words' times come from its attention.
        """
        import numpy as np
        from faster_whisper import BatchedInferencePipeline

        clips, at = [], 0.0
        for chunk in chunks:
            clips.append({"start": at, "end": at + chunk.duration_s})
            at += chunk.duration_s
        found, _ = BatchedInferencePipeline(self._model).transcribe(
            np.concatenate([chunk.samples for chunk in chunks]),
            clip_timestamps=clips,
            batch_size=len(chunks),
            temperature=options.temperature,
            **{**_common(options, self._language(language)), "word_timestamps": True},
        )
        by_chunk: list[list[Segment]] = [[] for _ in chunks]
        frames = self._model.frames_per_second
        for item in found:
            # A word's start may lie a little before its window; the frame at which the window begins is exact.
            distances = [abs(clip["start"] * frames - item.seek) for clip in clips]
            index = distances.index(min(distances))
            by_chunk[index] += _sentences(_segment(item, -clips[index]["start"]))
        for index, segments in enumerate(by_chunk):
            for segment in self._checked(chunks[index], segments, language, options):
                yield index, segment

    def _checked(
        self, chunk: Chunk, segments: list[Segment], language: str, options: SpeechOptions
    ) -> Iterator[Segment]:
        """faster-whisper's batches know no thresholds, so a window that fails one is decoded again alone, hotter."""
        if segments:
            mean, silent = segments[0].avg_logprob, segments[0].no_speech_prob
            if silent > options.no_speech_threshold and mean < options.log_prob_threshold:
                return
            loops = compression_ratio(" ".join(s.text for s in segments)) > options.compression_ratio_threshold
            if (loops or mean < options.log_prob_threshold) and options.temperature == 0:
                yield from self._decoded(chunk, language, options, FALLBACK_TEMPERATURES, "")
                return
        yield from segments

    def alone(self, chunk: Chunk, language: str, options: SpeechOptions, context: str) -> Iterator[Segment]:
        yield from self._decoded(chunk, language, options, options.temperatures, context)

    def _decoded(
        self, chunk: Chunk, language: str, options: SpeechOptions, temperatures: tuple[float, ...], context: str
    ) -> Iterator[Segment]:
        found, _ = self._model.transcribe(
            chunk.samples,
            temperature=list(temperatures),
            vad_filter=False,
            condition_on_previous_text=options.condition_on_previous_text,
            compression_ratio_threshold=options.compression_ratio_threshold,
            log_prob_threshold=options.log_prob_threshold,
            no_speech_threshold=options.no_speech_threshold,
            hallucination_silence_threshold=options.hallucination_silence_threshold or None,
            **{**_common(options, self._language(language)), "initial_prompt": context or None},
        )
        for item in found:
            yield _segment(item, 0.0)

    def _language(self, language: str) -> str:
        return language if self._model.model.is_multilingual else "en"


def _sparing(whisper: type[WhisperModel]) -> type[WhisperModel]:
    """A Whisper that encodes the first window once and takes bounded memory, however much is said in a window."""
    import numpy as np
    from ctranslate2 import StorageView

    class SparingWhisper(whisper):
        _last: tuple[np.ndarray, Any] | None = None

        def encode(self, features: np.ndarray) -> Any:
            """Keeps what it encoded last, if that was one window: the one in which the language was heard is the
            first to be written, and encoding it again would cost a second."""
            if features.ndim == 3 and len(features) > 1:
                self._last = None
                return super().encode(features)
            window = features.reshape(features.shape[-2:])
            last = self._last
            if last is None or not np.array_equal(last[0], window):
                last = self._last = (window, super().encode(features))
            return last[1]

        def find_alignment(
            self, tokenizer: Any, text_tokens: list[Any], encoder_output: Any, num_frames: Any, *rest: Any, **named: Any
        ) -> list[Any]:
            """Aligns so many windows at a time that the logits of all their tokens stay small."""
            if len(text_tokens) < 2 or encoder_output.device != "cpu":
                whole: list[Any] = super().find_alignment(
                    tokenizer, text_tokens, encoder_output, num_frames, *rest, **named
                )
                return whole
            longest = max(len(tokens) for tokens in text_tokens)
            size = max(1, ALIGNED_TOKENS // max(longest, 1))
            encoded, found = np.asarray(encoder_output), []
            for start in range(0, len(text_tokens), size):
                part = slice(start, start + size)
                view = StorageView.from_array(np.ascontiguousarray(encoded[part]))
                frames = num_frames[part] if isinstance(num_frames, list) else num_frames
                found += super().find_alignment(tokenizer, text_tokens[part], view, frames, *rest, **named)
            return found

    return SparingWhisper


ALIGNED_TOKENS = 512
"""Tokens of which words are aligned at once on a CPU: two tables of 51,866 float32 each, 212 MB."""


def _common(options: SpeechOptions, language: str) -> dict[str, Any]:
    """faster-whisper's arguments that both ways of decoding share."""
    return {
        "language": language,
        "task": options.task,
        "beam_size": options.beam_size,
        "repetition_penalty": options.repetition_penalty,
        "initial_prompt": options.initial_prompt or None,
        "hotwords": options.hotwords or None,
        "word_timestamps": options.word_timestamps,
    }


def _sentences(window: Segment) -> Iterator[Segment]:
    """A window's text in sentences, each with what is known of the window."""
    if not window.words:
        yield window
    for words in sentences(window.words):
        text = "".join(word.text for word in words).strip()
        yield replace(window, text=text, start_s=words[0].start_s, end_s=words[-1].end_s, words=tuple(words))


def _segment(item: Any, shift_s: float) -> Segment:
    words = tuple(
        Word(word.word, float(word.start) + shift_s, float(word.end) + shift_s, round(float(word.probability), 3))
        for word in item.words or ()
    )
    return Segment(
        item.text.strip(),
        item.start + shift_s,
        item.end + shift_s,
        words,
        avg_logprob=round(float(item.avg_logprob), 3),
        no_speech_prob=round(float(item.no_speech_prob), 3),
        compression_ratio=round(float(item.compression_ratio), 2),
        temperature=float(item.temperature or 0.0),
    )


def _device(plan: LoadPlan) -> Device:
    if plan.device in ("cpu", "cuda"):
        return plan.device
    if plan.device == "mps":
        return "cpu"  # CTranslate2 has no Metal; on a Mac it uses Accelerate
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _join(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)
