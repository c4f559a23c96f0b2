"""Baichuan and Baichuan2, 7B and 13B (baichuan-inc/Baichuan2-7B-Chat and its relatives)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.engine import Engine
from llm.errors import UnsupportedModel
from llm.families.base import RenderOptions
from llm.families.rounds import control, words
from llm.families.sentencepiece_spans import SentencePieceSpans, cut_tags
from llm.messages import Message, ToolCallPart
from llm.prompt import Span

if TYPE_CHECKING:
    from llm.checkpoints.loading import StoredTensor

USER_ID, ASSISTANT_ID, EOS_ID = 195, 196, 2
USER_TAG, ASSISTANT_TAG = "<reserved_106>", "<reserved_107>"

FIRST_VOCABULARY = 64000
"""Baichuan's vocabulary; Baichuan2's is larger, and its head is normalised."""

# Pieces of the vocabulary that the network takes as tags, and that sentencepiece would find in words.
_TAGS = re.compile(r"<reserved_\d+>|<SEP>|<CLS>")


class BaichuanTokenizer(SentencePieceSpans):
    """Each text by itself, without a blank before it.

    Args:
        max_input_tokens: longest prompt; a longer one is cut on the left, as `build_chat_input` does.
    """

    eos_text = "</s>"

    def __init__(self, path: Path, user_id: int, assistant_id: int, max_input_tokens: int) -> None:
        super().__init__(path, {"<unk>": 0, "<s>": 1, "</s>": EOS_ID}, frozenset({EOS_ID}))
        self.user_tag, self.assistant_tag = map(self.processor.id_to_piece, (user_id, assistant_id))
        self.special_tokens |= {self.user_tag: user_id, self.assistant_tag: assistant_id}
        self._tag_of |= {user_id: self.user_tag, assistant_id: self.assistant_tag}
        self.max_input_tokens = max_input_tokens

    def encode_spans(self, spans: Sequence[Span]) -> list[tuple[int, str, Span]]:
        return super().encode_spans(spans)[-self.max_input_tokens :]

    def _pieces(self, text: str) -> list[tuple[int, int]]:
        pieces, begin = [], 0
        for stretch in cut_tags(text, _TAGS):
            pieces += [(token_id, begin + place) for token_id, place in super()._pieces(stretch)]
            begin += len(stretch.encode())
        return pieces


class BaichuanFamily:
    """Texts, each after its speaker's id (`build_chat_input` of generation_utils.py)."""

    name = "baichuan"
    thinking_tags: tuple[str, str] | None = None

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        tokenizer = getattr(engine, "tokenizer", engine)
        user, assistant = USER_TAG, ASSISTANT_TAG
        if isinstance(tokenizer, BaichuanTokenizer):
            user, assistant = tokenizer.user_tag, tokenizer.assistant_tag
        system = "".join(words(message) for message in messages if message.role == "system")
        spoken = [message for message in messages if message.role != "system"]
        opening = [Span(system, "system")] if system else []
        rounds = [[span for message in turn for span in _spoken(message, user, assistant)] for turn in _rounds(spoken)]
        if isinstance(tokenizer, BaichuanTokenizer):
            rounds = _within_window(rounds, opening, tokenizer)
        spans = [*opening, *(span for turn in rounds for span in turn)]
        if not spoken or spoken[-1].role != "assistant":
            spans.append(control(assistant))
        return spans

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        return engine.stop_ids | {EOS_ID}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return text, []


class BaichuanLoader:
    """See `llm.families.base.CheckpointLoader`."""

    def matches(self, config: Mapping[str, Any]) -> bool:
        return config.get("model_type") == "baichuan" or "BaichuanForCausalLM" in (config.get("architectures") or ())

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        from llm.checkpoints.baichuan_model import BaichuanAlibiForCausalLM, BaichuanForCausalLM, baichuan_config
        from llm.checkpoints.loading import build, stored_tensors

        if "max_position_embeddings" not in config and "model_max_length" not in config:
            raise UnsupportedModel(path=folder / "config.json", detail="it names no longest prompt")
        # The sizes share a model_type; only the rotary one has this key.
        network = BaichuanForCausalLM if "max_position_embeddings" in config else BaichuanAlibiForCausalLM
        tensors = self.tensors(stored_tensors(folder), config, kwargs.get("dtype"))
        return build(network, baichuan_config(config), tensors, folder, **kwargs)

    def tensors(
        self, stored: Mapping[str, StoredTensor], config: Mapping[str, Any], dtype: Any = None
    ) -> dict[str, StoredTensor]:
        """The published tensors under Llama's names, queries, keys and values apart, the head normalised.

        dtype: what the model is wanted in; anything but a torch.dtype is as stored.
        """
        import torch

        from llm.checkpoints.baichuan_model import unit_rows
        from llm.checkpoints.loading import split_rows

        tensors: dict[str, StoredTensor] = {}
        for name, tensor in stored.items():
            module, packed, kind = name.partition("W_pack.")
            if packed:
                names = [f"{module}{letter}_proj.{kind}" for letter in "qkv"]
                tensors |= split_rows(tensor, names, [config["hidden_size"]] * 3)
            elif name == "lm_head.weight" and config["vocab_size"] != FIRST_VOCABULARY:
                wanted = dtype if isinstance(dtype, torch.dtype) else tensor.dtype
                tensors[name] = tensor.mapped(partial(unit_rows, dtype=wanted))
            elif not name.endswith("inv_freq"):
                tensors[name] = tensor
        return tensors

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> BaichuanTokenizer:
        from llm.checkpoints.loading import read_json

        generation = read_json(folder / "generation_config.json")
        longest = config.get("model_max_length") or config["max_position_embeddings"]
        return BaichuanTokenizer(
            folder / "tokenizer.model",
            generation.get("user_token_id", USER_ID),
            generation.get("assistant_token_id", ASSISTANT_ID),
            max(1, longest - (generation.get("max_new_tokens") or 0)),
        )


def _spoken(message: Message, user: str, assistant: str) -> list[Span]:
    text = words(message)
    tag = assistant if message.role == "assistant" else user
    return [control(tag), Span(text, message.role)] if text else [control(tag)]


def _rounds(messages: Sequence[Message]) -> list[list[Message]]:
    """Messages grouped so that each user message opens a round."""
    rounds: list[list[Message]] = []
    for message in messages:
        if message.role == "user" or not rounds:
            rounds.append([])
        rounds[-1].append(message)
    return rounds


def _within_window(
    rounds: Sequence[list[Span]], opening: Sequence[Span], tokenizer: BaichuanTokenizer
) -> list[list[Span]]:
    """The newest rounds that fit beside the system text; the last one stays even if it is too long."""
    room = tokenizer.max_input_tokens - len(tokenizer.encode_spans(opening))
    kept: list[list[Span]] = []
    used = 0
    for turn in reversed(rounds):
        used += len(tokenizer.encode_spans(turn))
        if kept and used > room:
            break
        kept.insert(0, turn)
        if used >= room:
            break
    return kept


family = BaichuanFamily()
loader = BaichuanLoader()
