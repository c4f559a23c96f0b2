"""Vectors of a base's passages: made in the background, kept as float16, compared exactly in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llm.cancel import Cancel
from llm.errors import Cancelled, MessageTooLong, ModelError
from llm.jobs import Job
from llm.knowledge.library import Library
from llm.runtime import handles
from llm.runtime.embedding_model import prepared
from llm.runtime.protocols import Embedder

_BATCH = 16
_KEPT = 4
"""Bases whose vectors stay in memory."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The vectors of a base: ids of shape (n,), vectors of length one of shape (n, d)."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]


def make(library: Library, base_id: str, job: Job) -> int:
    """Makes the vectors that a base lacks; how many. The base answers by these once all are there."""
    base = library.base(base_id)
    if not base.embedder:
        return 0
    missing = library.without_vector(base_id, base.embedder)
    made = 0
    if missing:
        try:
            model = handles.embedder(base.embedder)
        except ModelError as error:  # words go on answering
            job.log(f"{base.embedder}: {error}")
            return 0
        for start in range(0, len(missing), _BATCH):
            if job.cancel.is_set():
                raise Cancelled(what=base.name)
            part = missing[start : start + _BATCH]
            found = _embedded(model, [text for _, text in part], job.cancel)
            library.keep_vectors(base.embedder, [(key, row) for (key, _), row in zip(part, found, strict=True)])
            made += len(part)
            job.progress(made, len(missing), "passages", "vectors")
    library.mark_indexed(base_id, base.embedder)
    return made


def _embedded(model: Embedder, texts: list[str], cancel: Cancel) -> list[bytes]:
    try:
        rows, _ = model.embed(prepared(model.entry, texts, "passage"), cancel)
    except MessageTooLong as error:
        if len(texts) > 1:
            return [vector for text in texts for vector in _embedded(model, [text], cancel)]
        # The estimate was too low: the passage's beginning stands for it.
        keep = error.values["context_tokens"] / max(error.values["prompt_tokens"], 1)
        return _embedded(model, [texts[0][: int(len(texts[0]) * keep * 0.9)]], cancel)
    return [np.asarray(row, np.float16).tobytes() for row in rows]


def embedded_question(model_id: str, question: str, cancel: Cancel | None = None) -> NDArray[np.float32]:
    """The vector of a question. Raises as `handles.embedder`."""
    model = handles.embedder(model_id)
    rows, _ = model.embed(prepared(model.entry, [question], "query"), cancel)
    return np.asarray(rows[0], np.float32)


def background(model_id: str, near: NDArray[np.float32], asked: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and spread of how near texts are to a question that have nothing to do with it.

    Most of a base's passages are such texts. For a small one, sentences of everyday life stand in.
    """
    if len(near) < _FEW:
        near = _everyday(model_id) @ asked
    return float(near.mean()), float(near.std()) or 1.0


_FEW = 100
_EVERYDAY = (
    "The train to the coast leaves at nine.", "She planted tomatoes behind the house.", "Sales fell in spring.",
    "The orchestra plays on Sunday evening.", "Close the window before you leave.", "Water boils at 100 degrees.",
    "The court adjourned until Monday.", "He scored twice in the second half.", "Stir for five minutes.",
    "The bridge was built in 1932.", "Our office moves to the fourth floor.", "The cat sleeps on the stove.",
    "今天下午有雨，请带伞。", "他在院子里种了几棵桃树。", "公司春季销售额下降。", "音乐会定于周日晚上举行。",
    "离开前请关好门窗。", "水在一百摄氏度沸腾。", "法院宣布下周一继续开庭。",
    "他在下半场攻入两球。", "加入少许盐，搅拌五分钟。", "这座桥建于一九三二年。", "办公室将搬到四楼。",
    "小猫睡在暖和的炉子上。",
)  # fmt: skip
"""Twelve sentences, in both languages."""


@lru_cache(maxsize=4)
def _everyday(model_id: str) -> NDArray[np.float32]:
    model = handles.embedder(model_id)
    rows, _ = model.embed(prepared(model.entry, _EVERYDAY, "passage"))
    return np.asarray(rows, np.float32)


_cache: dict[tuple[str, str], tuple[int, Matrix]] = {}
_lock = threading.Lock()


def matrix(library: Library, base_id: str) -> Matrix | None:
    """The vectors of a base by the model that has indexed it; None while there are none. Raises NotFound."""
    base = library.base(base_id)
    model = base.indexed_by or base.embedder
    if not model:
        return None
    with _lock:
        kept = _cache.get((base_id, model))
        if kept is not None and kept[0] == base.version:
            return kept[1]
    rows = library.vectors(base_id, model)
    if not rows:
        return None
    ids = np.array([row_id for row_id, _ in rows], np.int64)
    found = np.frombuffer(b"".join(vector for _, vector in rows), np.float16).reshape(len(rows), -1)
    made = Matrix(ids, found.astype(np.float32))
    with _lock:
        while len(_cache) >= _KEPT:
            _cache.pop(next(iter(_cache)))
        _cache[base_id, model] = (base.version, made)
    return made
