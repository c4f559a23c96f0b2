"""Whether the places that models come from answer, and how fast. Short timeouts, all asked at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit, urlunsplit

from llm.config import config

TIMEOUT_S = 4.0
HUGGINGFACE = "https://huggingface.co"
HUGGINGFACE_MIRROR = "https://hf-mirror.com"
MODELSCOPE = "https://modelscope.cn"


@dataclass(frozen=True, slots=True)
class Reached:
    """latency_s: from the request to the first byte of the answer, name lookup and handshake included."""

    name: str
    url: str
    ok: bool
    latency_s: float = 0.0
    detail: str = ""


def places() -> list[tuple[str, str]]:
    """(name, address) of each place, as this machine is set up to use them."""
    hub = os.environ.get("HF_ENDPOINT") or HUGGINGFACE
    scope = os.environ.get("MODELSCOPE_DOMAIN") or MODELSCOPE
    found = [("Hugging Face", hub), ("Hugging Face mirror", HUGGINGFACE_MIRROR)]
    found.append(("ModelScope", scope if "://" in scope else f"https://{scope}"))
    index = config().pip_index_url or pip_index_url()
    if index:
        found.append(("Package index", index))
    return [(name, url) for number, (name, url) in enumerate(found) if url not in [u for _, u in found[:number]]]


def reach_all(timeout_s: float = TIMEOUT_S) -> list[Reached]:
    """Asks every place at once; takes about `timeout_s` at worst."""
    asked = places()
    with ThreadPoolExecutor(max_workers=max(1, len(asked))) as pool:
        return list(pool.map(lambda place: reach(place[0], place[1], timeout_s), asked))


def reach(name: str, url: str, timeout_s: float = TIMEOUT_S) -> Reached:
    """Asks one place for its front page's headers. Any HTTP answer below 500 means that it is there."""
    shown = address_only(url)
    if urlsplit(url).scheme not in ("http", "https"):
        return Reached(name, shown, False, detail="not an HTTP address")
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "hearth"})
    begin = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            pass
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            return Reached(name, shown, False, detail=f"HTTP {error.code}")
    except (OSError, ValueError) as error:
        return Reached(name, shown, False, detail=str(getattr(error, "reason", error)))
    return Reached(name, shown, True, time.perf_counter() - begin)


@cache
def pip_index_url() -> str:
    """The index that pip asks, its own default included; "" when pip cannot be asked."""
    command = [sys.executable, "-m", "pip", "install", "--help"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\(default\s+(https?://[^\s)]+)\)", re.sub(r"\s+", " ", done.stdout))
    return found.group(1) if found else ""


def address_only(url: str) -> str:
    """An address without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))
