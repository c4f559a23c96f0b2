"""The Knowledge page on a base of its own, with a scripted model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

from llm.jobs import jobs
from llm.knowledge import reading
from llm.knowledge.library import Library
from llm.knowledge.values import Base
from llm.store import store

TEXT = "保修期为两年，自购买之日起计算。请勿将设备放入水中清洗。"


def told(app: AppTest) -> str:
    assert not app.exception, app.exception
    kinds = ("markdown", "caption", "info", "warning", "error", "success", "title", "html")
    return "\n".join(str(getattr(one, "value", "") or one.proto.body) for kind in kinds for one in app.get(kind))


def filled() -> Base:
    library = Library("local")
    base = library.create_base("手册")
    library.add(base.id, "manual.txt", TEXT.encode())
    ended = jobs().wait(reading.start(library, base.id).id, 60)
    assert ended is not None and ended.state == "done"
    return base


def asked(app: AppTest, words: str) -> AppTest:
    app.chat_input(key="knowledge_input").set_value(words).run()
    return until_kept(app)


def until_kept(app: AppTest) -> AppTest:
    """Runs the page until the answer is kept, and once more."""
    for _ in range(40):
        if store().path(store().list(kind="knowledge").items[0].id)[-1].meta.status != "writing":
            break
        app.run()
    return app.run()


def test_the_first_visit_makes_a_base_and_asks_for_documents(open_page: Callable[[str], AppTest]) -> None:
    app = open_page("knowledge")
    assert "supports it" in told(app)
    app.text_input(key="first_name").set_value("Manuals").run()
    app.button(key="first_create").click().run()
    assert [base.name for base in Library("local").bases()] == ["Manuals"]
    assert "no documents" in told(app)


def test_an_answer_has_its_marks_and_its_passage(scripted: Any, open_page: Callable[[str], AppTest]) -> None:
    filled()
    scripted.script = ["保修期为两年 [1]。", "保修期为三年 [1]。"]
    app = asked(open_page("knowledge"), "保修期多长？")
    drawn = told(app)
    assert 's supported">保修期为两年' in drawn and 's partly">保修期为三年' in drawn
    answer = store().path(store().list(kind="knowledge").items[0].id)[-1]
    app.session_state[f"cited_{answer.id}"] = 1
    app.run()
    assert "<mark>" in told(app) and "lines 1–1" in told(app)


def test_what_is_not_there_is_said_and_may_be_asked_of_the_model(
    scripted: Any, open_page: Callable[[str], AppTest]
) -> None:
    filled()
    scripted.script = ["在上海。"]
    app = asked(open_page("knowledge"), "公司总部位于哪座城市？")
    assert "文档中没有提到" in told(app) and not scripted.received
    anyway = next(button for button in app.button if button.label == "Answer without documents")
    anyway.click().run()
    app = until_kept(app)
    assert "Answered without documents" in told(app) and "在上海" in told(app)


def test_a_deleted_document_leaves_no_words_in_old_answers(scripted: Any, open_page: Callable[[str], AppTest]) -> None:
    base = filled()
    scripted.script = ["保修期为两年 [1]。"]
    app = asked(open_page("knowledge"), "保修期多长？")
    library = Library("local")
    library.delete_document(library.documents(base.id)[0].id)
    app.segmented_control(key="knowledge.section").set_value("ask").run()
    assert "deleted meanwhile" in " ".join(str(one.proto) for one in app.get("button_group"))
    assert "自购买之日起计算" not in told(app)


def test_the_run_can_be_seen_step_by_step(scripted: Any, open_page: Callable[[str], AppTest]) -> None:
    filled()
    scripted.script = ["保修期为两年 [1]。"]
    app = asked(open_page("knowledge"), "保修期多长？")
    answer = store().path(store().list(kind="knowledge").items[0].id)[-1]
    app.session_state["app.under_hood"] = True
    app.session_state[f"steps_{answer.id}"] = True
    drawn = told(app.run())
    assert "Question as typed" in drawn and "Left out" in drawn and "no vectors yet" in drawn
    assert "保修" in str(app.dataframe[0].value)
