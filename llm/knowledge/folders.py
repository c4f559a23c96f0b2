"""A folder as a source of documents: what is added, changed, renamed and removed in it is followed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llm.documents.kinds import EXTENSIONS
from llm.documents.source import Limits
from llm.knowledge import reading
from llm.knowledge.library import Library

MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """How many files of a folder became something else since the last look."""

    added: int = 0
    changed: int = 0
    renamed: int = 0
    removed: int = 0

    @property
    def any(self) -> bool:
        return bool(self.added or self.changed or self.renamed or self.removed)


def follow(library: Library, base_id: str, folder: Path) -> Change:
    """Brings a base's documents of a folder up to what is in it; what is new is read in the background.

    A renamed file keeps its document. Links are not followed, hidden files and kinds that nobody reads left out.

    Raises:
        NotFound: the base is not this person's.
    """
    root = folder.resolve()
    here = {str(path): _hash(path) for path in _files(root)}
    known = {one.path: one for one in library.documents(base_id) if one.path and Path(one.path).is_relative_to(root)}
    new = [path for path in here if path not in known]
    gone = {path: document for path, document in known.items() if path not in here}
    changed = [path for path in here if path in known and known[path].sha256 != here[path]]
    renamed = 0
    for path in list(new):
        before = next((old for old, document in gone.items() if document.sha256 == here[path]), None)
        if before is not None:
            library.move_document(gone.pop(before).id, Path(path).name, path)
            new.remove(path)
            renamed += 1
    for document in [*gone.values(), *(known[path] for path in changed)]:
        library.delete_document(document.id)
    for path in [*new, *changed]:
        library.add(base_id, Path(path).name, Path(path).read_bytes(), path)
    if new or changed:
        reading.start(library, base_id)
    return Change(len(new), len(changed), renamed, len(gone))


def _files(root: Path) -> Iterator[Path]:
    found = 0
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if hidden or path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(root):
            continue
        if path.suffix.lower().removeprefix(".") in EXTENSIONS and path.stat().st_size <= Limits().file_bytes:
            found += 1
            if found > MOST_FILES:
                return
            yield path


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
