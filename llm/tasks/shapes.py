"""Answers in the shape that transformers' pipelines gave them: a script that used `pipeline()` changes one line."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from llm.tasks.media import Boxes, Classified, Masks, MediaRun
from llm.tasks.registry import TASKS
from llm.tasks.running import Run
from llm.tasks.text_outputs import Entities, Fillings, FoundAnswers, TextClasses, TextRun


def as_pipeline(run: Run) -> Any:
    """Lists of rows, as JSON. Masks are PNGs in base64, as the hub's inference API has them.

    What a model does not give is null: the score of an entity that a chat model named.
    """
    if isinstance(run, TextRun):
        return _text(run)
    return _media(run)


def _text(run: TextRun) -> Any:
    output = run.output
    if isinstance(output, TextClasses):
        return _classes(output.classes)
    if isinstance(output, Entities):
        return [
            {
                "entity_group": one.label,
                "score": one.score,
                "word": output.text[one.start : one.end],
                "start": one.start,
                "end": one.end,
            }
            for one in output.entities
        ]
    if isinstance(output, FoundAnswers):
        rows = [{"score": a.score, "start": a.start, "end": a.end, "answer": a.text} for a in output.answers]
        if output.no_answer:
            rows.insert(0, {"score": output.no_answer_score, "start": 0, "end": 0, "answer": ""})
        return rows
    if isinstance(output, Fillings):
        gaps = [
            [{"score": w.score, "token": w.token, "token_str": w.word, "sequence": w.sequence} for w in words]
            for words in output.words
        ]
        return gaps[0] if len(gaps) == 1 else gaps
    return [{TASKS[run.task].text_key: output.text}]


def _media(run: MediaRun) -> Any:
    output = run.output
    if isinstance(output, Classified):
        return _classes(output)
    if isinstance(output, Boxes):
        names = ("xmin", "ymin", "xmax", "ymax")
        return [
            {"score": score, "label": label, "box": dict(zip(names, (round(float(side)) for side in box), strict=True))}
            for label, score, box in zip(output.labels, output.scores, output.boxes, strict=True)
        ]
    if isinstance(output, Masks):
        return [{"score": part.score, "label": part.label, "mask": _png(part.mask)} for part in output.parts]
    order = np.argsort(-output.means, kind="stable")
    return [{"score": float(output.means[at]), "label": output.labels[at]} for at in order]


def _classes(classes: Classified) -> list[Mapping[str, Any]]:
    return [{"label": label, "score": score} for label, score in zip(classes.labels, classes.scores, strict=True)]


def _png(mask: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
