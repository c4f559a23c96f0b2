"""GGUF embedders and rerankers of the BERT line: vectors and scores as plain torch makes them of the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from llm.catalogue.lookup import find
from llm.errors import MessageTooLong, UnsupportedContent
from llm.runtime import handles
from tests.engines import bert_gguf
from tests.tasks import text_models as tiny

WORDS = ["保", "修", "两", "年", "好", "warranty"]
TEXTS = ["两年", "warranty", "好好好"]


def trunk(folder: Path) -> tuple[Path, tuple[torch.Tensor, ...]]:
    """A random BERT and a random ranking head."""
    torch.manual_seed(1)
    config = tiny.bert_config(WORDS, 32, initializer_range=0.5)
    model = transformers.BertModel(config, add_pooling_layer=False)
    width = config.hidden_size
    head = (torch.randn(width, width), torch.randn(width), torch.randn(1, width), torch.randn(1))
    return tiny.save(folder / "bert", model, WORDS), head


def reranker_file(folder: Path) -> Path:
    checkpoint, head = trunk(folder)
    return bert_gguf.to_gguf(checkpoint, folder / "ranker.gguf", bert_gguf.RANK, head)


def first_token(checkpoint: Path, *texts: str) -> torch.Tensor:
    """[CLS] of the last layer; llama.cpp reads a pair as one sequence, without a second token type."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.BertModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokenizer(*texts)["input_ids"]])).last_hidden_state[0, 0]


def test_scores_are_those_of_the_head(data_folder: Path, tmp_path: Path) -> None:
    checkpoint, (dense, bias, out, out_bias) = trunk(tmp_path)
    file = bert_gguf.to_gguf(checkpoint, tmp_path / "ranker.gguf", bert_gguf.RANK, (dense, bias, out, out_bias))
    assert find(file).task == "text-ranking"
    model = handles.reranker(file)
    scores, tokens = model.rank("保修", TEXTS)
    wanted = [torch.sigmoid(out @ torch.tanh(dense @ first_token(checkpoint, "保修", text) + bias) + out_bias)
              for text in TEXTS]  # fmt: skip
    torch.testing.assert_close(torch.tensor(scores), torch.cat(wanted), atol=1e-2, rtol=0)
    assert max(scores) - min(scores) > 0.1 and tokens > len(TEXTS)
    with pytest.raises(MessageTooLong):
        model.rank("保修", ["两年" * 40])
    with pytest.raises(UnsupportedContent):
        handles.embedder(file)
    model.close()


def test_a_cross_encoder_in_transformers_format_ranks_too(data_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = tiny.bert_config(WORDS, 32, initializer_range=0.5, num_labels=1)
    network = transformers.BertForSequenceClassification(config).eval()
    folder = tiny.save(tmp_path / "cross", network, WORDS)
    assert find(folder).task == "text-ranking"
    model = handles.reranker(folder)
    scores, tokens = model.rank("保修", TEXTS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pairs = [tokenizer("保修", text, return_tensors="pt") for text in TEXTS]
    with torch.inference_mode():
        wanted = torch.stack([torch.sigmoid(network(**pair).logits[0, 0]) for pair in pairs])
    torch.testing.assert_close(torch.tensor(scores), wanted, atol=1e-5, rtol=0)
    assert tokens == sum(pair["input_ids"].shape[1] for pair in pairs)
    with pytest.raises(MessageTooLong):
        model.rank("保修", ["两年" * 40])
    model.close()


def test_an_embedder_of_this_line_loads_by_its_path(data_folder: Path, tmp_path: Path) -> None:
    checkpoint, _ = trunk(tmp_path)
    file = bert_gguf.to_gguf(checkpoint, tmp_path / "embedder.gguf", bert_gguf.CLS)
    assert find(file).task == "feature-extraction"
    model = handles.embedder(file)
    vectors, _ = model.embed(TEXTS)
    wanted = torch.stack([torch.nn.functional.normalize(first_token(checkpoint, text), dim=-1) for text in TEXTS])
    torch.testing.assert_close(torch.tensor(vectors), wanted, atol=1e-2, rtol=0)
    with pytest.raises(UnsupportedContent):
        handles.chat(file)
    model.close()
