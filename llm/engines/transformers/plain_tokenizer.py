"""A copy of a fast tokenizer that knows no control tags, for words that spell one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer


class PlainTokenizer:
    """Tokenises words between two tags; nothing that they spell becomes a tag's id.

    Args:
        backend: the `tokenizers.Tokenizer` that a transformers tokenizer wraps.
        control: text -> id of the tags to forget.
        unk_token: stays in the vocabulary, as words outside of it become it.
    """

    def __init__(self, backend: Tokenizer, control: Mapping[str, int], unk_token: str | None) -> None:
        state = json.loads(backend.to_str())
        state["post_processor"] = None
        state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in control]
        _hide_from_vocabulary(state["model"], set(control) - {unk_token})
        self._first = Tokenizer.from_str(json.dumps(state))
        self._inner = self._first
        if _never_prepend(state["pre_tokenizer"]):
            self._inner = Tokenizer.from_str(json.dumps(state))
        # Added tokens outside the model's vocabulary are numbered anew in the copy.
        kept = {token["content"]: token["id"] for token in state["added_tokens"]}
        self._ids = {self._first.token_to_id(text): token_id for text, token_id in kept.items()}

    def encode(self, text: str, is_first: bool) -> list[tuple[int, int, int]]:
        """(id, begin, end) per token, places in characters.

        `is_first`: the words open the prompt; sentencepiece models that put a space before a text put it
        there, and not after a tag.
        """
        encoding = (self._first if is_first else self._inner).encode(text, add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return [(self._ids.get(token_id, token_id), begin, end) for token_id, (begin, end) in pairs]


def _hide_from_vocabulary(model: dict[str, Any], texts: set[str]) -> None:
    """Renames vocabulary entries so that no text spells them; ids and scores stay.

    A unigram model would otherwise find a tag like any other word, and a BPE model with `ignore_merges` too.
    The name is random, or it could be typed.
    """
    hidden = secrets.token_hex(16)
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        for entry in vocabulary:
            if entry[0] in texts:
                entry[0] = hidden + entry[0]
        return
    built = {"".join(pair) if isinstance(pair, list) else pair.replace(" ", "") for pair in model.get("merges", ())}
    for text in texts - built:
        if text in vocabulary:
            vocabulary[hidden + text] = vocabulary.pop(text)


def _never_prepend(pre_tokenizer: dict[str, Any] | None) -> bool:
    """Turns "a space before the first word of a text" off; tells whether it was on."""
    if pre_tokenizer is None:
        return False
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    changed = False
    for step in steps:
        if step["type"] == "Metaspace" and step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "never"
            changed = True
    return changed
