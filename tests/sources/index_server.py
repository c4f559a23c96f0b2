"""A local package index over HTTP, in the simple form that pip reads, with wheels made in memory."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Index:
    """wheels: project name -> wheel's bytes. `bytes_s`: speed limit. `served`: how often each wheel was asked for.

    refusals: so many requests are answered with 503. drops: so many wheels are cut in the middle.
    """

    wheels: dict[str, bytes] = field(default_factory=dict)
    bytes_s: float = 0.0
    served: Counter[str] = field(default_factory=Counter)
    url: str = ""
    refusals: int = 0
    drops: int = 0


def wheel(project: str, members: dict[str, bytes], version: str = "1.0") -> bytes:
    """A wheel that holds the members, stored uncompressed."""
    name = project.replace("-", "_")
    meta = f"{name}-{version}.dist-info"
    files = {
        **members,
        f"{meta}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode(),
        f"{meta}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{meta}/RECORD"] = "".join(f"{path},,\n" for path in files).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, body in files.items():
            archive.writestr(path, body)
    return buffer.getvalue()


def serve(index: Index) -> ThreadingHTTPServer:
    class Handler(_Handler):
        pass

    Handler.index = index
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    index: Index

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.strip("/").split("/")[-1]
        if self.index.refusals:
            self.index.refusals -= 1
            self.send_error(503)
            return
        if name.endswith(".whl"):
            self._wheel(name)
        elif name in self.index.wheels:
            file = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
            digest = hashlib.sha256(self.index.wheels[name]).hexdigest()
            page = f'<html><body><a href="/files/{file}#sha256={digest}">{file}</a></body></html>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        else:
            self.send_error(404)

    def _wheel(self, name: str) -> None:
        project = name.split("-")[0].replace("_", "-")
        body = self.index.wheels[project]
        self.index.served[project] += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.index.drops:
            self.index.drops -= 1
            body = body[: len(body) // 2]
        try:
            for at in range(0, len(body), 16384):
                self.wfile.write(body[at : at + 16384])
                if self.index.bytes_s:
                    time.sleep(16384 / self.index.bytes_s)
        except (BrokenPipeError, ConnectionResetError):
            return
