"""Conversations: listed, named, deleted with undo, each owner's own."""

from datetime import timedelta

import pytest

from llm.errors import NotFound
from llm.messages import ImagePart, user
from llm.store import store, title_of


def test_a_new_conversation_holds_what_it_was_given(kept):
    made = kept.create_conversation(
        "Stoves", model="m", system_prompt="Be brief.", settings={"temperature": 0.2, "stop": ["\n"]}
    )
    found = kept.conversation(made.id)
    assert found == made
    assert (found.title, found.title_auto, found.model, found.system_prompt) == ("Stoves", False, "m", "Be brief.")
    assert found.settings == {"temperature": 0.2, "stop": ["\n"]}
    kept.update(made.id, model="other", settings={"top_k": 3})
    assert (kept.conversation(made.id).model, kept.conversation(made.id).settings) == ("other", {"top_k": 3})
    assert kept.conversation(made.id).system_prompt == "Be brief."


def test_pages_go_through_all_newest_first(kept):
    ids = [kept.create_conversation(f"Talk {n}").id for n in range(7)]
    kept.add(ids[2], user("again"))  # an old one that is used moves to the front
    expected = [ids[2], *(i for i in reversed(ids) if i != ids[2])]
    seen, before = [], None
    while True:
        page = kept.list(limit=3, before=before)
        seen += [c.id for c in page.items]
        before = page.next
        if before is None:
            break
    assert seen == expected


@pytest.mark.parametrize("cursor", ["", "x", "1_", "'; DROP TABLE messages; --", "9" * 400])
def test_a_strange_cursor_is_no_error(kept, cursor):
    kept.create_conversation("One")
    assert len(kept.list(before=cursor).items) <= 1
    assert len(kept.list("One", before=cursor).items) <= 1


def test_the_title_is_made_of_the_first_question_and_a_persons_stays(kept):
    made = kept.create_conversation()
    kept.add(made.id, user("# How do I light\n a fire?"))
    assert kept.conversation(made.id).title == "How do I light"
    kept.rename(made.id, "Fires", auto=True)
    assert (kept.conversation(made.id).title, kept.conversation(made.id).title_auto) == ("Fires", True)
    kept.rename(made.id, "My fires")
    kept.rename(made.id, "Better title", auto=True)
    assert (kept.conversation(made.id).title, kept.conversation(made.id).title_auto) == ("My fires", False)
    with pytest.raises(NotFound):
        kept.rename("nowhere", "x")


def test_a_picture_alone_gives_its_name_as_title(kept):
    made = kept.create_conversation()
    kept.add(made.id, user(ImagePart(b"png", "image/png", "cat.png")))
    assert kept.conversation(made.id).title == "cat.png"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("  \n\n## Hello there  ", "Hello there"),
        ("请" * 30, "请" * 24 + "…"),
        ("word " * 20, "word word word word word word word word word…"),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_titles_are_one_short_line(text, title):
    assert title_of(text) == title


def test_delete_restore_and_purge(kept):
    made = kept.create_conversation("Gone")
    kept.add(made.id, user("words"))
    kept.delete(made.id)
    assert kept.list().items == () and kept.list("words").items == ()
    assert kept.conversation(made.id).deleted_at is not None
    kept.restore(made.id)
    assert [c.id for c in kept.list("words").items] == [made.id]
    assert kept.purge(timedelta(0)).conversations == 0
    kept.delete(made.id)
    assert kept.purge(timedelta(days=1)).conversations == 0
    assert kept.purge(timedelta(0)).conversations == 1
    with pytest.raises(NotFound):
        kept.restore(made.id)


def test_a_long_conversation_can_be_purged(kept):
    """SQLite's cascades end 1,000 deep; a chain of messages may be longer."""
    made = kept.create_conversation()
    for n in range(1300):
        kept.add(made.id, user(f"turn {n}"))
    assert len(kept.path(made.id)) == 1300
    kept.delete(made.id)
    assert kept.purge(timedelta(0)).conversations == 1
    assert kept.list("turn 1299").items == ()


def test_another_owners_things_are_not_there(kept):
    mine = kept.create_conversation("Secret garden")
    message = kept.add(mine.id, user("roses and thorns"))
    ann = store("ann@example.org")
    assert ann.list().items == () and ann.list("garden").items == () and ann.list("roses").items == ()
    for call in (
        lambda: ann.conversation(mine.id),
        lambda: ann.path(mine.id),
        lambda: ann.message(message),
        lambda: ann.trace(message),
        lambda: ann.add(mine.id, user("x")),
        lambda: ann.begin_answer(mine.id),
        lambda: ann.switch_branch(message),
        lambda: ann.rename(mine.id, "x"),
        lambda: ann.update(mine.id, model="x"),
        lambda: ann.delete(mine.id),
        lambda: ann.restore(mine.id),
        lambda: ann.export_json([mine.id]),
        lambda: ann.export_markdown(mine.id),
    ):
        with pytest.raises(NotFound):
            call()
    hers = ann.create_conversation()
    with pytest.raises(NotFound):
        ann.add(hers.id, user("x"), parent_id=message)
    assert [c.id for c in kept.list().items] == [mine.id]
    kept.delete(mine.id)
    assert ann.purge(timedelta(0)).conversations == 0


@pytest.mark.parametrize("owner", ["", "x" * 201])
def test_an_owner_has_a_name(home, owner):
    with pytest.raises(ValueError, match="owner"):
        store(owner)
