"""Files that callers have sent for later use: a folder for each, seen by its own caller only."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llm.config import config
from llm.errors import InvalidRequest, NotFound
from llm.files import write_whole

MOST_FILES = 500
MOST_BYTES = 4 << 30
"""Of one caller; further files are refused until some are deleted."""
MOST_NAME = 200


@dataclass(frozen=True, slots=True)
class KeptFile:
    """What is known of a file. Times are seconds since 1970; expires_at 0 is never."""

    id: str
    caller: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: int = 0

    @property
    def path(self) -> Path:
        return _folder() / self.id / "content"

    def to_openai(self) -> dict[str, Any]:
        """As OpenAI's clients read it. It is checked when it is used, so it counts as processed at once."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "expires_at": self.expires_at or None,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


_keeping = threading.Lock()


def keep_file(source: BinaryIO, filename: str, purpose: str, caller: str, expires_s: int = 0) -> KeptFile:
    """Keeps what a stream holds.

    Raises:
        InvalidRequest: the caller has too many files, or too much in them.
        OSError: the disk is full or cannot be written.
    """
    now = time.time()
    name = Path(filename.replace("\\", "/")).name[-MOST_NAME:] or "file"
    file_id = f"file-{uuid.uuid4().hex}"
    folder = _folder() / file_id
    folder.mkdir(parents=True)
    try:
        with (folder / "content").open("wb") as kept:
            shutil.copyfileobj(source, kept, 1 << 20)
            size = kept.tell()
        with _keeping:
            others = kept_files(caller)
            if len(others) >= MOST_FILES or sum(file.bytes for file in others) + size > MOST_BYTES:
                raise InvalidRequest(
                    detail=f"at most {MOST_FILES} files and {MOST_BYTES >> 30} GiB are kept for a caller; delete some"
                )
            found = KeptFile(file_id, caller, name, purpose, size, now, int(now) + expires_s if expires_s else 0)
            write_whole(folder / "file.json", json.dumps(asdict(found), ensure_ascii=False), private=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return found


def kept_files(caller: str) -> list[KeptFile]:
    """That caller's files, the newest first; those whose time is over go."""
    found = [file for path in _folder().glob("file-*/file.json") if (file := _read(path)) and file.caller == caller]
    return sorted(found, key=lambda file: file.created_at, reverse=True)


def kept_file(file_id: str, caller: str) -> KeptFile:
    """
    Raises:
        NotFound: there is none of that id, or it is another caller's.
    """
    known = re.fullmatch(r"file-[0-9a-f]{32}", file_id)
    found = _read(_folder() / file_id / "file.json") if known else None
    if found is None or found.caller != caller:
        raise NotFound(what="file", id=file_id[:64])
    return found


def forget_file(file_id: str, caller: str) -> None:
    """Raises: NotFound."""
    shutil.rmtree(kept_file(file_id, caller).path.parent, ignore_errors=True)


def _read(path: Path) -> KeptFile | None:
    try:
        found = KeptFile(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if found.expires_at and found.expires_at <= time.time():
        shutil.rmtree(path.parent, ignore_errors=True)
        return None
    return found


def _folder() -> Path:
    return config().home / "files"
