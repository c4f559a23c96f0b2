"""Background work as pages see it: it is told of, stopped, paused, gone on with, and found again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.jobs import JobKind, Jobs, kinds, registry
from llm.jobs import record as records

KINDS = {
    "count": JobKind("tests.jobs.works:count", resumes=True, pausable=True),
    "once": JobKind("tests.jobs.works:count"),
    "fail": JobKind("tests.jobs.works:fail"),
    "files": JobKind("tests.jobs.works:sizes"),
    "common": JobKind("tests.jobs.works:count", pausable=True, shared=True, discard="tests.jobs.works:forget"),
    "crash": JobKind("tests.jobs.works:crash"),
}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "jobs", KINDS)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_a_job_is_told_of_until_it_is_done_and_found_by_the_next_process(made, tmp_path):
    record = made.wait(made.start("count", "numbers", {"to": 5}, owner="ann").id)
    assert (record.state, record.done, record.total, record.unit, record.result) == ("done", 5, 5, "steps", {"at": 5})
    assert "counted to 5" in made.log(record.id)
    assert Jobs(tmp_path / "jobs", KINDS).get(record.id, "ann") == record


def test_jobs_are_their_owners_own(made):
    record = made.start("count", "numbers", {"to": 1}, owner="ann")
    assert made.get(record.id, "bob") is None and made.all("bob") == [] and made.get(record.id) is None
    assert [job.id for job in made.all("ann")] == [record.id]


def test_a_failure_is_kept_as_its_code_and_values(made):
    record = made.wait(made.start("fail", "a long one", {}).id)
    assert (record.state, record.error_code, record.error_values["over_tokens"]) == ("failed", "message_too_long", 1)


def test_a_bug_ends_in_a_sentence(made):
    record = made.wait(made.start("crash", "x", {}).id)
    assert record.state == "failed" and "a bug" in record.error_text


def test_a_paused_job_goes_on_where_it_was(made):
    job = made.start("count", "numbers", {"to": 400, "step_s": 0.005})
    until(lambda: made.get(job.id).done > 2)
    made.pause(job.id)
    paused = made.wait(job.id)
    assert paused.state == "paused" and 2 < paused.result["at"] < 400
    made.resume(job.id)
    assert made.wait(job.id).result == {"at": 400}


def test_a_cancelled_job_ends_and_can_be_removed(made):
    job = made.start("count", "numbers", {"to": 10_000, "step_s": 0.005})
    until(lambda: made.get(job.id).done)
    made.remove(job.id)
    assert made.get(job.id), "what runs is not removed"
    made.cancel(job.id)
    assert made.wait(job.id).state == "cancelled"
    made.remove(job.id)
    assert made.get(job.id) is None and not made.folder_of(job.id).exists()


def test_one_that_waits_its_turn_can_be_cancelled(made):
    first = made.start("count", "numbers", {"to": 10_000, "step_s": 0.005})
    until(lambda: made.get(first.id).state == "running")
    second = made.start("count", "more", {"to": 1})
    assert made.get(second.id).state == "queued"
    made.cancel(second.id)
    assert made.wait(second.id).state == "cancelled"
    made.cancel(first.id)
    made.wait(first.id)


@pytest.mark.parametrize(("kind", "state"), [("count", "done"), ("once", "failed")])
def test_after_a_kill_it_goes_on_or_says_that_it_broke_off(kind, state, tmp_path):
    program = (
        "from tests.jobs.test_jobs import Jobs, KINDS; from pathlib import Path; import time\n"
        f"jobs = Jobs(Path({str(tmp_path / 'jobs')!r}), KINDS)\n"
        f"jobs.start({kind!r}, 'numbers', {{'to': 40, 'step_s': 0.05}})\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    found = lambda: [r for f in tmp_path.glob("jobs/*/record.json") if (r := records.read(f)) and r.done]  # noqa: E731
    until(found)
    watching = Jobs(tmp_path / "jobs", KINDS)
    assert watching.all()[0].state == "running", "what another process works on is left to it"
    process.send_signal(signal.SIGKILL)
    process.wait()
    taken_up = Jobs(tmp_path / "jobs", KINDS)
    record = taken_up.wait(found()[0].id)
    assert record.state == state
    assert record.error_code == ("job_interrupted" if state == "failed" else "")


def test_what_a_process_died_over_is_taken_up_by_one_that_watches(tmp_path, monkeypatch):
    program = (
        "from tests.jobs.test_jobs import Jobs, KINDS; from pathlib import Path; import time\n"
        f"Jobs(Path({str(tmp_path / 'jobs')!r}), KINDS).start('count', 'numbers', {{'to': 40, 'step_s': 0.05}})\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    watching = Jobs(tmp_path / "jobs", KINDS)
    until(lambda: any(record.done for record in watching.all()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    monkeypatch.setattr(registry, "_SILENT_S", 0.0)
    until(lambda: watching.all()[0].state == "done")


def test_a_job_of_the_machine_is_everybodys_and_one_that_is_given_up_leaves_nothing(made, tmp_path):
    kept = tmp_path / "kept"
    job = made.start("common", "numbers", {"to": 10_000, "step_s": 0.005, "kept": str(kept)})
    assert made.get(job.id, "bob") and made.all("ann")
    until(lambda: made.get(job.id).done)
    kept.write_text("half")
    made.pause(job.id)
    assert made.wait(job.id).state == "paused" and kept.exists()
    made.resume(job.id, to=20_000)
    assert made.get(job.id).params["to"] == 20_000
    made.cancel(job.id)
    assert made.wait(job.id).state == "cancelled" and not kept.exists()
    kept.write_text("half")
    made.resume(job.id)
    made.pause(job.id)
    made.wait(job.id)
    made.remove(job.id)
    assert not kept.exists() and made.get(job.id) is None


def test_a_record_that_cannot_be_read_hides_no_other(made, tmp_path):
    record = made.wait(made.start("count", "numbers", {"to": 1}).id)
    (tmp_path / "jobs" / "broken").mkdir()
    (tmp_path / "jobs" / "broken" / "record.json").write_text("[1")
    assert [job.id for job in Jobs(tmp_path / "jobs", KINDS).all()] == [record.id]


def test_every_kind_names_work_that_exists():
    for kind in kinds.KINDS.values():
        assert callable(kind.work()), kind


def test_what_comes_along_is_kept_by_the_names_that_people_know(made):
    record = made.wait(made.start("files", "x", {}, inputs=[("../../evil.txt", b"a"), ("b.txt", b"bb")]).id)
    assert record.result == {"../../evil.txt": 1, "b.txt": 2}
