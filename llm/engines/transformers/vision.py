"""Pictures for vision-language models: what their own processors make of them, beside the prompt's ids.

A processor of transformers turns each picture into pixel values and says which text takes the place of the
template's one picture tag (for Qwen2-VL, one `<|image_pad|>` per 2 x 2 patches). Its parts for video need
torchvision and are never called here, so they are left out.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from llm.engines.transformers.tokenizer import HFSpanTokenizer
from llm.engines.transformers.tokenizer import load_tokenizer as load_text_tokenizer
from llm.errors import CorruptModel, InvalidRequest, MissingPackage, UnsupportedModel
from llm.messages import ImagePart
from llm.prompt import Span
from llm.vision.picture import for_model

REMEMBERED_PROMPTS = 4
"""For how many prompts pictures stay processed: a prompt is made several times before it is answered."""

_TYPES = ("mm_token_type_ids", "token_type_ids")
_OF_THE_TEXT = ("input_ids", "attention_mask", *_TYPES)


class PictureTokenizer(HFSpanTokenizer):
    """`SpanTokenizer` of a model that sees.

    Args:
        processor: a transformers `ProcessorMixin` with an image processor and a tokenizer.
        stop_ids: as for `HFSpanTokenizer`.
    """

    takes_pictures = True

    def __init__(self, processor: Any, stop_ids: frozenset[int] = frozenset()) -> None:
        super().__init__(processor.tokenizer, stop_ids)
        self.processor = processor
        self.chat_template = self.chat_template or processor.chat_template or ""
        self.image_tag = processor.image_token
        self._lock = threading.Lock()
        self._processed = lru_cache(maxsize=REMEMBERED_PROMPTS)(self._process)

    def encode_spans(self, spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        """Per token: id, how it reads, and its span; a picture's span holds all the tokens that it takes."""
        return super().encode_spans(self._expanded(spans))

    def inputs(self, spans: Sequence[Span]) -> dict[str, Any]:
        """Pixel values, grids and whatever else the model's `forward` takes, by name; nothing without pictures."""
        pictures = _pictures(spans)
        if not pictures:
            return {}
        inputs, _ = self._processed(pictures)
        ids = [token_id for token_id, _, _ in self.encode_spans(spans)]
        kept = {}
        for name, value in inputs.items():
            if name not in _OF_THE_TEXT:
                kept[name] = value
            elif name in _TYPES and self.processor.return_mm_token_type_ids:  # which of the ids are pictures
                kept[name] = _tensor(self.processor.create_mm_token_type_ids([ids]))
        return kept

    def _expanded(self, spans: Sequence[Span]) -> list[Span]:
        pictures = _pictures(spans)
        if not pictures:
            return list(spans)
        texts = iter(self._processed(pictures)[1])
        return [span if span.image is None else replace(span, text=next(texts)) for span in spans]

    def _process(self, pictures: tuple[ImagePart, ...]) -> tuple[Mapping[str, Any], list[str]]:
        """Inputs of all pictures together, and the text that stands for each, as the processor's own call has them.

        Raises:
            InvalidRequest: the processor refuses a picture, for one that is too narrow.
        """
        images = [for_model(part) for part in pictures]
        text = "\n".join([self.image_tag] * len(images))
        with self._lock:
            try:
                inputs = self.processor(images=images, text=[text], return_tensors="pt")
            except ValueError as error:
                raise InvalidRequest(detail=str(error)) from error
            return dict(inputs), self.processor.replacements


def load_tokenizer(folder: Path, config: Mapping[str, Any], stop_ids: frozenset[int]) -> PictureTokenizer:
    """Tokenizer and picture processor of a checkpoint folder.

    Raises:
        CorruptModel: the processor's files are missing or damaged.
        MissingPackage: the processor wants one that is not installed.
        UnsupportedModel: transformers has no processor for this kind of model.
    """
    from transformers import AutoImageProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    model_type = str(config.get("model_type"))
    name = PROCESSOR_MAPPING_NAMES.get(model_type)
    if name is None:
        raise UnsupportedModel(path=str(folder), detail=f"{model_type} has no processor for pictures")
    tokenizer = load_text_tokenizer(folder, stop_ids).tokenizer
    try:
        image_processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return PictureTokenizer(_processor(name, folder, image_processor, tokenizer), stop_ids)
    except ImportError as error:
        raise MissingPackage(package=_package(error)) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptModel(path=str(folder), detail=f"no usable picture processor ({error})") from error


def processor_of(name: str, image_processor: Any, tokenizer: Any, **values: Any) -> Any:
    """A processor by its class's name, without the part for video."""
    cls = _without_video(name)
    parts = {"image_processor": image_processor, "tokenizer": tokenizer}
    return cls(*(parts.get(attribute) for attribute in cls.get_attributes()), **values)


def _processor(name: str, folder: Path, image_processor: Any, tokenizer: Any) -> Any:
    cls = _without_video(name)
    try:
        values, _ = cls.get_processor_dict(folder, local_files_only=True)
    except OSError:  # older folders have no processor_config.json, and need none
        values = {}
    parts = {"image_processor": image_processor, "tokenizer": tokenizer}
    arguments = [parts.get(attribute) for attribute in cls.get_attributes()]
    if not values.get("chat_template") and tokenizer.chat_template:
        values = {**values, "chat_template": tokenizer.chat_template}
    return cls.from_args_and_dict(arguments, values)


def _without_video(name: str) -> Any:
    """The class, without the check that every one of its parts is there; it keeps what it put for each picture."""
    import transformers

    cls = getattr(transformers, name)

    def process_images(self: Any, images: Any, **arguments: Any) -> Any:
        processed, self.replacements = cls._process_images(self, images, **arguments)
        return processed, self.replacements

    own = {"check_argument_for_proper_class": lambda self, argument, value: None, "_process_images": process_images}
    return type(name, (cls,), own)


def _package(error: ImportError) -> str:
    """The package that transformers asks for, out of its sentence."""
    named = re.search(r"pip install ([\w.-]+)", str(error))
    return named.group(1).rstrip(".") if named else str(error)


def _pictures(spans: Sequence[Span]) -> tuple[ImagePart, ...]:
    return tuple(span.image for span in spans if span.image is not None)


def _tensor(values: Any) -> Any:
    import torch

    return torch.tensor(values)
