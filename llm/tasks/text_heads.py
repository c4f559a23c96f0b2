"""Labels for texts, entities in them and answers from them, through transformers' networks with a head.

Texts of any length: they go through in windows of the length that the model takes, and nothing is cut off in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm.cancel import Cancel
from llm.engines.heads import HeadModel
from llm.engines.text_limits import limit_tokens
from llm.errors import Cancelled
from llm.tasks.encoding import Window, trimmed, windows
from llm.tasks.image_heads import is_independent, label_names, scores_of
from llm.tasks.media import Meaning, classified
from llm.tasks.text_outputs import (
    Entities,
    FoundAnswer,
    FoundAnswers,
    LabelledPart,
    TextClasses,
    TokenLabel,
    entities_of,
    is_inside_word,
)

STRIDE_TOKENS = 64
"""Tokens that neighbouring windows share where entities are looked for: what is cut in one is whole in the other."""
QA_WINDOW_TOKENS, QA_STRIDE_TOKENS, QUESTION_TOKENS = 384, 128, 64
"""As SQuAD's models were trained (google-research/bert, run_squad.py: max_seq_length, doc_stride, max_query_length)."""
_CANDIDATES = 20
BATCH_TOKENS = 2048
"""Tokens that go through at once. Only windows of one length share a batch: padding costs more than it saves on a CPU
(huggingface/transformers#11251)."""


def classify(head: HeadModel, texts: Sequence[str], cancel: Cancel | None = None) -> list[TextClasses]:
    """The labels of each text. A long one goes through in windows, whose scores count by their number of tokens."""
    found = [windows(head, text) for text in texts]
    logits = _logits(head, [window for one in found for window in one], cancel)
    names = label_names(head.config, logits.shape[-1])
    scores = scores_of(logits, head.config)
    meaning: Meaning = "sigmoid" if is_independent(head.config, logits.shape[-1]) else "softmax"
    results, at = [], 0
    for one in found:
        own = scores[at : at + len(one)]
        at += len(one)
        weights = [max(1, window.special.count(False)) for window in one]
        labelled = [_labelled(window, row, names) for window, row in zip(one, own, strict=True)]
        mean = np.average(own, axis=0, weights=weights)
        results.append(TextClasses(classified(names, mean, meaning), tuple(labelled) if len(one) > 1 else ()))
    return results


def _labelled(window: Window, scores: np.ndarray, names: Sequence[str]) -> LabelledPart:
    spans = [span for span, special in zip(window.offsets, window.special, strict=True) if not special]
    best = int(scores.argmax())
    return LabelledPart(spans[0][0], spans[-1][1], names[best], float(scores[best]))


