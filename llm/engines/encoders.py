"""Vectors of texts from checkpoints of transformers (BERT, XLM-RoBERTa, Qwen3 ...), made as sentence-transformers does.

The network is loaded by transformers' auto classes from a local folder; no code of the folder is run, and pickles are
read with torch's weights-only reader. What is done with its output stands in the folder: `llm.catalogue.pooling`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.catalogue.json_file import read_json
from llm.catalogue.pooling import Pooling, Recipe, recipe_of
from llm.catalogue.weights import weight_files
from llm.engine import MemoryUse
from llm.engines.heads import torch_device
from llm.engines.text_limits import limit_tokens
from llm.errors import Cancelled, CorruptModel, EmptyMessage, MessageTooLong, OutOfMemory, UnsupportedModel
from llm.machine.allocation import is_out_of_memory
from llm.plan import LoadPlan, LoadProgress

# See llm/engines/transformers/__init__.py: threads that spin take the time of those who share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

BATCH_TOKENS = 4096
"""Tokens, padding included, that go through the network at once."""
BATCH_TEXTS = 32
_UNUSED = ("pooler.", "position_ids")
"""Weights that pooling does without, and that checkpoints may lack: BERT's own pooler, computed tables."""
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")


def load(entry: ModelEntry, path: Path, plan: LoadPlan, progress: LoadProgress) -> Encoder:
    """Loads a checkpoint folder in float32.

    Raises:
        UnsupportedModel: it pools in a way that is not known here.
        CorruptModel: a file is damaged, or its weights lack a part.
        OutOfMemory.
    """
    progress("checking", 0, 1)
    weight_files(path)
    recipe = recipe_of(path)
    progress("weights", 0, 1)
    import torch
    import transformers
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        settings = transformers.AutoConfig.from_pretrained(path, **local)
        auto = transformers.AutoModelForTextEncoding if settings.is_encoder_decoder else transformers.AutoModel
        model, info = auto.from_pretrained(path, dtype=torch.float32, output_loading_info=True, **local)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **local)
        layers = [_dense(path / folder) for folder in recipe.dense]
    except (CorruptModel, UnsupportedModel):
        raise
    except Exception as error:  # readers of several formats, each with its own kinds of error
        if is_out_of_memory(error):
            raise OutOfMemory(model=entry.name, detail=str(error)) from error
        raise CorruptModel(path=str(path), detail=f"{type(error).__name__}: {error}"[:400]) from error
    missing = sorted(name for name in info["missing_keys"] if not any(part in name for part in _UNUSED))
    if missing:
        raise CorruptModel(path=path.name, detail=f"its weights lack {', '.join(missing[:4])}")
    device = torch_device(plan)
    encoder = Encoder(model.to(device).eval(), tokenizer, recipe, [layer.to(device).eval() for layer in layers])
    progress("ready", 1, 1)
    return encoder


