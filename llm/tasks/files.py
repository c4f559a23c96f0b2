"""One job over many pictures or recordings, in the background; and its rows as CSV, JSON, COCO or mask PNGs.

A file that cannot be read is a row that says why. Masks are kept beside the job, not in its record.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm.catalogue.lookup import find
from llm.errors import Cancelled, ModelError
from llm.jobs import Job, error_fields
from llm.tasks.media import PICTURE_TASKS, Boxes, Classified, Masks, MediaRun, run_picture, run_sound
from llm.tasks.sound_heads import TimeLine
from llm.vision.sheet import as_csv

_KEPT_CLASSES = 20
_KEPT_SPANS = 20_000


def run(job: Job) -> dict[str, Any]:
    """Does `task` with `model` for each input; goes on after the rows that are there.

    The result is `rows`: {file, ...} with what `_row` tells, or with error_code, error_values, error_text.
    """
    rows: list[dict[str, Any]] = list(job.result.get("rows", []))
    entry = find(job.params["model"])
    task = job.params["task"]
    given = job.inputs
    for number, (name, path) in list(enumerate(given))[len(rows) :]:
        if job.cancel.is_set():
            raise Cancelled(what=name)
        job.progress(number, len(given), "files")
        try:
            if task in PICTURE_TASKS:
                done = run_picture(path.read_bytes(), entry, name)
            else:
                done = run_sound(path.read_bytes(), entry, name, job.cancel)
            rows.append({"file": name, **_row(done, job.folder / "masks", number)})
        except Cancelled:
            raise
        except ModelError as error:
            rows.append({"file": name, **error_fields(error)})
        job.keep(rows=rows)
    job.progress(len(given), len(given), "files")
    return {"rows": rows}


def _row(done: MediaRun, masks: Path, number: int) -> dict[str, Any]:
    """An answer as JSON: `labels` and `scores`, with `boxes`, `masks` or `spans_s` where there are such."""
    output = done.output
    size = {"width": done.image.width, "height": done.image.height} if done.image is not None else {}
    if isinstance(output, Classified):
        best = output.best(_KEPT_CLASSES)
        return {**size, "labels": [label for label, _ in best], "scores": [round(score, 5) for _, score in best]}
    if isinstance(output, Boxes):
        boxes = [[round(float(side), 1) for side in box] for box in output.boxes]
        return {**size, "labels": list(output.labels), "scores": _rounded(output.scores), "boxes": boxes}
    if isinstance(output, Masks):
        return {**size, **_mask_row(output, masks, number)}
    return _sound_row(output)


def _mask_row(output: Masks, masks: Path, number: int) -> dict[str, Any]:
    from PIL import Image

    masks.mkdir(exist_ok=True)
    for at, part in enumerate(output.parts):
        Image.fromarray(part.mask.astype(np.uint8) * 255).convert("1").save(masks / f"{number}-{at}.png")
    return {
        "labels": [part.label for part in output.parts],
        "scores": [part.score for part in output.parts],
        "areas": [int(part.mask.sum()) for part in output.parts],
    }


def _sound_row(output: TimeLine) -> dict[str, Any]:
    means = output.means
    order = np.argsort(-means, kind="stable")[:_KEPT_CLASSES]
    best = output.scores.argmax(1)
    spans = [
        [round(start, 3), round(end, 3), output.labels[int(kind)]]
        for (start, end), kind in zip(output.spans_s, best, strict=True)
    ]
    return {
        "labels": [output.labels[int(at)] for at in order],
        "scores": _rounded(means[order]),
        "spans_s": _joined(spans)[:_KEPT_SPANS],
    }


def _joined(spans: list[list[Any]]) -> list[list[Any]]:
    """Neighbours of one label as one stretch."""
    found: list[list[Any]] = []
    for start, end, label in spans:
        if found and found[-1][2] == label and start <= found[-1][1] + 1e-6:
            found[-1][1] = end
        else:
            found.append([start, end, label])
    return found


def _rounded(scores: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(score), 5) for score in scores]


Rows = Sequence[Mapping[str, Any]]


def rows_as_csv(rows: Rows) -> bytes:
    """A line for each label of each file, with box or stretch where there is one; a line for each that failed."""
    lines = [["file", "label", "score", "left", "top", "right", "bottom", "start_s", "end_s", "error"]]
    for row in rows:
        if "error_code" in row:
            lines.append([row["file"], *[""] * 8, row["error_text"]])
        elif "spans_s" in row:
            lines += [[row["file"], span[2], *[""] * 5, str(span[0]), str(span[1]), ""] for span in row["spans_s"]]
        else:
            boxes = row.get("boxes", [[""] * 4] * len(row["labels"]))
            for label, score, box in zip(row["labels"], row["scores"], boxes, strict=True):
                lines.append([row["file"], label, "" if score is None else str(score), *map(str, box), "", "", ""])
    return as_csv(lines)


def rows_as_json(rows: Rows) -> bytes:
    """All rows as they are."""
    return json.dumps(list(rows), ensure_ascii=False, indent=1).encode()


def rows_as_coco(rows: Rows) -> bytes:
    """Boxes in COCO's format of annotations (https://cocodataset.org/#format-data): x, y, width, height."""
    labels = sorted({label for row in rows for label in row.get("labels", ()) if "boxes" in row})
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        if "boxes" not in row:
            continue
        images.append({"id": number, "file_name": row["file"], "width": row["width"], "height": row["height"]})
        for label, score, (left, top, right, bottom) in zip(row["labels"], row["scores"], row["boxes"], strict=True):
            width, height = round(right - left, 1), round(bottom - top, 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": labels.index(label) + 1,
                    "bbox": [left, top, width, height],
                    "area": round(width * height, 1),
                    "score": score,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": at, "name": label} for at, label in enumerate(labels, start=1)]
    found = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(found, ensure_ascii=False, indent=1).encode()


def masks_as_zip(rows: Rows, folder: Path) -> bytes:
    """The masks of a job's folder as PNGs named by file and label, white where the label is."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, row in enumerate(rows):
            for at, label in enumerate(row.get("labels", ())):
                path = folder / "masks" / f"{number}-{at}.png"
                if path.is_file():
                    stem = Path(row["file"].replace("\\", "/")).stem or "picture"
                    archive.writestr(f"{number + 1:04d}-{stem}-{label.replace('/', '-')}.png", path.read_bytes())
    return stream.getvalue()
