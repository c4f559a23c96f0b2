"""How a checkpoint is loaded that transformers does not know by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llm.families.base import SpanTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CheckpointLoader(Protocol):
    """For checkpoints that transformers doesn't know by itself: how the transformers engine loads them."""

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> PreTrainedModel:
        """The model in eval mode.

        It may have a method `reads_prompt_whole(prompt_tokens)`: whether a prompt of that length must be read
        in one pass and shares no keys with other prompts. kwargs are `from_pretrained`'s (dtype, device_map,
        quantization_config).
        """

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> SpanTokenizer | None:
        """The tokenizer; None where transformers reads it."""
