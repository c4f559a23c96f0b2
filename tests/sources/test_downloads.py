"""Background downloads: progress, pause, cancel, back-off, and a process that is killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llm.catalogue import lookup
from llm.catalogue.entry import ModelEntry, Source
from llm.config import config
from llm.errors import UnknownModel
from llm.jobs import JobRecord, jobs
from llm.sources import downloads
from llm.sources.downloads import Patience
from tests.sources.conftest import left_in
from tests.sources.index_server import Index
from tests.sources.test_package_index import model_in

QUICK = Patience(attempts=4, first_wait_s=0.2, longest_wait_s=0.4)


def known(entry: ModelEntry) -> ModelEntry:
    """Makes the entry one of the user's own, so that jobs find it by id."""
    lookup.add(entry)
    return entry


def wait(model_id: str, timeout_s: float) -> JobRecord | None:
    job = downloads.get(model_id)
    assert job
    return jobs().wait(job.id, timeout_s)


def until(condition: Callable[[], bool], timeout_s: float = 40) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.05)


def test_a_job_counts_bytes_speed_and_remaining_time(home: Path, index: Index) -> None:
    entry = known(model_in(index, size=1_500_000, parts=2))
    index.bytes_s = 1_000_000
    downloads.start(entry.id)
    seen: list[JobRecord] = []

    def done() -> bool:
        job = downloads.get(entry.id)
        assert job
        seen.append(job)
        return job.state == "done"

    until(done)
    moving = [job for job in seen if job.state == "running" and job.rate > 0 and job.remaining_s]
    assert moving and all(job.total == sum(entry.sources[0].package_bytes) for job in moving)
    assert 100_000 < moving[-1].rate < 2_000_000
    assert seen[-1].done == seen[-1].total
    assert lookup.where(entry)


def test_pause_resume_and_cancel(home: Path, index: Index) -> None:
    entry = known(model_in(index, size=800_000))
    index.bytes_s = 800_000
    downloads.start(entry.id)
    first = entry.sources[0].package_bytes[0]
    until(lambda: downloads.get(entry.id).done > first)  # type: ignore[union-attr]
    downloads.pause(entry.id)
    assert wait(entry.id, 10).state == "paused"  # type: ignore[union-attr]
    assert left_in(home / "models")
    downloads.start(entry.id)
    until(lambda: downloads.get(entry.id).done > first)  # type: ignore[union-attr]
    assert index.served["part-0"] == 1
    downloads.cancel(entry.id)
    assert wait(entry.id, 10).state == "cancelled"  # type: ignore[union-attr]
    assert left_in(home / "models") == []
    downloads.dismiss(entry.id)
    assert downloads.all_downloads() == [] and not list((home / "jobs").glob("*/record.json"))


def test_a_paused_job_can_be_given_up(home: Path, index: Index) -> None:
    entry = known(model_in(index, size=800_000))
    index.bytes_s = 400_000
    downloads.start(entry.id)
    until(lambda: downloads.get(entry.id).done > 0)  # type: ignore[union-attr]
    downloads.pause(entry.id)
    wait(entry.id, 10)
    downloads.cancel(entry.id)
    assert downloads.get(entry.id).state == "cancelled"  # type: ignore[union-attr]
    assert left_in(home / "models") == []


