"""ChatGLM2 (THUDM/chatglm2-6b): its prompt, its vocabulary, and its network as transformers' GLM.

Also loads ChatGLM3's weights, which differ only in the prompt and the tags. The network is
`modeling_chatglm.py` of either repository: RMSNorm, SwiGLU, grouped keys and values, and rotary positions
over the first half of each head in adjacent pairs, which is GLM's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.engine import Engine
from llm.errors import UnsupportedModel
from llm.families.base import RenderOptions
from llm.families.chatglm_reply import glm_tool_call
from llm.families.rounds import control, plain, rounds_of
from llm.families.sentencepiece_spans import SentencePieceSpans
from llm.messages import Message, ToolCallPart
from llm.prompt import Span

if TYPE_CHECKING:
    from llm.checkpoints.loading import StoredTensor

# Tags take the ids after the sentencepiece vocabulary, in this order (tokenization_chatglm.py).
PREFIX_TAGS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
EOS_ID = 2

_NAMES = {
    "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "transformer.encoder.final_layernorm.weight": "model.norm.weight",
    "transformer.output_layer.weight": "lm_head.weight",
}
_LAYER = re.compile(r"transformer\.encoder\.layers\.(\d+)\.(.+)\.(weight_scale|weight|bias)")
_LAYER_NAMES = {
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
    "self_attention.dense": "self_attn.o_proj",
    "mlp.dense_h_to_4h": "mlp.gate_up_proj",
    "mlp.dense_4h_to_h": "mlp.down_proj",
}


class ChatGLM2Tokenizer(SentencePieceSpans):
    """The whole prompt is one text, with one blank before it; tags decode to nothing."""

    joins_spans = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "tokenizer.model", {}, frozenset({EOS_ID}))
        self.special_tokens = {tag: self._size + place for place, tag in enumerate(PREFIX_TAGS)}

    def token_text(self, token_id: int) -> str:
        place = token_id - self._size
        return PREFIX_TAGS[place] if 0 <= place < len(PREFIX_TAGS) else super().token_text(token_id)


class ChatGLM2Family:
    """Rounds counted from 1. There is no system role: such a text stands before the first question."""

    name = "chatglm2"
    thinking_tags: tuple[str, str] | None = None

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        talk = rounds_of(messages)
        spans = [control("[gMASK]"), control("sop")]
        for number, turn in enumerate(talk.rounds, start=1):
            spans.append(plain(f"[Round {number}]\n\n问："))
            if number == 1 and talk.system:
                spans += [Span(talk.system, "system"), plain("\n\n")]
            spans += [Span(turn.question, "user"), plain("\n\n答：")]
            if turn.answer is not None:
                spans += [Span(turn.answer, "assistant"), plain("\n\n")]
        return spans

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        return engine.stop_ids | {EOS_ID}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return glm_tool_call(text)


class ChatGLM2Loader:
    """See `llm.families.base.CheckpointLoader`; takes ChatGLM2 and ChatGLM3 folders."""

    def matches(self, config: Mapping[str, Any]) -> bool:
        return config.get("model_type") == "chatglm" and "multi_query_group_num" in config

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        from llm.checkpoints.chatglm2_model import ChatGLM2ForCausalLM, glm_config
        from llm.checkpoints.loading import build, stored_tensors

        _check(folder, config)
        return build(
            ChatGLM2ForCausalLM, glm_config(config), self.tensors(stored_tensors(folder), config), folder, **kwargs
        )

    def tensors(self, stored: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> dict[str, StoredTensor]:
        """The published tensors under GLM's names, queries, keys and values apart."""
        return dict(pair for name, tensor in stored.items() for pair in _renamed(name, tensor, config))

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> SentencePieceSpans:
        from llm.families.chatglm3 import ChatGLM3Tokenizer, is_chatglm3

        return ChatGLM3Tokenizer(folder) if is_chatglm3(folder, config) else ChatGLM2Tokenizer(folder)


def _renamed(name: str, tensor: StoredTensor, config: Mapping[str, Any]) -> Iterator[tuple[str, StoredTensor]]:
    from llm.checkpoints.loading import split_rows

    if name in _NAMES:
        yield _NAMES[name], tensor
        return
    match = _LAYER.fullmatch(name)
    if match is None:
        return  # the stored rotary frequencies follow from config.json
    layer, module, kind = match.groups()
    prefix = f"model.layers.{layer}"
    if module == "self_attention.query_key_value":
        head = config["kv_channels"]
        groups = config["multi_query_group_num"] if config.get("multi_query_attention") else None
        keys = head * (groups or config["num_attention_heads"])
        names = [f"{prefix}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
        yield from split_rows(tensor, names, [head * config["num_attention_heads"], keys, keys]).items()
    elif module in _LAYER_NAMES:
        yield f"{prefix}.{_LAYER_NAMES[module]}.{kind}", tensor


def _check(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses what the GLM classes would compute wrongly.

    Raises:
        UnsupportedModel: an unknown variant of the network.
    """
    expected = {
        "rmsnorm": True,
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "post_layer_norm": True,
        "apply_residual_connection_post_layernorm": False,
        "original_rope": True,
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise UnsupportedModel(path=folder / "config.json", detail=f"{key} is {config[key]!r}")
    if config.get("pre_seq_len"):
        raise UnsupportedModel(path=folder / "config.json", detail="it asks for a P-Tuning prefix (pre_seq_len)")
    if not (folder / "tokenizer.model").is_file():
        raise UnsupportedModel(path=folder, detail="its vocabulary is not a sentencepiece tokenizer.model")


family = ChatGLM2Family()
loader = ChatGLM2Loader()
