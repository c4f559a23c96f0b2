"""Export to Markdown and JSON, and JSON back; files that somebody made to hurt."""

import base64
import copy
import json

import pytest

from llm.errors import BadImport
from llm.messages import DocumentPart, ImagePart, TextPart, ThinkingPart, assistant, user
from llm.store import Meta, store


@pytest.fixture
def talk(kept):
    """A conversation with a picture, a document, thinking and two branches; its id."""
    made = kept.create_conversation("Talk", model="m", system_prompt="Be kind.", settings={"stop": ["x"], "top_k": 5})
    question = kept.add(made.id, user("看图", ImagePart(b"png", "image/png", "cat.png"), DocumentPart("n", "```\nx")))
    kept.add(made.id, assistant(ThinkingPart("hm"), TextPart("A cat.")), meta=Meta("stopped", extra={"a": 1, "b": []}))
    kept.add(made.id, assistant("A dog."), parent_id=question)
    return made.id


def tree(kept, conversation_id):
    path = kept.path(conversation_id)
    others = [kept.message(s) for m in path for s in m.siblings]
    return [(m.index, m.message, m.meta.status, m.created_at) for m in [*path, *others]]


def test_json_comes_back_the_same_for_anybody(kept, talk):
    data = kept.export_json([talk])
    ann = store("ann")
    (new,) = ann.import_json(data)
    assert new != talk
    assert tree(ann, new) == tree(kept, talk)
    before, after = kept.conversation(talk), ann.conversation(new)
    for name in ("title", "title_auto", "created_at", "updated_at", "model", "system_prompt", "settings"):
        assert getattr(after, name) == getattr(before, name)
    again = json.loads(ann.export_json([new]))
    first = json.loads(data)
    first["conversations"][0]["messages"][1]["meta"]["extra"] = {"a": 1}
    assert again["conversations"] == first["conversations"] and again["attachments"] == first["attachments"]


def test_several_at_once(kept, talk):
    other = kept.create_conversation("Empty").id
    assert len(kept.import_json(kept.export_json([talk, other]))) == 2
    assert kept.import_json(kept.export_json([])) == []


def test_an_answer_being_written_is_exported_as_interrupted(kept):
    made = kept.create_conversation()
    answer = kept.begin_answer(made.id)
    kept.save_partial(answer, [TextPart("half")])
    (new,) = kept.import_json(kept.export_json([made.id]))
    assert kept.path(new)[0].meta.status == "interrupted"
    assert kept.list("half").items[0].id == new


def test_markdown_is_the_branch_that_is_shown(kept, talk):
    text = kept.export_markdown(talk, {"user": "我"})
    assert text.startswith("# Talk\n") and "Be kind." in text
    assert "## 我\n\n看图" in text and "*[Picture: cat.png]*" in text and "````\n```\nx\n````" in text
    assert "A dog." in text and "A cat." not in text
    kept.switch_branch(kept.path(talk)[1].siblings[0])
    assert "<summary>Thinking</summary>" in kept.export_markdown(talk)


def sound() -> dict:
    return {
        "format": "hearth-conversations",
        "version": 1,
        "conversations": [
            {
                "title": "t",
                "messages": [
                    {"parent": None, "role": "user", "parts": [{"type": "text", "text": "hi"}]},
                    {"parent": 0, "role": "assistant", "parts": [{"type": "text", "text": "ho"}]},
                ],
            }
        ],
        "attachments": {},
    }


def test_what_is_left_out_has_defaults(kept):
    (new,) = kept.import_json(json.dumps(sound()).encode())
    assert [m.message.text for m in kept.path(new)] == ["hi", "ho"]


def put(path, value):
    def change(values):
        for step in path[:-1]:
            values = values[step]
        values[path[-1]] = value

    return change