class Encoder:
    """A network, its tokenizer, and how vectors are made of its output. Vectors have length one."""

    def __init__(self, model: Any, tokenizer: Any, recipe: Recipe, dense: Sequence[Any] = ()) -> None:
        limit = limit_tokens(tokenizer, model.config)
        self.max_tokens = min(limit, recipe.max_tokens or limit)
        self.query_prefix, self.passage_prefix = recipe.query_prefix, recipe.passage_prefix
        self._model = model
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._dense = dense
        self._lock = threading.Lock()

    def embed(self, inputs: Sequence[str | Sequence[int]], cancel: Cancel) -> tuple[list[list[float]], int]:
        """One vector for each text (or its token ids, taken as they are), and how many tokens were read.

        Raises:
            EmptyMessage: a text has no characters, or a list no ids.
            MessageTooLong: a text has more than `max_tokens`; nothing is cut off in silence.
            Cancelled: `cancel` was set between two batches.
        """
        rows = [self._ids(text) for text in inputs]
        vectors: list[list[float]] = [[]] * len(rows)
        for batch in batches([len(row) for row in rows]):
            with self._lock:  # between batches, others have their turn
                if cancel.is_set():
                    raise Cancelled(what="The embedding")
                for place, vector in zip(batch, self._vectors([rows[place] for place in batch]), strict=True):
                    vectors[place] = vector
        return vectors, sum(map(len, rows))

    def _ids(self, text: str | Sequence[int]) -> list[int]:
        if not text:
            raise EmptyMessage()
        ids = list(text) if not isinstance(text, str) else self._encode(text)
        if len(ids) > self.max_tokens:
            raise MessageTooLong(
                over_tokens=len(ids) - self.max_tokens, prompt_tokens=len(ids), context_tokens=self.max_tokens
            )
        return ids

    def _encode(self, text: str) -> list[int]:
        """A text's ids with the tokenizer's own control tokens around it; a tag that stands in it is words."""
        text = text.lower() if self._recipe.lower else text
        with self._lock:
            ids: list[int] = self._tokenizer(text, split_special_tokens=True)["input_ids"]
        return ids

    def _vectors(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Rows of one batch, padded to the right, through the network."""
        import torch

        longest = max(map(len, rows))
        padding = self._tokenizer.pad_token_id or 0
        ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        device = self._model.device
        with torch.inference_mode():
            tokens = self._model(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state
            pooled = torch.cat([pool(tokens, mask.to(device), mode) for mode in self._recipe.pooling], dim=-1)
            for layer in self._dense:
                pooled = layer(pooled)
            found: list[list[float]] = torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().tolist()
        return found

    def memory(self) -> MemoryUse:
        """What the weights take, by device; nothing once they are freed."""
        if self._model is None:
            return MemoryUse({})
        weights = [weight for part in (self._model, *self._dense) for weight in part.parameters()]
        return MemoryUse({str(self._model.device): sum(one.numel() * one.element_size() for one in weights)})

    def close(self) -> None:
        """Frees the weights once nobody embeds with them."""
        with self._lock:
            self._model = None
            self._dense = ()


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of rows that go together: neighbours by length, so that little is padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and (len(batch) == BATCH_TEXTS or lengths[batch[0]] * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def pool(tokens: Any, mask: Any, mode: Pooling) -> Any:
    """One vector of shape (rows, hidden) out of `tokens` (rows, length, hidden); `mask` is 1 where a token stands.

    The formulas are sentence-transformers' (`sentence_transformers/models/Pooling.py`).
    """
    import torch

    if mode == "cls":
        return tokens[:, 0]
    count = mask.sum(1, keepdim=True)
    if mode == "lasttoken":
        return tokens[torch.arange(len(tokens), device=tokens.device), count[:, 0] - 1]
    shown = mask.unsqueeze(-1).to(tokens.dtype)
    if mode == "max":
        return tokens.masked_fill(shown == 0, -torch.inf).max(1).values
    if mode == "weightedmean":
        shown = shown * torch.arange(1, tokens.shape[1] + 1, device=tokens.device).view(1, -1, 1)
    total = (tokens * shown).sum(1)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else shown.sum(1))


def _dense(folder: Path) -> Any:
    """A linear layer with its activation, as sentence-transformers stores it."""
    import torch
    from safetensors.torch import load_file

    settings = read_json(folder / "config.json")
    activation = str(settings.get("activation_function", "Identity")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise UnsupportedModel(path=str(folder), detail=f"its activation {activation!r} is not known here")
    layer = torch.nn.Linear(settings["in_features"], settings["out_features"], bias=settings.get("bias", True))
    stored = folder / "model.safetensors"
    if stored.is_file():
        weights = load_file(stored)
    else:
        weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    layer.load_state_dict({name.removeprefix("linear."): value.float() for name, value in weights.items()})
    return torch.nn.Sequential(layer, getattr(torch.nn, activation)())
