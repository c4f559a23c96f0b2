"""Tiny checkpoints with heads whose answers are known: the weights are set so that a token's id decides its label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

CONTROLS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert_config(words: Sequence[str], positions: int, **extra: Any) -> transformers.BertConfig:
    """One layer whose attention and feed-forward add nothing, over embeddings that are a one-hot of the token."""
    size = len(CONTROLS) + len(words)
    hidden = -(-size // 2) * 2
    return transformers.BertConfig(
        vocab_size=size,
        hidden_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=4,
        max_position_embeddings=positions,
        **extra,
    )


def one_hot(model: Any) -> Any:
    """Sets a model's trunk so that the hidden state of a token points to its id, whatever stands around it."""
    bert = model.bert
    with torch.no_grad():
        for weight in bert.parameters():
            weight.zero_()
        size, hidden = bert.embeddings.word_embeddings.weight.shape
        bert.embeddings.word_embeddings.weight.copy_(torch.eye(size, hidden) * 10)
        for name, weight in bert.named_parameters():
            if name.endswith("LayerNorm.weight"):
                weight.fill_(1)
    return model


def save(folder: Path, model: Any, words: Sequence[str], model_max_length: int | None = None) -> Path:
    """Writes the checkpoint with a tokenizer of these words; a Chinese character is a word, a capital its own."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join([*CONTROLS, *words]), encoding="utf-8")
    vocabulary = {word: at for at, word in enumerate([*CONTROLS, *words])}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, do_lower_case=False)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("model_max_length", None)
    if model_max_length:
        settings["model_max_length"] = model_max_length
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def tagger(folder: Path, labels: dict[str, str], positions: int = 32) -> Path:
    """An entity model that gives each word the label that `labels` names; other words are O."""
    names = ["O", *dict.fromkeys(labels.values())]
    config = bert_config(list(labels), positions, id2label=dict(enumerate(names)))
    model = one_hot(transformers.BertForTokenClassification(config))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
        model.classifier.bias[0] = 1
        for at, label in enumerate(labels.values()):
            model.classifier.weight[names.index(label), len(CONTROLS) + at] = 2
    return save(folder, model, list(labels))


def classifier(folder: Path, words: dict[str, str], positions: int = 32, **extra: Any) -> Path:
    """A classifier whose label is that of most words of a window: attention spreads evenly over it."""
    names = list(dict.fromkeys(words.values()))
    size = len(CONTROLS) + len(words)
    config = transformers.DistilBertConfig(
        vocab_size=size,
        dim=-(-size // 2) * 2,
        n_layers=1,
        n_heads=2,
        hidden_dim=4,
        max_position_embeddings=positions,
        **{"id2label": dict(enumerate(names))} | extra,
    )
    model = transformers.DistilBertForSequenceClassification(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        trunk = model.distilbert
        trunk.embeddings.word_embeddings.weight.copy_(torch.eye(size, config.dim) * 10)
        trunk.embeddings.LayerNorm.weight.fill_(1)
        layer = trunk.transformer.layer[0]
        # Attention with equal shares over all tokens: what [CLS] holds afterwards is the mean of the window.
        layer.attention.v_lin.weight.copy_(torch.eye(config.dim))
        layer.attention.out_lin.weight.copy_(torch.eye(config.dim))
        layer.sa_layer_norm.weight.fill_(1)
        layer.output_layer_norm.weight.fill_(1)
        model.pre_classifier.weight.copy_(torch.eye(config.dim))
        model.pre_classifier.bias.fill_(3)  # a ReLU follows
        for at, label in enumerate(words.values()):
            model.classifier.weight[names.index(label), len(CONTROLS) + at] = 1
    return save(folder, model, list(words))


def extractor(folder: Path, words: Sequence[str], first: str, last: str, positions: int = 64) -> Path:
    """A reader that answers with what stands from the word `first` to the word `last`."""
    config = bert_config(words, positions)
    model = one_hot(transformers.BertForQuestionAnswering(config))
    with torch.no_grad():
        model.qa_outputs.weight.zero_()
        model.qa_outputs.bias.zero_()
        model.qa_outputs.weight[0, len(CONTROLS) + list(words).index(first)] = 2
        model.qa_outputs.weight[1, len(CONTROLS) + list(words).index(last)] = 2
        model.qa_outputs.weight[:, CONTROLS.index("[CLS]")] = 0.5
    return save(folder, model, list(words))


def random_seq2seq(folder: Path, words: Sequence[str], positions: int = 24, **extra: Any) -> Path:
    """A small BART with random weights: enough to show what goes in and how long things may be."""
    torch.manual_seed(0)
    size = len(CONTROLS) + len(words)
    config = transformers.BartConfig(
        vocab_size=size, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=positions,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=3, **extra,
    )  # fmt: skip
    model = transformers.BartForConditionalGeneration(config)
    return save(folder, model, words)
