"""ChatGLM-6B checkpoints (THUDM/chatglm-6b, -int4 and -int8), with or without a P-Tuning v2 prefix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.checkpoints.chatglm_model import ChatGLMConfig, ChatGLMForCausalLM
from llm.checkpoints.loading import StoredTensor, build, file_tensors, stored_tensors
from llm.checkpoints.packed import build_packed
from llm.errors import CorruptModel, UnsupportedModel
from llm.families.chatglm import ChatGLMTokenizer

PREFIX_FILE = "pytorch_model_ptuning.bin"


PREFIX_TENSORS = "transformer.prefix_encoder."


class ChatGLMLoader:
    """See `llm.checkpoints.base.CheckpointLoader`. Also takes a P-Tuning v2 folder, see `_tensors`."""

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
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


loader = ChatGLMLoader()
