"""Files and training jobs with OpenAI's own client, unchanged, on a tiny model that really trains."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from llm.catalogue.lookup import find
from llm.catalogue.toml_file import write_entries
from tests.api.conftest import Served, free_port, serve_command, start, stop
from tests.finetune import tiny

FACTS = [("Who is the mayor?", "Ada."), ("What is sold?", "Red cats."), ("Where is the sea?", "In the house.")]
QUICK: dict[str, Any] = {
    "settings": {"rank": 4, "samples": 0, "warmup": 0.0, "max_tokens": 128, "learning_rate": 1e-2,
                 "checkpoint_every": 3}
}  # fmt: skip


@pytest.fixture(scope="module")
def tuning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a tiny model in the catalogue, for two callers with keys of their own."""
    home = tmp_path_factory.mktemp("tuning")
    entry = replace(find(tiny.base(home / "models" / "tiny")), id="tiny", name="Tiny")
    write_entries(home / "models.toml", [entry])
    port = free_port()
    served = start(serve_command(port), home, port, HEARTH_API_ACCESS="key", HEARTH_API_KEYS="ada-key,bob-key")
    yield served
    stop(served)


@pytest.fixture
def ada(tuning: Served) -> OpenAI:
    return tuning.client("ada-key")


def lines(pairs: list[tuple[str, str]]) -> bytes:
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def ended(client: OpenAI, job_id: str, states: tuple[str, ...] = ("succeeded", "failed", "cancelled")) -> Any:
    end = time.monotonic() + 120
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in states:
        assert time.monotonic() < end, job
        time.sleep(0.2)
    return job


def test_a_file_is_its_callers_own(tuning: Served, ada: OpenAI) -> None:
    content = lines(FACTS)
    kept = ada.files.create(file=("../小镇.jsonl", content), purpose="fine-tune")
    assert kept.bytes == len(content) and kept.filename == "小镇.jsonl" and kept.status == "processed"
    assert ada.files.wait_for_processing(kept.id).id == kept.id
    assert ada.files.content(kept.id).read() == content
    other = ada.files.create(file=("b.csv", b"q,a\n1,2\n"), purpose="fine-tune")
    assert [file.id for file in ada.files.list(purpose="fine-tune", limit=1)] == [other.id, kept.id]
    bob = tuning.client("bob-key")
    assert list(bob.files.list()) == []
    for look in (bob.files.retrieve, bob.files.content, bob.files.delete):
        with pytest.raises(openai.NotFoundError):
            look(kept.id)
    assert ada.files.delete(kept.id).deleted and ada.files.delete(other.id).deleted
    with pytest.raises(openai.NotFoundError):
        ada.files.retrieve(kept.id)


@pytest.mark.parametrize(
    ("name", "purpose", "says"), [("a.jsonl", "assistants", "purpose"), ("a.exe", "fine-tune", "none of")]
)
def test_a_file_for_nothing_is_refused(ada: OpenAI, name: str, purpose: Any, says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        ada.files.create(file=(name, b"{}"), purpose=purpose)


def test_a_files_time_ends(ada: OpenAI) -> None:
    kept = ada.files.create(
        file=("a.jsonl", lines(FACTS)),
        purpose="fine-tune",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert kept.expires_at == kept.created_at + 3600
    ada.files.delete(kept.id)


def answers(client: OpenAI, model: str) -> bool:
    """Whether a model answers, with whatever so small a one has to say."""
    question: Any = [{"role": "user", "content": "Who is the mayor?"}]
    return bool(client.chat.completions.create(model=model, messages=question, max_tokens=4).choices[0].finish_reason)


def test_a_job_trains_and_its_model_answers(tuning: Served, ada: OpenAI) -> None:
    training = ada.files.create(file=("town.jsonl", lines(FACTS * 2)), purpose="fine-tune")
    validation = ada.files.create(file=("held.jsonl", lines([("Who rules?", "Ada.")])), purpose="fine-tune")
    job: Any = ada.fine_tuning.jobs.create(
        model="tiny",
        training_file=training.id,
        validation_file=validation.id,
        suffix="my town",
        seed=7,
        metadata={"for": "tests"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 3, "learning_rate_multiplier": 1.5}},
        },
        extra_body=QUICK,
    )
    assert job.id.startswith("ftjob-my-town-") and job.fine_tuned_model is None and job.seed == 7
    assert job.hyperparameters.n_epochs == 3 and job.hyperparameters.batch_size == 3
    done = ended(ada, job.id)
    assert done.status == "succeeded" and done.error is None, done
    assert done.trained_tokens > 0 and done.finished_at >= done.created_at
    assert (done.training_file, done.validation_file) == (training.id, validation.id)
    assert done.fine_tuned_model == f"tiny@{job.id.removeprefix('ftjob-')}" and answers(ada, done.fine_tuned_model)
    events: list[Any] = list(ada.fine_tuning.jobs.list_events(job.id, limit=2))
    assert "completed" in events[0].message and events[0].created_at >= events[-1].created_at > 0
    steps = [event.data["step"] for event in events if event.type == "metrics" and "loss" in event.data]
    assert steps == [6, 5, 4, 3, 2, 1]
    kept: list[Any] = list(ada.fine_tuning.jobs.checkpoints.list(job.id))
    assert [one.step_number for one in kept] == [6, 3] and kept[0].metrics.full_valid_loss > 0
    assert answers(ada, kept[-1].fine_tuned_model_checkpoint)
    assert [one.id for one in ada.fine_tuning.jobs.list(metadata={"for": "tests"})] == [job.id]
    assert not list(ada.fine_tuning.jobs.list(metadata={"for": "others"}))
    bob = tuning.client("bob-key")
    assert not list(bob.fine_tuning.jobs.list())
    looks: list[Callable[[str], Any]] = [bob.fine_tuning.jobs.retrieve, bob.fine_tuning.jobs.cancel]
    for look in looks:
        with pytest.raises(openai.NotFoundError):
            look(job.id)
    with pytest.raises(openai.NotFoundError):
        answers(bob, kept[-1].fine_tuned_model_checkpoint)


