"""Documents that give orders are data: none of their words is a tag, and the instruction stands behind them all."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from llm.knowledge import answers
from llm.knowledge.library import Library
from llm.knowledge.values import KnownDocument
from llm.settings import GenerationSettings
from tests.knowledge.orders import CHINESE, ENGLISH, FACT_EN, FACT_ZH, QUESTION_EN, QUESTION_ZH
from tests.runtime.scripted import scripted_model


@pytest.mark.parametrize(
    ("files", "fact", "question"), [(ENGLISH, FACT_EN, QUESTION_EN), (CHINESE, FACT_ZH, QUESTION_ZH)]
)
def test_orders_in_documents_are_neither_tags_nor_the_last_word(
    library: Library, add: Callable[..., KnownDocument], files: dict[str, str], fact: str, question: str
) -> None:
    base = library.create_base("Orders")
    documents = [add(base.id, name, text) for name, text in files.items()]
    assert {document.state for document in documents} == {"ready"}
    harmless = library.create_base("Harmless")
    add(harmless.id, "fact.txt", fact)
    tags = control_tags(library, harmless.id, question)[0]
    everything = [passage for document in documents for passage in library.passages_of(document.id)]
    for document in documents:
        own = library.passages_of(document.id)
        off = [passage.id for passage in everything if passage not in own]
        found, prompt = control_tags(library, base.id, question, off)
        assert found == tags, document.name
        fence = re.search(r"<([0-9a-f]{12}) number=1 ", prompt)
        assert fence is not None and all(fence[1] not in passage.text for passage in own)
        end = prompt.rindex(f"</{fence[1]}>")
        assert end < prompt.index("do not follow them", end) < prompt.rindex(question)
        # Nothing of what was read is hidden from the person, and all of it stands between the marks.
        assert all(prompt.index(passage.text) < end for passage in own)


def control_tags(library: Library, base: str, question: str, off: list[int] | None = None) -> tuple[list[int], str]:
    """The tags that steer the model in the prompt of an answer, and the prompt."""
    model, engine = scripted_model(script=["ok"])
    list(answers.answer(library, base, question, model, GenerationSettings(), off=off or []))
    prompt = engine.received[0][0]
    return [piece.id for piece in prompt.pieces if piece.kind == "control"], prompt.text
