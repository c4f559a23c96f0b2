"""A local server that speaks as much of the Hugging Face and ModelScope hubs as their client libraries ask for.

It serves repositories out of memory and misbehaves on demand. Each fault is used up by one answer.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Fault:
    """status: answer with this code. drop_after: cut the connection after so many bytes. body: send this instead."""

    status: int = 0
    drop_after: int = -1
    body: bytes | None = None


@dataclass
class Hub:
    """What is served. `large`: names that are in LFS. `bytes_s`: speed limit of file bodies."""

    files: dict[str, bytes]
    repo: str = "people/model"
    token: str = ""
    bytes_s: float = 0.0
    large: tuple[str, ...] = (".safetensors", ".bin", ".gguf")
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range header) in order."""
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of body sent, by file."""
    url: str = ""

    def is_large(self, name: str) -> bool:
        return name.endswith(self.large)

    def huggingface_tree(self) -> list[dict]:
        return [
            {
                "type": "file",
                "path": name,
                "size": len(body),
                "oid": git_hash(body),
                **(
                    {"lfs": {"oid": sha256(body), "size": len(body), "pointerSize": 130}} if self.is_large(name) else {}
                ),
            }
            for name, body in self.files.items()
        ]

    def modelscope_files(self) -> list[dict]:
        return [
            {"Path": name, "Name": name.split("/")[-1], "Type": "blob", "Size": len(body), "Sha256": sha256(body)}
            for name, body in self.files.items()
        ]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def git_hash(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Starts serving; `hub.url` says where. `shutdown()` and `server_close()` end it."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
        repo = self.hub.repo
        if path == f"/api/v1/models/{repo}/repo":
            self._file(query["FilePath"][0])
        elif path.startswith(f"/{repo}/resolve/"):
            self._file(path.split("/", 5)[5])
        elif path.startswith("/api/") and self._refused("api"):
            return
        elif path == f"/api/v1/models/{repo}/repo/files":
            self._json({"Code": 200, "Success": True, "Data": {"Files": self.hub.modelscope_files()}})
        elif path.startswith(f"/api/models/{repo}/revision/") or path == f"/api/models/{repo}":
            self._json({"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.hub.files]})
        elif path.startswith(f"/api/models/{repo}/tree/"):
            self._json(self.hub.huggingface_tree())
        else:
            self._json({"error": "Repository not found", "Code": 10010205001, "Message": "not found"}, 404)

    def _refused(self, name: str) -> bool:
        """Answers with a token's absence or a waiting fault, if there is one."""
        authorised = self.hub.token in self.headers.get("Authorization", "") + self.headers.get("Cookie", "")
        if self.hub.token and not authorised:
            self._json({"error": "Access to this model is restricted.", "Message": "no access"}, 403)
            return True
        if self.command == "GET" and self.hub.faults[name] and self.hub.faults[name][0].status:
            self._json({"error": "fault", "Message": "fault"}, self.hub.faults[name].pop(0).status)
            return True
        return False

    def _file(self, name: str) -> None:
        if name not in self.hub.files:
            self._json({"error": "Entry not found"}, 404)
            return
        if self._refused(name):
            return
        body = self.hub.files[name]
        etag = sha256(body) if self.hub.is_large(name) else git_hash(body)
        fault = Fault()
        if self.command == "GET" and self.hub.faults[name]:
            fault = self.hub.faults[name].pop(0)
        if fault.body is not None:
            body = fault.body
        start = 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if self.hub.is_large(name):
            self.send_header("X-Linked-Etag", f'"{sha256(self.hub.files[name])}"')
            self.send_header("X-Linked-Size", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self._send(name, body[start:], fault)

    def _send(self, name: str, body: bytes, fault: Fault) -> None:
        end = fault.drop_after if fault.drop_after >= 0 else len(body)
        try:
            for at in range(0, end, 65536):
                block = body[at : min(at + 65536, end)]
                self.wfile.write(block)
                self.hub.sent[name] += len(block)
                if self.hub.bytes_s:
                    time.sleep(len(block) / self.hub.bytes_s)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if fault.drop_after >= 0:
            self.close_connection = True
            self.connection.close()

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
