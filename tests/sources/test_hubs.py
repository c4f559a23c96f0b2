"""ModelScope and Hugging Face: their real client libraries against a local server that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llm.catalogue import caches, lookup
from llm.catalogue.entry import ModelEntry, Source, SourceKind
from llm.catalogue.toml_file import write_entries
from llm.config import config
from llm.errors import AccessDenied, Cancelled, DiskFull, DownloadFailed, NoNetwork, WrongHash
from llm.sources import FetchProgress, base, fetch
from tests.sources.conftest import left_in
from tests.sources.hub_server import Fault, Hub

KINDS: list[SourceKind] = ["huggingface", "modelscope"]
WEIGHTS = "model.safetensors"
CONFIG = b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'


@pytest.fixture(autouse=True)
def impatient(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ModelScope's library waits up to a minute between tries; a test doesn't."""
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_RETRY_MAX_DELAY_SECONDS", "1")
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_MAX_RETRIES", "2")
    monkeypatch.setenv("MODELSCOPE_API_MAX_RETRIES", "1")


def safetensors(size: int) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + os.urandom(size)


def model_at(hub: Hub, kind: SourceKind, size: int = 3_000_000) -> ModelEntry:
    hub.files = {
        "config.json": CONFIG,
        "tokenizer.json": b'{"version": "1.0"}',
        "README.md": b"# A model",
        "modeling_custom.py": b"print('never run')",
        WEIGHTS: safetensors(size),
        "pytorch_model.bin": b"a pickle",
        "onnx/model.onnx": b"another copy",
    }
    return ModelEntry(
        id="hub-model", name="Hub model", task="text-generation", family="llama", engine="transformers",
        size_bytes=size, sources=(Source(kind, repo=hub.repo),),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_loading_needs_arrives_verified_and_is_found_again(home: Path, hub: Hub, kind: SourceKind) -> None:
    entry = model_at(hub, kind)
    seen: list[FetchProgress] = []
    folder = fetch(entry, seen.append)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", WEIGHTS, "tokenizer.json"]
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert folder.is_relative_to(caches.huggingface_cache() if kind == "huggingface" else caches.modelscope_cache())
    assert seen[-1].stage == "done"
    assert {p.total_bytes for p in seen[:-1]} == {sum(len(hub.files[path.name]) for path in folder.iterdir())}
    asked = len(hub.requests)
    assert fetch(entry) == lookup.where(entry) == folder
    assert len(hub.requests) == asked
    assert left_in(home / "models") == []


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_are_taken_when_there_is_nothing_else(home: Path, hub: Hub, kind: SourceKind) -> None:
    entry = model_at(hub, kind)
    del hub.files[WEIGHTS]
    assert (fetch(entry) / "pytorch_model.bin").read_bytes() == b"a pickle"


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_connection_is_taken_up_where_it_broke(home: Path, hub: Hub, kind: SourceKind) -> None:
    entry = model_at(hub, kind)
    hub.faults[WEIGHTS] = [Fault(drop_after=1_500_000)]
    folder = fetch(entry)
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert any(asked.startswith("bytes=") for _, _, asked in hub.requests)
    assert hub.sent[WEIGHTS] < 1.2 * len(hub.files[WEIGHTS])


@pytest.mark.parametrize("kind", KINDS)
def test_a_hub_that_is_busy_for_a_moment_is_asked_again(home: Path, hub: Hub, kind: SourceKind) -> None:
    entry = model_at(hub, kind)
    hub.faults[WEIGHTS] = [Fault(status=429)]
    assert (fetch(entry) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


# huggingface_hub itself asks five times more after a 429, half a minute long; a 5xx it passes on.
@pytest.mark.parametrize(("kind", "status"), [("huggingface", 503), ("modelscope", 500), ("modelscope", 429)])
def test_a_hub_that_is_busy_for_good_counts_as_out_of_reach(
    home: Path, hub: Hub, kind: SourceKind, status: int
) -> None:
    entry = model_at(hub, kind)
    hub.faults[WEIGHTS] = [Fault(status=status) for _ in range(40)]
    with pytest.raises(NoNetwork):
        fetch(entry)
    assert lookup.where(entry) is None
    hub.faults.clear()
    assert fetch(entry).is_dir()


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_bytes_of_the_right_length_are_refused_and_removed(home: Path, hub: Hub, kind: SourceKind) -> None:
    entry = model_at(hub, kind)
    wrong = safetensors(3_000_000)
    hub.faults[WEIGHTS] = [Fault(body=wrong) for _ in range(20)]
    with pytest.raises(WrongHash) as caught:
        fetch(entry, keep_partial=True)
    assert caught.value.values["name"] == WEIGHTS
    assert lookup.where(entry) is None
    assert left_in(home / "models") == []
    for cache in (caches.huggingface_cache(), caches.modelscope_cache()):
        assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 1_000_000]


def test_a_small_file_with_wrong_bytes_is_refused_too(home: Path, hub: Hub) -> None:
    entry = model_at(hub, "huggingface")
    hub.faults["config.json"] = [Fault(body=CONFIG.replace(b"llama", b"other"))]
    with pytest.raises(WrongHash) as caught:
        fetch(entry)
    assert caught.value.values["name"] == "config.json"


@pytest.mark.parametrize("kind", KINDS)
def test_a_gated_model_wants_a_token_and_the_token_stays_secret(
    home: Path, hub: Hub, kind: SourceKind, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entry = model_at(hub, kind, size=1_000_000)
    hub.token = "hf_verysecrettoken0123"
    with pytest.raises(AccessDenied):
        fetch(entry, keep_partial=True)
    monkeypatch.setenv(f"HEARTH_{'HF' if kind == 'huggingface' else 'MODELSCOPE'}_TOKEN", hub.token)
    config.cache_clear()
    hub.bytes_s = 1_000_000
    shown: list[str] = []
    stop = threading.Event()

    def look(progress: FetchProgress) -> None:
        if not shown:
            shown.append(subprocess.run(["ps", "axww"], capture_output=True, text=True).stdout)

    folder = fetch(entry, look, stop)
    assert folder.is_dir() and "hub_worker" in shown[0]
    written = "".join(p.read_text(errors="replace") for p in home.rglob("*") if p.is_file())
    assert hub.token not in shown[0] + caplog.text + written + repr(config())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_not_there_and_a_hub_that_is_not_there(
    home: Path, hub: Hub, kind: SourceKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = model_at(hub, kind)
    hub.repo = "people/moved"
    with pytest.raises((DownloadFailed, AccessDenied)):
        fetch(entry)
    for name in ("HEARTH_HF_ENDPOINT", "HEARTH_MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    config.cache_clear()
    with pytest.raises(NoNetwork):
        fetch(entry)
    assert left_in(home / "models") == []


@pytest.mark.parametrize("kind", KINDS)
def test_cancel_leaves_nothing_and_pause_goes_on_from_the_byte(home: Path, hub: Hub, kind: SourceKind) -> None:
    entry = model_at(hub, kind, size=6_000_000)
    hub.bytes_s = 3_000_000

    def stop_after(count: int, how: str) -> None:
        stop = threading.Event()

        def progress(now: FetchProgress) -> None:
            if now.done_bytes > count:
                stop.set()

        with pytest.raises(Cancelled):
            fetch(entry, progress, stop, keep_partial=how == "pause")

    stop_after(2_000_000, "cancel")
    for cache in (caches.huggingface_cache(), caches.modelscope_cache()):
        assert not [path for path in cache.rglob("*.incomplete")]
        assert not list(cache.glob("models*/*--*/snapshots"))
    hub.sent.clear()
    stop_after(3_000_000, "pause")
    first = hub.sent[WEIGHTS]
    hub.bytes_s = 0
    hub.requests.clear()
    assert (fetch(entry) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    ranges = [asked for method, path, asked in hub.requests if WEIGHTS in path and method == "GET"]
    assert ranges and all(int(asked.removeprefix("bytes=").split("-")[0]) > 1_000_000 for asked in ranges)
    assert hub.sent[WEIGHTS] - first < 5_500_000


KILLED = """
import sys
from pathlib import Path
from llm.catalogue.toml_file import read_entries
from llm.sources import fetch
fetch(read_entries(Path(sys.argv[1]))[0], lambda p: print(p.done_bytes, flush=True))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_ends_the_worker_and_the_next_fetch_goes_on(
    home: Path, hub: Hub, kind: SourceKind, tmp_path: Path
) -> None:
    entry = model_at(hub, kind, size=6_000_000)
    hub.bytes_s = 3_000_000
    write_entries(tmp_path / "entry.toml", [entry])
    command = [sys.executable, "-c", KILLED, str(tmp_path / "entry.toml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if int(line) > 3_000_000:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)
    sent = hub.sent[WEIGHTS]
    time.sleep(1.0)
    assert hub.sent[WEIGHTS] - sent < 1_000_000, "the worker outlived its parent"
    assert lookup.where(entry) is None
    hub.bytes_s = 0
    hub.requests.clear()
    assert (fetch(entry) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    ranges = [asked for method, path, asked in hub.requests if WEIGHTS in path and method == "GET"]
    assert ranges and all(int(asked.removeprefix("bytes=").split("-")[0]) > 1_000_000 for asked in ranges)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told_before_and_during(
    home: Path, hub: Hub, kind: SourceKind, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = model_at(hub, kind, size=9_000_000)
    monkeypatch.setenv("HF_HUB_CACHE", str(small_disk / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(small_disk / "ms"))
    with pytest.raises(DiskFull):
        fetch(entry)
    assert hub.sent[WEIGHTS] == 0
    monkeypatch.setattr(base, "ensure_space", lambda *_: None)
    with pytest.raises(DiskFull):
        fetch(entry)
    assert hub.sent[WEIGHTS] > 0
    assert lookup.where(entry) is None


def test_several_models_are_fetched_at_once(home: Path, hub: Hub) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from dataclasses import replace

    entries = [replace(model_at(hub, kind), id=f"hub-{kind}") for kind in KINDS]
    entries = [
        replace(entry, sources=(Source(kind, repo=hub.repo),)) for entry, kind in zip(entries, KINDS, strict=True)
    ]
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(fetch, entries))
    assert all((folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS] for folder in folders)