TALK = ("conversations", 0)
MESSAGE = (*TALK, "messages", 1)
PART = (*MESSAGE, "parts", 0)
WRONG = [
    (("format",), "other"),
    (("version",), 2),
    (("version",), "1"),
    (("conversations",), {}),
    (("conversations",), None),
    (("conversations", 0), 5),
    (("conversations",), [{"messages": []}] * 10_001),
    (("attachments",), []),
    (("attachments",), {"0" * 64: base64.b64encode(b"x").decode()}),
    (("attachments",), {"0" * 64: "%%%"}),
    (("attachments",), {"0" * 64: 5}),
    ((*TALK, "title"), 5),
    ((*TALK, "title_auto"), "yes"),
    ((*TALK, "created_at"), "yesterday"),
    ((*TALK, "created_at"), 5),
    ((*TALK, "settings"), {"temperature": 99}),
    ((*TALK, "settings"), {"temperature": "hot"}),
    ((*TALK, "settings"), {"stop": "x"}),
    ((*TALK, "settings"), {"thinking": 5}),
    ((*TALK, "settings"), {"logprobs": [1]}),
    ((*TALK, "settings"), {"json_schema": "x"}),
    ((*TALK, "active"), 2),
    ((*TALK, "active"), -1),
    ((*TALK, "active"), "0"),
    ((*TALK, "messages"), {}),
    (MESSAGE, None),
    ((*MESSAGE, "parent"), 1),
    ((*MESSAGE, "parent"), 7),
    ((*MESSAGE, "parent"), -1),
    ((*MESSAGE, "parent"), True),
    ((*MESSAGE, "parent"), "0"),
    ((*MESSAGE, "role"), "root"),
    ((*MESSAGE, "role"), ["user"]),
    ((*MESSAGE, "created_at"), "9" * 500),
    ((*MESSAGE, "meta"), []),
    ((*MESSAGE, "meta"), {"status": "dancing"}),
    ((*MESSAGE, "meta"), {"status": ["writing"]}),
    ((*MESSAGE, "meta"), {"usage": {"prompt_tokens": "many"}}),
    ((*MESSAGE, "meta"), {"timings": {"total_s": -1}}),
    ((*MESSAGE, "meta"), {"extra": 5}),
    ((*MESSAGE, "meta"), {"model": 5}),
    ((*MESSAGE, "parts"), "text"),
    (PART, "text"),
    (PART, {"type": "spell"}),
    (PART, {"type": ["text"]}),
    (PART, {"type": "text"}),
    (PART, {"type": "text", "text": 5}),
    (PART, {"type": "box", "x1": 1.5, "y1": 0, "x2": 0, "y2": 0}),
    (PART, {"type": "box", "x1": 10**9, "y1": 0, "x2": 0, "y2": 0}),
    (PART, {"type": "image", "sha256": "../../etc/passwd", "media_type": "image/png"}),
    (PART, {"type": "image", "sha256": ["x"], "media_type": "image/png"}),
    (PART, {"type": "image", "data": "eA==", "media_type": "image/png"}),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{p[-1]}-{n}" for n, (p, _) in enumerate(WRONG)])
def test_a_wrong_value_is_refused_and_nothing_is_kept(kept, path, value):
    values = sound()
    values["conversations"].insert(0, copy.deepcopy(values["conversations"][0]))  # a sound one before the wrong one
    fixed = tuple(1 if at == 1 and path[0] == "conversations" else step for at, step in enumerate(path))
    put(fixed, value)(values)
    with pytest.raises(BadImport) as caught:
        kept.import_json(json.dumps(values).encode())
    assert len(str(caught.value)) < 600
    assert kept.list().items == ()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"null", b"[]", b"5", b"{", b"[" * 200_000, b'{"a":' * 100_000, b"NaN", b"9" * 10_000],
    ids=["empty", "not-utf8", "null", "list", "number", "open", "deep-list", "deep-object", "nan", "long-number"],
)
def test_what_is_no_export_is_refused(kept, data):
    with pytest.raises(BadImport):
        kept.import_json(data)


def test_a_picture_must_be_one_by_its_type(kept, talk):
    values = json.loads(kept.export_json([talk]))
    values["conversations"][0]["messages"][0]["parts"][1]["media_type"] = "text/html"
    with pytest.raises(BadImport):
        kept.import_json(json.dumps(values).encode())


def test_a_file_that_is_too_large_is_refused(kept, monkeypatch):
    monkeypatch.setattr("llm.store.imports.MAX_BYTES", 100)
    with pytest.raises(BadImport, match="bytes"):
        kept.import_json(json.dumps(sound()).encode())


def test_a_very_deep_conversation_is_read(kept):
    values = sound()
    one = values["conversations"][0]
    one["messages"] = [
        {"parent": n - 1 if n else None, "role": "user", "parts": [{"type": "text", "text": str(n)}]}
        for n in range(3000)
    ]
    (new,) = kept.import_json(json.dumps(values).encode())
    assert len(kept.path(new)) == 3000