def _logits(head: HeadModel, found: Sequence[Window], cancel: Cancel | None) -> Any:
    """Logits of shape (windows, labels); windows of one length go through together, the longest first."""
    import torch

    rows: list[Any] = [None] * len(found)
    order = sorted(range(len(found)), key=lambda at: -len(found[at].ids))
    while order:
        _check(cancel)
        length = len(found[order[0]].ids)
        count = max(1, BATCH_TOKENS // length)
        batch = [at for at in order[:count] if len(found[at].ids) == length]
        order = order[len(batch) :]
        inputs = [found[at].inputs() for at in batch]
        with head.lock:
            logits = head.forward(**{name: torch.cat([one[name] for one in inputs]) for name in inputs[0]}).logits
        for at, row in zip(batch, logits.float().cpu(), strict=True):
            rows[at] = row
    return torch.stack(rows)


def find_entities(head: HeadModel, text: str, cancel: Cancel | None = None) -> Entities:
    """Entities with their places. In overlaps, each token is taken from the window where it has most context."""
    room = limit_tokens(head.reader, head.config)
    best: dict[tuple[int, int], tuple[int, int, int, float]] = {}
    for number, window in enumerate(windows(head, text, stride=min(STRIDE_TOKENS, room // 4))):
        _check(cancel)
        with head.lock:
            logits = head.forward(**window.inputs()).logits[0]
        shares = logits.float().softmax(-1).cpu().numpy()
        kinds = shares.argmax(1)
        for at, span in enumerate(window.offsets):
            if window.special[at] or span[1] <= span[0]:
                continue
            context = min(at, len(window.ids) - 1 - at)
            known = best.get(span)
            # Several tokens of one character have one place: within a window, the first of them counts.
            if known is None or (known[1] != number and context > known[0]):
                best[span] = (context, number, int(kinds[at]), float(shares[at, kinds[at]]))
    names = label_names(head.config, head.config.num_labels)
    tokens, last_end = [], None
    for (start, end), (_, _, kind, score) in sorted(best.items()):
        tokens.append(TokenLabel(start, end, names[kind], score, is_inside_word(text, last_end, start)))
        last_end = end
    return Entities(text, entities_of(text, tokens), tuple(tokens))


def cut_question(head: HeadModel, question: str) -> str:
    """A question cut, by characters, to what leaves most of a window to the text."""
    room = min(QA_WINDOW_TOKENS, limit_tokens(head.reader, head.config))
    limit = min(QUESTION_TOKENS, room // 2)
    with head.lock:
        offsets = head.reader(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return question if len(offsets) <= limit else question[: offsets[limit - 1][1]]


def question_windows(head: HeadModel, question: str, context: str) -> list[Window]:
    """Windows over the context, the question at the beginning of each."""
    room = min(QA_WINDOW_TOKENS, limit_tokens(head.reader, head.config))
    with head.lock:
        asked = len(head.reader(question, add_special_tokens=False)["input_ids"])
        free = room - asked - head.reader.num_special_tokens_to_add(pair=True)
    return windows(head, question, context, stride=min(QA_STRIDE_TOKENS, max(0, free // 2)), most=room)


def find_answers(
    head: HeadModel,
    question: str,
    context: str,
    top_k: int = 3,
    max_chars: int = 120,
    may_have_none: bool = False,
    cancel: Cancel | None = None,
) -> FoundAnswers:
    """Where the context answers a question. Scores are one softmax over the best stretches of all windows and "none".

    Args:
        max_chars: longest answer. may_have_none: for models trained on questions without an answer (SQuAD 2): says so
            where none is likelier than the best.
    """
    spans: dict[tuple[int, int], float] = {}
    null = np.inf
    for window in question_windows(head, question, context):
        _check(cancel)
        with head.lock:
            output = head.forward(**window.inputs())
        starts, ends = (logits[0].float().cpu().numpy() for logits in (output.start_logits, output.end_logits))
        cls = head.reader.cls_token_id
        none_at = window.ids.index(cls) if cls in window.ids else 0
        null = min(null, float(starts[none_at] + ends[none_at]))
        inside = [at for at, number in enumerate(window.sequence) if number == 1]
        for first in sorted(inside, key=lambda at: -starts[at])[:_CANDIDATES]:
            for last in sorted(inside, key=lambda at: -ends[at])[:_CANDIDATES]:
                start, end = trimmed(context, window.offsets[first][0], window.offsets[last][1])
                if last >= first and start < end <= start + max_chars:
                    # The same stretch in two windows is one answer: the better of both, not their sum.
                    value = float(starts[first] + ends[last])
                    spans[start, end] = max(spans.get((start, end), -np.inf), value)
    best = sorted(spans.items(), key=lambda item: -item[1])[: max(_CANDIDATES, top_k)]
    values = np.array([value for _, value in best] + [null])
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    answers = tuple(
        FoundAnswer(context[start:end], start, end, float(share))
        for ((start, end), _), share in zip(best[:top_k], shares[:top_k], strict=False)
    )
    refused = may_have_none and (not best or null > best[0][1])
    return FoundAnswers(context, answers, float(shares[-1]), refused)


def _check(cancel: Cancel | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled(what="The work")
