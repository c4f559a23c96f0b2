"""Embedders in transformers' format: vectors as plain torch makes them, by the recipe that the folder states."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from llm.errors import CorruptModel, MessageTooLong, UnsupportedModel
from llm.runtime import handles
from llm.runtime.embedding_model import prepared
from tests.tasks import text_models as tiny

WORDS = ["保", "修", "两", "年", "好", "warranty", "[", "]", "SEP"]
TEXTS = ["保修两年", "warranty", "好" * 9]
Reference = Callable[[Any, Any], Any]


def bert(folder: Path) -> Path:
    torch.manual_seed(1)
    model = transformers.BertModel(tiny.bert_config(WORDS, 16), add_pooling_layer=False)
    return tiny.save(folder, model, WORDS)


def xlm_roberta(folder: Path) -> Path:
    """A SentencePiece vocabulary (unigram), and positions that begin behind the padding's."""
    torch.manual_seed(2)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *WORDS]
    config = transformers.XLMRobertaConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=18, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
    )  # fmt: skip
    transformers.XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    inner = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names).save_pretrained(folder)
    return folder


def qwen3(folder: Path) -> Path:
    """A decoder that embeds by its last token, as Qwen3-Embedding does."""
    torch.manual_seed(3)
    config = transformers.Qwen3Config(
        vocab_size=len(tiny.CONTROLS) + len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, intermediate_size=32, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    return tiny.save(folder, transformers.Qwen3ForCausalLM(config), WORDS)


def with_recipe(folder: Path, mode: str, limit: int = 0, prompts: dict[str, str] | None = None, dense: int = 0) -> Path:
    """Writes sentence-transformers' files beside the weights."""
    steps = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    paths = {"Transformer": ""} | {step: f"{at}_{step}" for at, step in enumerate(steps) if at}
    modules = [{"type": f"sentence_transformers.models.{step}", "path": paths[step]} for step in steps]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    if limit:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts or {}}))
    if dense:
        place = folder / "2_Dense"
        place.mkdir()
        width = json.loads((folder / "config.json").read_text())["hidden_size"]
        activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
        (place / "config.json").write_text(json.dumps({"in_features": width, "out_features": dense, **activation}))
        weights = {"linear.weight": torch.randn(dense, width), "linear.bias": torch.randn(dense)}
        save_file(weights, place / "model.safetensors")
    return folder


def one_by_one(folder: Path, texts: list[str], pool: Callable[[Any], Any]) -> Any:
    """What plain transformers gives for each text alone, without padding: `pool` gets (tokens, hidden)."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [pool(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1)


@pytest.mark.parametrize(
    ("make", "mode", "pool"),
    [
        (bert, "cls_token", lambda tokens: tokens[0]),
        (bert, "max_tokens", lambda tokens: tokens.max(0).values),
        (xlm_roberta, "mean_tokens", lambda tokens: tokens.mean(0)),
        (qwen3, "lasttoken", lambda tokens: tokens[-1]),
        (qwen3, "weightedmean_tokens", lambda tokens: tokens.T @ (w := torch.arange(1.0, len(tokens) + 1)) / w.sum()),
    ],
)
def test_vectors_are_those_of_plain_torch(
    make: Callable[[Path], Path], mode: str, pool: Callable[[Any], Any], data_folder: Path, tmp_path: Path
) -> None:
    folder = with_recipe(make(tmp_path / "model"), mode)
    model = handles.embedder(folder)
    vectors, tokens = model.embed(TEXTS)
    torch.testing.assert_close(torch.tensor(vectors), one_by_one(folder, TEXTS, pool), atol=1e-5, rtol=1e-4)
    assert tokens > sum(map(len, TEXTS[::2]))
    model.close()


def test_a_folder_states_length_prefixes_and_a_last_layer(data_folder: Path, tmp_path: Path) -> None:
    prompts = {"query": "好好", "document": ""}
    folder = with_recipe(bert(tmp_path / "model"), "mean_tokens", limit=8, prompts=prompts, dense=6)
    model = handles.embedder(folder)
    assert prepared(model.entry, ["两年"], "query") == ["好好两年"]
    assert prepared(model.entry, ["两年"], "passage") == ["两年"]
    [vector], tokens = model.embed(["好好两年"])
    assert len(vector) == 6 and tokens == 6
    with pytest.raises(MessageTooLong) as refused:
        model.embed(["好" * 9])
    assert refused.value.values["over_tokens"] == 3
    model.close()


def test_tags_in_a_text_are_words(data_folder: Path, tmp_path: Path) -> None:
    model = handles.embedder(bert(tmp_path / "model"))  # without a recipe: the mean
    _, plain = model.embed(["好"])
    _, tagged = model.embed(["好[SEP]"])
    assert (plain, tagged) == (3, 6)
    model.close()


def test_what_cannot_be_followed_is_refused_by_name(data_folder: Path, tmp_path: Path) -> None:
    folder = with_recipe(bert(tmp_path / "model"), "mean_tokens")
    modules = folder / "modules.json"
    stated = modules.read_text()
    modules.write_text(stated.replace("models.Normalize", "models.LSTM"))
    with pytest.raises(UnsupportedModel, match="LSTM"):
        handles.embedder(folder)
    modules.write_text(stated.replace("1_Pooling", "3_Pooling"))
    with pytest.raises(CorruptModel, match="3_Pooling"):
        handles.embedder(folder)
    modules.write_text(stated.replace("1_Pooling", "../1_Pooling"))
    with pytest.raises(CorruptModel, match="outside"):
        handles.embedder(folder)
