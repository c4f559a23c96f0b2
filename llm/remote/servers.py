"""Other servers as a source of models: what they run becomes entries of the catalogue.

Keys lie apart from the entries, readable by this user alone, and never show in a page, an error or a log.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llm.catalogue import lookup
from llm.catalogue.entry import Ability, ModelEntry, Task, task_by_name, task_of
from llm.config import config
from llm.errors import InvalidRequest, RemoteFailed
from llm.files import write_whole

_ANY: frozenset[Ability] = frozenset({"text", "image", "tools", "json"})


def add_server(name: str, base_url: str, key: str = "") -> list[ModelEntry]:
    """Asks a server for its models and adds each as `name/model`; calling it again brings the list up to date.

    Raises:
        As `look`.
    """
    found = look(name, base_url, key)
    keep_server(name, base_url, key, found)
    return found


def look(name: str, base_url: str, key: str = "") -> list[ModelEntry]:
    """What a server runs, as entries `name/model`; nothing is kept.

    Args:
        base_url: as OpenAI's clients want it, mostly ending in `/v1`.

    Raises:
        InvalidRequest: the name or the address cannot be one.
        NoNetwork, RemoteFailed, Busy: see `llm.remote.client`.
    """
    from llm.remote.client import Call, Server, fetched

    base_url = base_url.strip().rstrip("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name):
        raise InvalidRequest(detail="a server's name is letters, digits, dots and dashes", param="name")
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise InvalidRequest(detail="the address must be like http://host:8000/v1", param="base_url")
    server = Server(base_url, key, silence_s=30)
    answer = fetched(server, Call("/models", method="GET"))
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise RemoteFailed(server=server.name, detail="it does not list models as OpenAI's servers do")
    return [_entry(name, base_url, row) for row in rows]


def keep_server(name: str, base_url: str, key: str, found: list[ModelEntry]) -> None:
    """Puts a server's models, as `look` found them, into the catalogue in place of those there were; keeps its key."""
    _keep_key(base_url.strip().rstrip("/"), key)
    for old in entries_of(name):
        if old.id not in {entry.id for entry in found}:
            lookup.forget(old.id)
    for entry in found:
        lookup.add(entry)


def forget_server(name: str) -> None:
    """Takes a server's models away, and its key unless another server of that address needs it."""
    for entry in entries_of(name):
        lookup.forget(entry.id)
        if entry.base_url not in servers().values():
            _keep_key(entry.base_url, "")


def entries_of(name: str) -> list[ModelEntry]:
    """The models of one server, as they were when it was last asked."""
    return [entry for entry in lookup.own_entries() if entry.is_remote and entry.id.startswith(f"{name}/")]


def servers() -> dict[str, str]:
    """Name and address of each server that was added."""
    return {entry.id.split("/", 1)[0]: entry.base_url for entry in lookup.own_entries() if entry.is_remote}


def key_of(base_url: str) -> str:
    return _keys().get(base_url, "")


def _entry(name: str, base_url: str, row: dict[str, Any]) -> ModelEntry:
    """A Hearth says what its models can; of others the name is all there is, and they say no where they can't."""
    remote_id = str(row["id"])
    task = task_of(str(row.get("task"))) or task_by_name(remote_id)
    abilities = frozenset(row.get("abilities") or ()) or _abilities_of(task)
    context = row.get("context_tokens") or row.get("max_model_len") or (row.get("meta") or {}).get("n_ctx_train") or 0
    return ModelEntry(
        id=f"{name}/{remote_id}",
        name=f"{remote_id} ({name})",
        task=task,
        family="remote",
        engine="openai",
        context_tokens=int(context),
        abilities=abilities,
        base_url=base_url,
        remote_id=remote_id,
        own=True,
    )


def _abilities_of(task: Task) -> frozenset[Ability]:
    kinds: dict[str, frozenset[Ability]] = {
        "automatic-speech-recognition": frozenset({"audio"}),
        "feature-extraction": frozenset({"embeddings"}),
    }
    return kinds.get(task, _ANY)


def _path() -> Path:
    return config().home / "server_keys.json"


def _keys() -> dict[str, str]:
    try:
        keys: dict[str, str] = json.loads(_path().read_text(encoding="utf-8"))
        return keys
    except FileNotFoundError:
        return {}


def _keep_key(base_url: str, key: str) -> None:
    keys = {url: value for url, value in _keys().items() if url != base_url}
    if key:
        keys[base_url] = key
    write_whole(_path(), json.dumps(keys), private=True)
