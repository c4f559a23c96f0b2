"""Full-text search, Chinese and English, whatever is typed."""

import pytest

from llm.messages import DocumentPart, TextPart, assistant, user
from llm.store import Meta
from llm.store.search import snippet


@pytest.fixture
def three(kept):
    """Ids of three conversations: about bread, about 模型, and about both."""
    bread = kept.create_conversation("Baking")
    kept.add(bread.id, user("How do I bake sourdough bread at 100% hydration?"))
    kept.add(bread.id, assistant("Feed the starter; bread, bread and more bread."))
    models = kept.create_conversation("本地部署")
    kept.add(models.id, user("怎样在家里运行大语言模型？"))
    both = kept.create_conversation("混合")
    kept.add(both.id, user("用模型写一个 bread_recipe 程序", DocumentPart("notes.txt", "quarterly figures")))
    return bread.id, models.id, both.id


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("bread", (0, 2)),
        ("BREAD", (0, 2)),
        ("sourdough hydration", (0,)),
        ("大语言模型", (1,)),
        ("模型", (1, 2)),
        ("模", (1, 2)),
        ("模型 bread", (2,)),
        ("部署", (1,)),
        ("baking", (0,)),
        ("100%", (0,)),
        ("0% h", (0,)),
        ("d_r", (2,)),
        ("dar", ()),
        ("quarterly", (2,)),
        ("notes.txt", (2,)),
        ("nothing like it", ()),
    ],
)
def test_finds_every_conversation_that_holds_all_words(kept, three, query, found):
    assert {c.id for c in kept.list(query).items} == {three[n] for n in found}


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '""',
        '"bread',
        'bread"',
        "*",
        "bread*",
        "AND",
        "a AND",
        "NOT bread",
        "OR OR OR",
        "NEAR(a b)",
        "text:x",
        "(",
        "^bread",
        "-bread",
        "%",
        "%%%",
        "_",
        "___",
        "\\",
        "\\\\\\",
        "'",
        "';--",
        "\0",
        "a\0b",
        "\ud800",
        "🔥",
        "🔥🔥🔥",
        "{}",
        "x" * 5000,
        "a " * 500,
        ".*",
        "[",
        "é",
        "ﬀ",
        "İİİ",
        "+",
        "`",
        "\ufeff",
    ],
)
def test_no_query_is_an_error(kept, three, query):
    assert isinstance(kept.list(query).items, tuple)


def test_an_empty_query_lists_all(kept, three):
    assert [c.id for c in kept.list("  \n ").items] == list(reversed(three))


def test_titles_first_then_the_better_match(kept, home):
    weak = kept.create_conversation("Weak")
    kept.add(weak.id, user("hearth " + "and many other words about all kinds of things " * 20))
    strong = kept.create_conversation("Strong")
    kept.add(strong.id, user("hearth hearth hearth"))
    titled = kept.create_conversation("About a hearth")
    newest = kept.create_conversation("Newest")
    kept.add(newest.id, user("a hearth " + "and many other words about all kinds of things " * 20))
    found = [c.id for c in kept.list("hearth").items]
    assert found[0] == titled.id and len(found) == 4
    if kept.db.has_fts:
        assert found[1] == strong.id


def test_found_pages_follow_each_other(kept):
    ids = set()
    for n in range(5):
        made = kept.create_conversation(f"Talk {n}")
        kept.add(made.id, user("needle"))
        ids.add(made.id)
    seen, before = [], None
    while True:
        page = kept.list("needle", limit=2, before=before)
        seen += [c.id for c in page.items]
        before = page.next
        if before is None:
            break
    assert len(seen) == 5 and set(seen) == ids


def test_the_snippet_shows_where(kept, three):
    (found,) = kept.list("sourdough").items
    shown = found.snippet
    assert [shown.text[a:b] for a, b in shown.hits] == ["sourdough"]
    assert shown.message_id == kept.path(found.id)[0].id
    (titled,) = kept.list("部署").items
    assert titled.snippet.message_id is None and titled.snippet.text == "本地部署"


def test_a_snippet_is_short_and_on_one_line():
    shown = snippet("x " * 500 + "the\n\nneedle " + "y " * 500, ["needle"])
    assert len(shown.text) < 150 and "\n" not in shown.text
    assert [shown.text[a:b] for a, b in shown.hits] == ["needle"]


def test_an_edited_or_rewritten_answer_is_found_by_its_last_words(kept):
    made = kept.create_conversation("t")
    answer = kept.begin_answer(made.id)
    kept.finish_answer(answer, [TextPart("first wording")], Meta())
    kept.finish_answer(answer, [TextPart("second wording")], Meta())
    assert kept.list("first").items == ()
    assert len(kept.list("second").items) == 1
