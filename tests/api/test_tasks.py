"""/v1/tasks and `llm task`: answers in the shape of transformers' pipelines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers
from starlette.testclient import TestClient

from llm.api.app import create_api
from llm.cli.app import main
from llm.runtime import handles
from tests.conftest import give_starter
from tests.tasks import text_models as tiny
from tests.tasks.given import give_network
from tests.tasks.test_text_heads import PEOPLE, WORDS

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


@pytest.fixture
def api(data_folder: Path) -> Iterator[TestClient]:
    with TestClient(create_api("127.0.0.1"), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client
    handles.registry().close_all()


def test_rows_are_the_pipelines_but_for_the_words(api: TestClient, tmp_path: Path) -> None:
    folder = str(tiny.tagger(tmp_path / "m", PEOPLE))
    ours = api.post("/v1/tasks/ner", json={"inputs": "张三在北京。", "model": folder}).json()
    theirs = transformers.pipeline("ner", model=folder, aggregation_strategy="first", device="cpu")("张三在北京。")
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for key in ("entity_group", "start", "end"):
        assert [row[key] for row in ours] == [row[key] for row in theirs]
    assert [row["word"] for row in ours] == ["张三", "北京"]


def test_tasks_that_the_pipelines_have_no_more(api: TestClient, tmp_path: Path) -> None:
    folder = str(tiny.extractor(tmp_path / "m", WORDS, "北", "京"))
    asked = {
        "inputs": {"question": "张三在哪里？", "context": "张三在北京。"},
        "model": folder,
        "parameters": {"top_k": 1},
    }
    rows = api.post("/v1/tasks/question-answering", json=asked).json()
    assert len(rows) == 1 and (rows[0]["answer"], rows[0]["start"], rows[0]["end"]) == ("北京", 3, 5)
    written = str(tiny.random_seq2seq(tmp_path / "s", WORDS))
    assert (
        "translation_text" in api.post("/v1/tasks/translation", json={"inputs": "北京。", "model": written}).json()[0]
    )


def test_a_picture_as_a_form_and_what_is_refused(api: TestClient, data_folder: Path) -> None:
    give_network(data_folder, "picodet-layout-cdla")
    files = {"file": ("page.png", (EXAMPLES / "page-en.png").read_bytes(), "image/png")}
    rows = api.post("/v1/tasks/object-detection", files=files).json()
    assert {"xmin", "ymin", "xmax", "ymax"} == rows[0]["box"].keys() and any(row["label"] == "table" for row in rows)
    for path, body, code in (
        ("mind-reading", {"inputs": "x"}, 404),
        ("ner", {"inputs": []}, 400),
        ("ner", {"inputs": ["a", 1]}, 400),
        ("ner", {"inputs": ["a"] * 1001}, 400),
        ("ner", {"inputs": "x"}, 409),
        ("object-detection", {"inputs": "x"}, 400),
        ("ner", {"inputs": "x", "parameters": {"model": "y"}}, 400),
    ):
        answer = api.post(f"/v1/tasks/{path}", json=body)
        assert answer.status_code == code and answer.json()["error"]["message"]
    assert api.post("/v1/tasks/ner", content=b"no json").status_code == 400


def test_a_list_of_inputs_gets_a_list_of_answers(api: TestClient, tmp_path: Path) -> None:
    folder = str(tiny.tagger(tmp_path / "m", PEOPLE))
    first, blank, last = api.post("/v1/tasks/ner", json={"inputs": ["张三", " ", "北京"], "model": folder}).json()
    assert (first[0]["word"], last[0]["word"], blank["error"]["code"]) == ("张三", "北京", "blank_text")
    reader = str(tiny.extractor(tmp_path / "q", WORDS, "北", "京"))
    asked = [{"question": "张三在哪里？", "context": "张三在北京。"}] * 2
    answers = api.post("/v1/tasks/question-answering", json={"inputs": asked, "model": reader}).json()
    assert [rows[0]["answer"] for rows in answers] == ["北京"] * 2


def test_the_terminal_does_a_table(data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tiny.classifier(tmp_path / "m", {"好": "good", "坏": "bad"}))
    table = tmp_path / "reviews.csv"
    table.write_bytes("文字,标签\n好好,good\n坏,good\n,bad\n".encode("gb18030"))
    asked = ["task", "sentiment-analysis", "--file", str(table), "-m", folder]
    assert main([*asked, "--column", "文字", "--gold", "标签"]) == 1
    out, told = capsys.readouterr()
    assert [line.split(",")[:4] for line in out.splitlines()][:3] == [
        ["row", "文字", "gold", "answer"],
        ["2", "好好", "good", "good"],
        ["3", "坏", "good", "bad"],
    ]
    assert "accuracy 0.500" in told and "2 done, 1 could not be done" in told
    assert main([*asked, "--column", "评论"]) != 0
    assert "文字, 标签" in capsys.readouterr().err
    handles.registry().close_all()


def test_the_terminal_does_several_at_once(
    data_folder: Path, starter_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    give_starter(data_folder, starter_file)
    folder = str(tiny.tagger(tmp_path / "m", PEOPLE))
    (tmp_path / "text.txt").write_text("\ufeff张三在北京。", encoding="utf-8")
    assert main(["task", "ner", f"@{tmp_path / 'text.txt'}", "张三", " ", "-m", folder, "--json"]) == 1
    first, second, third = json.loads(capsys.readouterr().out)
    assert (first[1]["word"], second[0]["word"], third) == ("北京", "张三", None)
    assert main(["task", "sentiment-analysis", "I loved it, wonderful!", "--set", "labels=good,awful"]) == 0
    assert set(line.split("\t")[0] for line in capsys.readouterr().out.splitlines()) == {"good", "awful"}
    handles.registry().close_all()
