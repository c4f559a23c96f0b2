"""Checking a model's files as a job: gigabytes are read, and nobody's page waits for it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llm.catalogue import library
from llm.errors import ModelNotThere
from llm.jobs import Job


def run(job: Job) -> dict[str, Any]:
    """Verifies the copy of `model` that lies at `path`; the result has the fields of `library.Check`.

    Raises:
        ModelNotThere: it was removed meanwhile.
        Cancelled: the job was.
    """
    for holding in library.holdings():
        for place in holding.places:
            if holding.entry.id == job.params["model"] and str(place.path) == job.params["path"]:
                told = lambda done, total: job.progress(done, total, "bytes")  # noqa: E731
                return asdict(library.verify(holding.entry, place, told, job.cancel))
    raise ModelNotThere(model=job.params["model"])
