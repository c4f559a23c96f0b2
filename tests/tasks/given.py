"""The catalogue's small networks in a test's data folder."""

from __future__ import annotations

from pathlib import Path

from llm.catalogue.lookup import find
from tests.conftest import fetched


def give_network(home: Path, model_id: str) -> None:
    """Puts a network into a data folder without copying it."""
    file = fetched(model_id)
    folder = home / "models" / model_id
    folder.mkdir(parents=True)
    (folder / find(model_id).file).symlink_to(file)
