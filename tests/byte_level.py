"""Byte-level BPE as GPT-2 made it and most lines have it, trained on a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def byte_level_bpe(lines: Sequence[str], vocabulary: int, tags: Sequence[str]) -> Tokenizer:
    """A tokenizer of `vocabulary` learnt tokens, every byte among them, and the `tags` after them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_special_tokens(list(tags))
    return tokenizer
