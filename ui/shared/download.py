"""A download as a page shows it, wherever it was begun."""

from __future__ import annotations

from llm.catalogue.entry import ModelEntry
from llm.sources import downloads
from ui.shared.i18n import t
from ui.shared.jobs import job_card


def download_progress(entry: ModelEntry) -> None:
    """How far a model's download is, live; after a failure also how to do without it."""
    job = downloads.get(entry.id)
    if job is not None:
        job_card(job.id, removable=False, hint=t("download.by_hand", model=entry.name))


def begin_download(model_id: str) -> None:
    """Callback: starts or goes on with a download."""
    downloads.start(model_id)
