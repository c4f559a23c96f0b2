"""A streaming answer as a page draws it, step by step."""

import pytest
from streamlit.testing.v1 import AppTest

from ui.chat import live_answer
from ui.shared.markdown import as_markdown

ANSWER = (
    "# Title\n\nWords with \\(x\\).\n\n```py\na = 1\n\nb = 2\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nThe end for $5."
)


@pytest.fixture(autouse=True)
def every_event_is_drawn(monkeypatch):
    monkeypatch.setattr(live_answer, "DRAW_EVERY_S", 0)
    monkeypatch.setattr(live_answer, "DRAW_SHARED_EVERY_S", 0)


def script(answer: str, upto: int, thinking: str = "") -> None:
    from llm.events import Progress, TextDelta, ThinkingDelta
    from ui.chat.live_answer import LiveAnswer

    live = LiveAnswer(key="live")
    live.feed(Progress("waiting", 2))
    for start in range(0, len(thinking), 7):
        live.feed(ThinkingDelta(thinking[start : start + 7]))
    for start in range(0, upto, 5):
        live.feed(TextDelta(answer[start : min(start + 5, upto)]))
    assert live.text == answer[:upto]


def kept(answer: str, thinking: str) -> None:
    from ui.chat.live_answer import show_answer, show_thinking

    show_thinking(thinking)
    show_answer(answer)


def run(**kwargs: object) -> AppTest:
    app = AppTest.from_function(script, kwargs={"answer": ANSWER, **kwargs}).run()
    assert not app.exception
    return app


def test_waiting_is_said_and_goes_with_the_first_words():
    assert "2" in run(upto=0).caption[0].value
    assert not run(upto=10).caption


def test_settled_parts_stand_in_elements_of_their_own():
    values = [element.value for element in run(upto=len(ANSWER)).markdown]
    assert values[0].strip() == "# Title"
    assert values[1].strip() == "Words with $x$."
    assert values[2].strip() == "```py\na = 1\n\nb = 2\n```"
    assert words(values) == words([as_markdown(ANSWER)])


@pytest.mark.parametrize("upto", [7, 17, 33, 40, 60, 90])
def test_everything_that_has_come_is_drawn(upto):
    assert words([element.value for element in run(upto=upto).markdown]) == words([as_markdown(ANSWER[:upto])])


def test_the_last_words_are_drawn_before_the_answer_is_kept(monkeypatch):
    """Whatever the next redraw's time is: keeping an answer takes a while."""
    monkeypatch.setattr(live_answer, "DRAW_EVERY_S", 3600)
    monkeypatch.setattr(live_answer, "DRAW_SHARED_EVERY_S", 3600)
    app = AppTest.from_function(to_its_end).run()
    assert app.markdown[0].value == "One two three."


def to_its_end() -> None:
    from llm.events import Finished, TextDelta
    from ui.chat.live_answer import LiveAnswer

    live = LiveAnswer(key="live")
    for word in ("One", " two", " three."):
        live.feed(TextDelta(word))
    live.feed(Finished("stop"))


def test_a_kept_answer_is_one_element_with_the_thinking_folded_above():
    app = AppTest.from_function(kept, kwargs={"answer": ANSWER, "thinking": "Let me see.\n\nYes."}).run()
    assert app.expander[0].proto.expanded is False
    assert app.expander[0].markdown[0].value == "Let me see.\n\nYes."
    assert app.markdown[-1].value == ANSWER.replace("\\(x\\)", "$x$").replace("$5", "\\$5")


def test_thinking_grows_folded():
    growing = run(upto=0, thinking="Let me see.\n\nYes.")
    assert [element.value for element in growing.expander[0].markdown] == ["Let me see.", "Yes."]


def words(values: list[str]) -> str:
    """Streamlit strips each element, so blanks between two don't count."""
    return "".join("".join(values).split())
