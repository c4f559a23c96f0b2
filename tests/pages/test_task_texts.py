"""The Tasks page's forms for texts: from an example to its answer, and what is turned without another run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from llm.runtime import handles
from llm.tasks import running
from tests.conftest import fetched, give_starter
from tests.tasks import text_models as tiny
from tests.tasks.test_text_heads import PEOPLE, WORDS

PAGE = str(Path(__file__).parents[2] / "pages" / "tasks.py")


@pytest.fixture
def open_job(data_folder: Path) -> Iterator[Callable[..., AppTest]]:
    """`open_job("ner's tag", folder)`: the form with the model in that folder chosen."""

    def open_it(job: str, folder: Path | None = None) -> AppTest:
        page = AppTest.from_file(PAGE, default_timeout=60)
        page.query_params["job"] = job
        page.run()
        if folder is not None:
            page.selectbox(key=f"task_model_{job}").set_value("folder:").run()
            page.text_input(key=f"task_model_{job}_folder").set_value(str(folder)).run()
        return page

    yield open_it
    handles.registry().close_all()


def ran(page: AppTest, job: str, *texts: str) -> AppTest:
    kinds = ("question", "text") if len(texts) == 2 else ("text",)
    for kind, text in zip(kinds, texts, strict=True):
        page.text_area(key=f"task_{kind}_{job}").set_value(text)
    page.run()
    page.button(key=f"task_run_{job}").click().run()
    assert not page.exception and not page.error
    return page


def drawn(page: AppTest) -> str:
    return "".join(element.proto.body for element in page.get("html") if "<style>\n" not in element.proto.body)


def test_entities_are_marked_in_the_text_and_joined_without_another_run(
    open_job: Callable[..., AppTest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = "token-classification"
    page = ran(open_job(job, tiny.tagger(tmp_path / "m", PEOPLE | {"三": "B-PER"})), job, "张三在<b>北京。")
    marks = re.findall(r"<mark[^>]*>([^<]*)<b>([^<]*)</b>", drawn(page))
    assert marks == [("张", "PER"), ("三", "PER"), ("北京", "LOC")] and "&lt;b&gt;" in drawn(page)
    monkeypatch.setattr(running.handles, "task_model", lambda *_: pytest.fail("the model ran again"))
    page.toggle(key=f"{job}_entities_join").set_value(True).run()
    assert ("张三", "PER") in re.findall(r"<mark[^>]*>([^<]*)<b>([^<]*)</b>", drawn(page))
    assert any("pipeline" in code.value for code in page.code)


def test_an_answer_is_marked_and_the_old_line_crossed_out(open_job: Callable[..., AppTest], tmp_path: Path) -> None:
    job = "question-answering"
    page = ran(
        open_job(job, tiny.extractor(tmp_path / "m", WORDS, "北", "京")), job, "张三在哪里？", "张三在北京工作。"
    )
    assert re.findall(r"<mark[^>]*>([^<]*)</mark>", drawn(page)) == ["北京"]
    assert any("~~" in one.value and "question-answering" in one.value for one in page.markdown)
    assert sum("AutoModelForQuestionAnswering" in code.value for code in page.code) == 1


def test_gaps_from_the_example_with_the_models_words_and_tokens(
    open_job: Callable[..., AppTest], data_folder: Path
) -> None:
    folder = data_folder / "models"
    folder.mkdir()
    (folder / "bert-tiny-splade").symlink_to(fetched("bert-tiny-splade"))
    page = open_job("fill-mask")
    page.button_group(key="task_example_fill-mask").set_value("two_gaps").run()
    page.button(key="task_run_fill-mask").click().run()
    assert not page.exception and len(re.findall("task-bars", drawn(page))) == 2
    assert drawn(page).count("[MASK]") == 2 and any("left to right" in one.value for one in page.caption)


def test_a_chat_model_answers_where_nothing_else_is_here_and_the_page_says_so(
    open_job: Callable[..., AppTest], data_folder: Path, starter_file: Path
) -> None:
    give_starter(data_folder, starter_file)
    job = "text-classification"
    page = open_job(job)
    assert any("chat model answers" in info.value for info in page.info)
    page.button_group(key=f"task_example_{job}").set_value("liked").run()
    page.button(key=f"task_run_{job}").click().run()
    assert not page.exception
    assert re.findall(r'class="name[^"]*">([^<]*)<', drawn(page))[:2] == ["positive", "negative"]


def test_a_folder_for_another_job_and_text_without_a_gap_are_told(
    open_job: Callable[..., AppTest], tmp_path: Path
) -> None:
    page = open_job("fill-mask", tiny.tagger(tmp_path / "m", PEOPLE))
    assert any("token-classification" in error.value for error in page.error)
    page.text_input(key="task_model_fill-mask_folder").set_value(str(fetched("bert-tiny-splade"))).run()
    page.text_area(key="task_text_fill-mask").set_value("No gap at all.").run()
    page.button(key="task_run_fill-mask").click().run()
    assert any("no gap" in error.value for error in page.error)


def test_blank_texts_cannot_be_run(open_job: Callable[..., AppTest], tmp_path: Path) -> None:
    page = open_job("summarization", tiny.random_seq2seq(tmp_path / "m", WORDS))
    page.text_area(key="task_text_summarization").set_value("   \n").run()
    assert page.button(key="task_run_summarization").disabled
