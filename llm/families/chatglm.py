"""ChatGLM-6B (THUDM/chatglm-6b, -int4 and -int8), the first generation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.engine import Engine
from llm.errors import CorruptModel, UnsupportedModel
from llm.families.base import RenderOptions
from llm.families.rounds import control, plain, rounds_of
from llm.families.sentencepiece_spans import SentencePieceSpans
from llm.messages import Message, ToolCallPart
from llm.prompt import Span

if TYPE_CHECKING:
    from llm.checkpoints.loading import StoredTensor

PAD_ID = 3
LONGEST_BLANK = 80
PREFIX_FILE = "pytorch_model_ptuning.bin"
PREFIX_TENSORS = "transformer.prefix_encoder."

# Pieces of the published vocabulary that stand for white space, whoever writes them.
_MARKERS = re.compile(r"<n>|<\|tab\|>|<\|blank_(\d+)\|>")
# transformers' `clean_up_tokenization`, which the original's decoding ends with.
_CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


class ChatGLMTokenizer(SentencePieceSpans):
    """The whole prompt is one text; its tags are control pieces of the vocabulary itself."""

    joins_spans = True
    bos_text, eos_text = "<sop>", "<eop>"

    def __init__(self, path: Path) -> None:
        super().__init__(path, {}, frozenset())
        tags = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>")
        self.special_tokens = {tag: self.processor.piece_to_id(tag) for tag in tags}
        self.stop_ids = frozenset({self.special_tokens["<eop>"]})

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids. Tags give nothing; blanks before punctuation go, as in the original."""
        text = self.decode_growing(ids)
        for blank, without in _CLEAN_UP:
            text = text.replace(blank, without)
        return text

    def decode_growing(self, ids: Sequence[int]) -> str:
        """`decode` of an answer that still grows: what is there stays as it is."""
        return self._decode_plain([token_id for token_id in ids if token_id != PAD_ID and token_id < self._size])

    def _prepare(self, text: str) -> str:
        text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
        for length in range(LONGEST_BLANK, 1, -1):
            text = text.replace(" " * length, f"<|blank_{length}|>")
        return text

    def _restore(self, text: str) -> str:
        return _MARKERS.sub(_white_space, text)


class ChatGLMFamily:
    """A bare question, or rounds counted from 0 (`chat()` of modeling_chatglm.py)."""

    name = "chatglm"
    thinking_tags: tuple[str, str] | None = None

    def render(self, messages: Sequence[Message], engine: Engine, options: RenderOptions) -> list[Span]:
        talk = rounds_of(messages)
        spans: list[Span] = [Span(talk.system, "system"), plain("\n")] if talk.system else []
        if len(talk.rounds) == 1 and talk.rounds[0].answer is None:
            spans.append(Span(talk.rounds[0].question, "user"))
            return [*spans, control("[gMASK]"), control("<sop>")]
        for number, turn in enumerate(talk.rounds):
            spans += [plain(f"[Round {number}]\n问："), Span(turn.question, "user"), plain("\n答：")]
            if turn.answer is not None:
                spans += [Span(turn.answer, "assistant"), plain("\n")]
        return [*spans, control("[gMASK]"), control("<sop>")]

    def stop_ids(self, engine: Engine) -> frozenset[int]:
        end = engine.special_tokens.get("<eop>")
        return engine.stop_ids if end is None else engine.stop_ids | {end}

    def tool_call(self, text: str) -> tuple[str, list[ToolCallPart]]:
        return text, []


class ChatGLMLoader:
    """See `llm.families.base.CheckpointLoader`. Also takes a P-Tuning v2 folder, see `_tensors`."""

    def matches(self, config: Mapping[str, Any]) -> bool:
        return config.get("model_type") == "chatglm" and (
            "inner_hidden_size" in config or bool(config.get("position_encoding_2d"))
        )

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        from llm.checkpoints.chatglm_model import ChatGLMConfig, ChatGLMForCausalLM
        from llm.checkpoints.loading import build, build_packed

        bits = config.get("quantization_bit") or 0
        if config.get("position_encoding_2d") is False or bits not in (0, 4, 8):
            detail = "positions of one dimension" if not bits else f"{bits} bits"
            raise UnsupportedModel(path=folder / "config.json", detail=detail)
        tensors = self._tensors(folder, config)
        network = ChatGLMConfig.of(config)
        if any(name.endswith(".weight_scale") for name in tensors):
            return build_packed(ChatGLMForCausalLM, network, tensors, folder, bits=bits or 4, **kwargs)
        return build(ChatGLMForCausalLM, network, tensors, folder, **kwargs)

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> ChatGLMTokenizer:
        name = "ice_text.model"
        base = _base_folder(folder, config)
        return ChatGLMTokenizer(folder / name if (folder / name).is_file() or base is None else base / name)

    def _tensors(self, folder: Path, config: Mapping[str, Any]) -> dict[str, StoredTensor]:
        """The network's tensors, with a P-Tuning v2 prefix if config.json has a `pre_seq_len`.

        The prefix lies beside the weights (`pytorch_model_ptuning.bin`) or is all that the folder's
        pytorch_model.bin holds, as the published scripts save it; then `_name_or_path` is the folder
        of the network.

        Raises:
            CorruptModel: the prefix or the network is not where config.json leads.
        """
        from llm.checkpoints.loading import file_tensors, stored_tensors

        stored = stored_tensors(folder)
        if config.get("pre_seq_len"):
            beside = folder / PREFIX_FILE
            if beside.is_file():
                stored |= _prefix(file_tensors(beside))
            if not any(name.startswith(PREFIX_TENSORS) for name in stored):
                raise CorruptModel(path=beside, detail="the prefix that config.json asks for is missing")
            if "transformer.word_embeddings.weight" not in stored:
                base = _base_folder(folder, config)
                if base is None:
                    name = config.get("_name_or_path", "")
                    raise CorruptModel(path=folder, detail=f"the network that the prefix is for is not at {name!r}")
                stored = stored_tensors(base) | _prefix(stored)
        unused = (".inv_freq",) if config.get("pre_seq_len") else (".inv_freq", ".prefix_encoder.embedding.weight")
        # The head is the embedding's own tensor, stored a second time.
        return {name: tensor for name, tensor in stored.items() if not name.endswith((*unused, "lm_head.weight"))}


def _prefix(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """A prefix's tensors under their full names; some scripts save them without the network's."""
    return {
        PREFIX_TENSORS + name.rpartition("prefix_encoder.")[2]: tensor
        for name, tensor in tensors.items()
        if "prefix_encoder." in name or name.startswith(("embedding.", "trans."))
    }


def _base_folder(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """The folder that `_name_or_path` names, absolute or beside this one; None if it isn't there."""
    name = str(config.get("_name_or_path") or "")
    for place in (Path(name), folder / name, folder.parent / name):
        if name and (place / "config.json").is_file() and place.resolve() != folder.resolve():
            return place
    return None


def _white_space(match: re.Match[str]) -> str:
    if match.group(1):
        return " " * int(match.group(1))
    return "\n" if match.group() == "<n>" else "\t"


family = ChatGLMFamily()
loader = ChatGLMLoader()
