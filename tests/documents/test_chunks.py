"""Documents cut into passages."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from llm.documents.chunks import chunks
from llm.documents.document import Block, Document, Page


def tokens(text: str) -> int:
    """As embedders count, nearly: a Chinese character is a token, a word of Latin letters one for each four letters."""
    return sum(1 if character > "\u2e80" else 0 for character in text) + len(text.encode("ascii", "ignore")) // 4


def document(*blocks: Block) -> Document:
    return Document("a.txt", "text", (Page(1, "1", blocks),))


def test_a_section_is_a_chunk_that_knows_its_headings():
    found = chunks(
        document(
            Block("手册", "heading", 1),
            Block("安装", "heading", 2),
            Block("先断开电源，再打开外壳。" * 8),
            Block("维护", "heading", 2),
            Block("每月清洁一次滤网。" * 8),
        ),
        tokens,
        size=120,
    )
    assert [(chunk.headings, chunk.context) for chunk in found] == [((), ""), (("手册",), "手册")]
    assert found[0].text.startswith("手册\n安装\n先断开电源") and found[1].text.startswith("维护\n每月")
    assert [chunk.position for chunk in found] == [0, 1]


def test_head_and_caption_of_a_table_stand_before_each_of_its_pieces():
    rows = [Block(f"型号: A{n}; 价格: {n}", "row") for n in range(40)]
    found = chunks(document(Block("单位：万元"), Block("型号 | 价格", "table"), *rows, Block("完")), tokens, size=60)
    pieces = [chunk for chunk in found if chunk.kind == "row"]
    assert len(pieces) > 4 and all("单位：万元\n型号 | 价格" in chunk.context for chunk in pieces)
    assert "".join(f"{chunk.text}\n" for chunk in pieces) == "".join(f"{row.text}\n" for row in rows)
    assert all(chunk.tokens <= 60 for chunk in found)


def test_a_chunk_repeats_the_last_sentences_of_the_one_before():
    found = chunks(document(Block("".join(f"这是第{n}句话。" for n in range(60)))), tokens, size=80, overlap=20)
    for one, other in pairwise(found):
        assert one.text.endswith(other.text.split("。")[0] + "。") or other.text.split("。")[0] in one.text


def test_boxes_and_pages_of_a_passage_over_two_pages():
    pages = (
        Page(3, "iii", (Block("一句话。", box=(1, 2, 3, 4)),)),
        Page(4, "iv", (Block("另一句话。", box=(5, 6, 7, 8)),)),
    )
    (chunk,) = chunks(Document("a.pdf", "pdf", pages), tokens)
    assert (chunk.page, chunk.label, chunk.boxes) == (3, "iii", ((3, (1, 2, 3, 4)), (4, (5, 6, 7, 8))))


WORDS = st.text(st.sampled_from("一二三。，a b.\n表"), min_size=1, max_size=300)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=8), st.integers(20, 80))
def test_nothing_is_lost_and_nothing_is_too_long(texts, size):
    found = chunks(document(*map(Block, texts)), tokens, size, overlap=0)
    assert "".join("".join(chunk.text for chunk in found).split()) == "".join("".join(texts).split())
    assert all(chunk.tokens <= size + 2 for chunk in found)
