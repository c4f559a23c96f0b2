"""ChatGLM-6B checkpoints (THUDM/chatglm-6b, -int4 and -int8), with or without a P-Tuning v2 prefix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.checkpoints.chatglm_model import ChatGLMConfig, ChatGLMForCausalLM
from llm.checkpoints.loading import build
from llm.checkpoints.packed import build_packed
from llm.checkpoints.prefix_files import base_folder, with_prefix
from llm.errors import UnsupportedModel
from llm.families.chatglm import ChatGLMTokenizer


class ChatGLMLoader:
    """See `llm.checkpoints.base.CheckpointLoader`. Also takes a P-Tuning v2 folder, see `with_prefix`."""

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        bits = config.get("quantization_bit") or 0
        if config.get("position_encoding_2d") is False or bits not in (0, 4, 8):
            detail = "positions of one dimension" if not bits else f"{bits} bits"
            raise UnsupportedModel(path=folder / "config.json", detail=detail)
        tensors = {
            name: tensor
            for name, tensor in with_prefix(folder, config, "transformer.word_embeddings.weight").items()
            # The head is the embedding's own tensor, stored a second time.
            if not name.endswith((".inv_freq", "lm_head.weight"))
        }
        network = ChatGLMConfig.of(config)
        if any(name.endswith(".weight_scale") for name in tensors):
            return build_packed(ChatGLMForCausalLM, network, tensors, folder, bits=bits or 4, **kwargs)
        return build(ChatGLMForCausalLM, network, tensors, folder, **kwargs)

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> ChatGLMTokenizer:
        name = "ice_text.model"
        base = base_folder(folder, config)
        return ChatGLMTokenizer(folder / name if (folder / name).is_file() or base is None else base / name)


loader = ChatGLMLoader()