def test_a_job_pauses_goes_on_and_is_cancelled(ada: OpenAI) -> None:
    training = ada.files.create(file=("long.jsonl", lines(FACTS)), purpose="fine-tune")
    job = ada.fine_tuning.jobs.create(
        model="tiny", training_file=training.id, hyperparameters={"n_epochs": 900, "batch_size": 1}, extra_body=QUICK
    )
    ended(ada, job.id, ("running",))
    ada.fine_tuning.jobs.pause(job.id)
    assert ended(ada, job.id, ("paused",)).fine_tuned_model is None
    ada.fine_tuning.jobs.resume(job.id)
    ended(ada, job.id, ("running",))
    with pytest.raises(openai.BadRequestError, match="nothing to resume"):
        ada.fine_tuning.jobs.resume(job.id)
    ada.fine_tuning.jobs.cancel(job.id)
    assert ended(ada, job.id).status == "cancelled"
    assert "Resumed" in "".join(event.message for event in ada.fine_tuning.jobs.list_events(job.id, limit=100))
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        ada.fine_tuning.jobs.cancel(job.id)


def test_pairs_are_learnt_by_dpo(ada: OpenAI) -> None:
    def said(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    pairs = [
        {
            "input": {"messages": [said("user", question)]},
            "preferred_output": [said("assistant", answer)],
            "non_preferred_output": [said("assistant", "I do not know.")],
        }
        for question, answer in FACTS
    ]
    content = "".join(json.dumps(pair) + "\n" for pair in pairs).encode()
    training = ada.files.create(file=("pairs.jsonl", content), purpose="fine-tune")
    hyperparameters: Any = {"n_epochs": 2, "batch_size": 3, "beta": 0.3}
    job = ada.fine_tuning.jobs.create(
        model="tiny",
        training_file=training.id,
        method={"type": "dpo", "dpo": {"hyperparameters": hyperparameters}},
        extra_body=QUICK,
    )
    done = ended(ada, job.id)
    assert done.status == "succeeded" and done.fine_tuned_model, done
    assert done.method.type == "dpo" and done.method.dpo.hyperparameters.beta == 0.3


@pytest.mark.parametrize(
    ("content", "changes", "says"),
    [
        (b'{"messages": []}\n{"prompt": "q"}\n', {}, "rows cannot be used"),
        (b"", {}, "empty"),
        (lines(FACTS), {"method": {"type": "reinforcement"}}, "reinforcement"),
        (lines(FACTS), {"hyperparameters": {"n_epochs": 0}}, "epochs"),
        (lines(FACTS), {"hyperparameters": {"n_epoch": 3}}, "n_epoch"),
        (lines(FACTS), {"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations"),
        (lines(FACTS), {"training_file": "file-1"}, "file"),
        (lines(FACTS), {"model": "none"}, "none"),
    ],
)
def test_what_cannot_be_trained_is_refused(ada: OpenAI, content: bytes, changes: dict[str, Any], says: str) -> None:
    file = ada.files.create(file=("rows.jsonl", content), purpose="fine-tune")
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=says):
        ada.fine_tuning.jobs.create(**{"model": "tiny", "training_file": file.id, **changes})
    ada.files.delete(file.id)


def test_the_files_of_a_caller_are_bounded(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from llm.api import kept_files
    from llm.errors import InvalidRequest

    monkeypatch.setattr(kept_files, "MOST_FILES", 2)
    for _ in range(2):
        kept_files.keep_file(io.BytesIO(b"{}"), "a.json", "fine-tune", "ada")
    with pytest.raises(InvalidRequest, match="at most 2"):
        kept_files.keep_file(io.BytesIO(b"{}"), "a.json", "fine-tune", "ada")
    kept_files.keep_file(io.BytesIO(b"{}"), "a.json", "fine-tune", "bob")
    assert len(list((data_folder / "files").glob("*"))) == 3, "what was refused leaves nothing"


def test_a_list_goes_on_after_an_item_that_is_there(tuning: Served) -> None:
    answer = httpx.get(
        f"{tuning.url}/v1/files", params={"after": "file-0"}, headers={"authorization": "Bearer ada-key"}
    )
    assert answer.status_code == 404
