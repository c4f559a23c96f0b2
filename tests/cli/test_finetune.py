"""Fine-tuning in the terminal: a real run of a tiny model from a file to an adapter in use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.cli.app import main
from llm.runtime import handles
from tests.finetune import tiny


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def test_from_a_file_to_an_adapter_in_the_chat(
    closed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    model = tiny.base(closed / "base")
    data = closed / "town.csv"
    data.write_text("question,answer\n" + "".join(f"Who is number {n}?,The cat {n}.\n" for n in range(12)))
    values = ["--set", "max_steps=4", "--set", "max_tokens=96", "--set", "samples=0", "--set", "rank=4"]
    assert main(["finetune", "plan", str(data), "-m", str(model), *values]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["rows"], plan["held_out"], plan["steps"], plan["settings"]["rank"]) == (11, 1, 4, 4)
    assert main(["finetune", "run", str(data), "-m", str(model), *values]) == 0
    run_id = capsys.readouterr().out.split()[0]
    assert main(["finetune", "list"]) == 0
    assert run_id[:12] in capsys.readouterr().out
    assert main(["finetune", "evaluate", run_id]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 1
    assert main(["finetune", "export", run_id, "peft", "--to", str(closed / "out")]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "adapter_model.safetensors").is_file()
    assert main(["finetune", "export", run_id, "chat", "--name", "town"]) == 0
    name = capsys.readouterr().out.strip()
    assert name == f"{model}@town"
    assert main(["ask", "Who?", "-m", name, "--max-tokens", "3"]) == 0


def test_wrong_words_end_in_a_sentence(closed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = closed / "a.csv"
    data.write_text("q,a\nx,y\n")
    assert main(["finetune", "plan", str(data), "-m", "no-such-model"]) == 3
    assert main(["finetune", "plan", str(data), "-m", "no", "--goal", "fame"]) == 1
    assert main(["finetune", "resume", "nothing"]) == 1
    assert "nothing" in capsys.readouterr().err
