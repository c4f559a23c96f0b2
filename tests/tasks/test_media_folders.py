"""Picture checkpoints in a folder of the visitor's own do their job, whichever head they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import llm.tasks
from llm.runtime import handles
from tests.tasks.test_image_heads import _noise, _segformer, _vit, _yolos


@pytest.mark.parametrize(
    ("task", "made"),
    [("image-classification", _vit), ("object-detection", _yolos), ("image-segmentation", _segformer)],
)
def test_a_folder_tells_its_job_and_does_it(tmp_path: Path, task: str, made: Any) -> None:
    model, processor = made()
    model.save_pretrained(tmp_path / "m")
    processor.save_pretrained(tmp_path / "m")
    run: Any = llm.tasks.run(task, _noise(50, 40), model=tmp_path / "m")
    output = run.output
    assert run.image.size == (50, 40)
    labels = output.labels if hasattr(output, "labels") else [part.label for part in output.parts]
    assert set(labels) <= {"cat", "dog", "class 2"}
    if hasattr(output, "parts"):
        assert sum(int(part.mask.sum()) for part in output.parts) == 50 * 40
    handles.registry().close_all()
