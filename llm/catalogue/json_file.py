"""Settings files of a model, read with a bound."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from llm.errors import CorruptModel

MAX_JSON_BYTES = 64 << 20


def read_json(path: Path) -> Any:
    """A JSON file's value.

    Raises:
        CorruptModel: it is missing, far too large for what it should be, or not JSON.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CorruptModel(path=str(path), detail="it is no file")
        if status.st_size > MAX_JSON_BYTES:
            raise CorruptModel(path=str(path), detail="it is too large to be a settings file")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CorruptModel(path=str(path.parent), detail=f"it has no {path.name}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptModel(path=str(path), detail=f"it is not valid JSON ({error})") from error