def test_the_network_is_tried_again_and_then_given_up_with_a_reason(
    home: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = known(model_in(index))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(downloads, "PATIENCE", replace(QUICK, attempts=2))
    downloads.start(entry.id)
    until(lambda: downloads.get(entry.id).stage == "retrying")  # type: ignore[union-attr]
    assert downloads.get(entry.id).error_code == "no_network"  # type: ignore[union-attr]
    job = wait(entry.id, 60)
    assert job and (job.state, job.error_code, job.result["attempt"]) == ("failed", "no_network", 2)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    downloads.start(entry.id)
    assert wait(entry.id, 60).state == "done"  # type: ignore[union-attr]


def test_a_source_that_does_not_answer_is_left_for_the_next(
    home: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = model_in(index)
    dead = Source("modelscope", repo="people/model", revision="master", files=("model.gguf",))
    monkeypatch.setenv("HEARTH_MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HEARTH_SOURCE_ORDER", "modelscope,package_index")
    config.cache_clear()
    monkeypatch.setattr(downloads, "PATIENCE", QUICK)
    known(replace(entry, sources=(dead, *entry.sources)))
    downloads.start(entry.id)
    job = wait(entry.id, 60)
    assert job and job.state == "done" and job.result["attempt"] > 1
    assert "ModelScope" in jobs().log(job.id)


@pytest.mark.parametrize("fault", ["drops", "refusals"])
def test_an_index_that_fails_for_a_while_is_waited_for(
    home: Path, index: Index, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    entry = known(model_in(index))
    monkeypatch.setenv("PIP_RETRIES", "0")
    setattr(index, fault, 1 if fault == "drops" else 3)
    monkeypatch.setattr(downloads, "PATIENCE", QUICK)
    downloads.start(entry.id)
    job = wait(entry.id, 90)
    assert job and job.state == "done"
    assert job.result["attempt"] > 1 or fault == "refusals"
    assert lookup.where(entry)


def test_a_wrong_hash_is_not_tried_again(home: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = model_in(index, parts=1)
    entry = known(replace(entry, sources=(replace(entry.sources[0], sha256={"model.gguf": "0" * 64}),)))
    monkeypatch.setattr(downloads, "PATIENCE", QUICK)
    downloads.start(entry.id)
    job = wait(entry.id, 60)
    assert job and (job.state, job.error_code, job.result["attempt"]) == ("failed", "wrong_hash", 1)
    assert index.served["part-0"] == 1


KILLED = """
import sys, time
from llm.sources import downloads
downloads.start(sys.argv[1])
while True:
    print(downloads.get(sys.argv[1]).done, flush=True)
    time.sleep(0.05)
"""


def test_a_killed_process_leaves_a_job_that_the_next_one_finishes(home: Path, index: Index) -> None:
    entry = known(model_in(index, size=1_000_000))
    index.bytes_s = 700_000
    process = subprocess.Popen([sys.executable, "-c", KILLED, entry.id], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if float(line) > entry.sources[0].package_bytes[0] + 200_000:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    (record_file,) = (home / "jobs").glob("*/record.json")
    record = json.loads(record_file.read_text())
    assert record["state"] == "running" and record["done"] > 0
    index.bytes_s = 0
    assert wait(entry.id, 60).state == "done"  # type: ignore[union-attr]
    assert index.served["part-0"] == 1
    assert lookup.where(entry)


def test_leftovers_of_a_killed_fetch_without_a_job_are_cleared(home: Path, index: Index) -> None:
    left = home / "models" / ".partial" / "gone"
    left.mkdir(parents=True)
    (left / "files").write_bytes(b"x")
    (left.parent / "begun-today").mkdir()
    weeks_ago = time.time() - 21 * 24 * 3600
    os.utime(left, (weeks_ago, weeks_ago))
    downloads.take_up()
    assert [path.name for path in left.parent.iterdir()] == ["begun-today"]


def test_an_unknown_model_has_no_job(home: Path) -> None:
    with pytest.raises(UnknownModel):
        downloads.start("no-such-model")


def test_another_process_at_work_is_followed_and_not_disturbed(home: Path, index: Index) -> None:
    entry = known(model_in(index, size=1_000_000))
    index.bytes_s = 700_000
    process = subprocess.Popen([sys.executable, "-c", KILLED, entry.id], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if float(line) > 100_000:
            break
    time.sleep(1.2)
    before = downloads.get(entry.id)
    assert before and before.state == "running" and before.done > 0
    until(lambda: downloads.get(entry.id).done > before.done)  # type: ignore[union-attr]
    until(lambda: downloads.get(entry.id).state == "done")  # type: ignore[union-attr]
    process.kill()
    process.wait()
    assert set(index.served.values()) == {1}
