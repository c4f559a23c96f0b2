"""Answers of /v1/responses that are kept so that the next request can go on from them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

from fastapi import Request

from llm.config import config
from llm.errors import UnknownResponse
from llm.files import write_whole

KEPT = 1000
"""The oldest goes when there are more."""
KEPT_S = 30 * 24 * 3600
"""For as long as OpenAI keeps them."""


def caller_of(request: Request) -> str:
    """Whose answers a request may see: those of its own key, or of this machine's people."""
    if request.scope["state"]["local"]:
        return "local"
    sent = request.headers.get("authorization", "").partition(" ")[2] or request.headers.get("x-api-key", "")
    return hashlib.sha256(sent.strip().encode("utf-8", "surrogateescape")).hexdigest()


class KeptResponses:
    """A file for each answer, readable by this user alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def keep(self, response: dict[str, Any], given: list[dict[str, Any]], caller: str) -> None:
        """Keeps an answer with the whole conversation that it was given."""
        kept = {"caller": caller, "given": given, "response": response}
        write_whole(self._path(response["id"]), json.dumps(kept, ensure_ascii=False), private=True)
        with self._lock:
            self._let_go()

    def response(self, response_id: str, caller: str) -> dict[str, Any]:
        """
        Raises:
            UnknownResponse: there is none of that id, or it is another caller's.
        """
        found: dict[str, Any] = self._read(response_id, caller)["response"]
        return found

    def given(self, response_id: str, caller: str) -> list[dict[str, Any]]:
        """The items that the answer was given. Raises: UnknownResponse."""
        found: list[dict[str, Any]] = self._read(response_id, caller)["given"]
        return found

    def conversation(self, response_id: str, caller: str) -> list[dict[str, Any]]:
        """What the answer was given, and the answer. Raises: UnknownResponse."""
        kept = self._read(response_id, caller)
        return [*kept["given"], *kept["response"]["output"]]

    def forget(self, response_id: str, caller: str) -> None:
        """Raises: UnknownResponse."""
        self._read(response_id, caller)
        self._path(response_id).unlink(missing_ok=True)

    def _read(self, response_id: str, caller: str) -> dict[str, Any]:
        try:
            if not re.fullmatch(r"resp_[0-9a-f]{32}", response_id):
                raise FileNotFoundError(response_id)
            kept: dict[str, Any] = json.loads(self._path(response_id).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UnknownResponse(id=response_id[:64]) from error
        if kept["caller"] != caller:
            raise UnknownResponse(id=response_id)
        return kept

    def _let_go(self) -> None:
        files = sorted(self._folder().glob("resp_*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        oldest = time.time() - KEPT_S
        for index, file in enumerate(files):
            if index >= KEPT or file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)

    @staticmethod
    def _folder() -> Path:
        return config().home / "responses"

    def _path(self, response_id: str) -> Path:
        return self._folder() / f"{response_id}.json"
