"""GPTQ checkpoints of model lines that transformers knows (Qwen1.5-7B-Chat-GPTQ-Int4, Llama-2-7B-GPTQ ...).

transformers itself asks for two more packages to read them. Here their packed layers take the places of
the network's linear layers; all else is the class's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.errors import UnsupportedModel


class GptqLoader:
    """See `llm.checkpoints.base.CheckpointLoader`."""

    def load_model(self, folder: Path, config: Mapping[str, Any], **kwargs: Any) -> Any:
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

        from llm.checkpoints.loading import stored_tensors
        from llm.checkpoints.packed import build_packed, gptq_format, without_zero_biases

        bits, zero_offset = gptq_format(config["quantization_config"], folder / "config.json")
        try:
            network = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(network)]
        except (ValueError, KeyError) as error:
            detail = f"model type {config.get('model_type')!r} is not known"
            raise UnsupportedModel(path=folder / "config.json", detail=detail) from error
        del network.quantization_config
        tensors = without_zero_biases(stored_tensors(folder))
        return build_packed(model_class, network, tensors, folder, bits=bits, zero_offset=zero_offset, **kwargs)

    def load_tokenizer(self, folder: Path, config: Mapping[str, Any]) -> None:
        """None: the tokenizer is one that transformers reads."""


loader = GptqLoader()
