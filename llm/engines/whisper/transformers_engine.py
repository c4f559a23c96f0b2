"""Whisper through transformers' `generate`, for checkpoints that CTranslate2 doesn't convert. Slower, without words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm.catalogue.entry import ModelEntry
from llm.engine import MemoryUse
from llm.errors import CorruptModel, MissingPackage, UnsupportedModel
from llm.plan import LoadPlan
from llm.speech.audio import SAMPLE_RATE
from llm.speech.chunks import Chunk
from llm.speech.marks import compression_ratio
from llm.speech.options import SpeechOptions
from llm.speech.segments import Segment

_WINDOW = 30 * SAMPLE_RATE


def load(entry: ModelEntry, folder: Path, plan: LoadPlan) -> TransformersWhisper:
    """Loads the checkpoint in `folder`.

    Raises:
        MissingPackage: transformers or torch is not installed.
        CorruptModel: the files cannot be read.
        UnsupportedModel: transformers doesn't know it as a speech model.
    """
    try:
        import torch
        from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
    except ImportError as error:
        raise MissingPackage(package="transformers") from error
    device = plan.device if plan.device in ("cpu", "cuda", "mps") else "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32
    try:
        processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True)
        model = AutoModelForSpeechSeq2Seq.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
    except ValueError as error:
        raise UnsupportedModel(path=str(folder), detail=str(error)) from error
    except OSError as error:
        raise CorruptModel(path=str(folder), detail=str(error)) from error
    return TransformersWhisper(model.to(device).eval(), processor, plan)


class TransformersWhisper:
    """A `Recogniser`."""

    runtime = "transformers"

    def __init__(self, model: Any, processor: Any, plan: LoadPlan) -> None:
        self.model = model
        self.plan = plan
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.batch = 16 if model.device.type == "cuda" else 4
        codes = getattr(model.generation_config, "lang_to_id", None) or {}
        self.languages = tuple(sorted(code.strip("<|>") for code in codes)) or ("en",)

    def memory(self) -> MemoryUse:
        device = self.model.device
        name = "cpu" if device.type == "cpu" else f"{device.type}:{device.index or 0}"
        return MemoryUse({name: sum(p.numel() * p.element_size() for p in self.model.parameters())})

    def detect(self, chunk: Chunk) -> tuple[str, float]:
        import torch

        codes = getattr(self.model.generation_config, "lang_to_id", None)
        if not codes:
            return "en", 1.0
        inputs = self._features([chunk.samples[:_WINDOW]])
        start = torch.tensor([[self.model.config.decoder_start_token_id]], device=self.model.device)
        with torch.inference_mode():
            logits = self.model(**inputs, decoder_input_ids=start).logits[0, -1]
        chances = torch.softmax(logits[list(codes.values())].float(), dim=-1)
        best = int(chances.argmax())
        return list(codes)[best].strip("<|>"), float(chances[best])

    def together(self, chunks: Sequence[Chunk], language: str, options: SpeechOptions) -> Iterator[tuple[int, Segment]]:
        inputs = self._features([chunk.samples for chunk in chunks])
        for index, segments in enumerate(self._generate(inputs, language, options, options.initial_prompt)):
            for segment in segments:
                yield index, segment

    def alone(self, chunk: Chunk, language: str, options: SpeechOptions, context: str) -> Iterator[Segment]:
        for begin in range(0, len(chunk.samples), _WINDOW):
            inputs = self._features([chunk.samples[begin : begin + _WINDOW]])
            shift_s = begin / SAMPLE_RATE
            for segment in self._generate(inputs, language, options, context)[0]:
                yield replace(segment, start_s=segment.start_s + shift_s, end_s=segment.end_s + shift_s)
                if options.condition_on_previous_text:
                    context += " " + segment.text

    def _features(self, samples: list[Any]) -> dict[str, Any]:
        made = self.processor.feature_extractor(
            samples, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True
        )
        features = made.input_features.to(self.model.device, self.model.dtype)
        return {"input_features": features, "attention_mask": made.attention_mask.to(self.model.device)}

    def _generate(
        self, inputs: dict[str, Any], language: str, options: SpeechOptions, context: str
    ) -> list[list[Segment]]:
        import torch

        prompt = " ".join(text for text in (options.hotwords, context) if text)
        more: dict[str, Any] = {}
        if prompt:
            more["prompt_ids"] = self.processor.get_prompt_ids(prompt, return_tensors="pt").to(self.model.device)
        if len(self.languages) > 1:
            more |= {"language": language, "task": options.task}
        temperature = options.temperatures if options.temperature == 0 else options.temperature
        with torch.inference_mode():
            made = self.model.generate(
                **inputs,
                return_timestamps=True,
                return_segments=True,
                do_sample=options.temperature > 0 or None,
                num_beams=options.beam_size if options.temperature == 0 else 1,
                temperature=temperature,
                compression_ratio_threshold=options.compression_ratio_threshold,
                logprob_threshold=options.log_prob_threshold,
                no_speech_threshold=options.no_speech_threshold,
                repetition_penalty=options.repetition_penalty,
                **more,
            )
        return [[self._segment(item, options) for item in row] for row in made["segments"]]

    def _segment(self, item: dict[str, Any], options: SpeechOptions) -> Segment:
        text = self.tokenizer.decode(item["tokens"], skip_special_tokens=True).strip()
        return Segment(
            text,
            float(item["start"]),
            float(item["end"]),
            compression_ratio=round(compression_ratio(text), 2) if text else 0.0,
            temperature=options.temperature,
        )
