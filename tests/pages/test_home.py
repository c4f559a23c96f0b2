"""Home."""

from __future__ import annotations


def test_it_says_what_is_there_and_leads_to_every_page(open_page):
    app = open_page()
    assert not app.exception
    assert app.title[0].value == "Hearth"
    words = " ".join(text.value for text in app.text)
    assert "GB" in words and "None is here yet" in words


def test_it_speaks_chinese(open_page):
    app = open_page()
    app.session_state["app.language"] = "zh"
    app.run()
    assert not app.exception
    assert "这台电脑" in [heading.value for heading in app.subheader]


def test_it_names_the_models_that_are_here(scripted, open_page):
    assert any("SmolLM2" in text.value for text in open_page().text)


def test_what_was_done_last_is_one_click_away(scripted, open_page):
    from llm.store import store

    store().create_conversation(title="About stars")
    store().create_conversation(title="A photo", kind="image")
    store().transcripts.create("talk.wav", {"segments": []})
    app = open_page()
    assert not app.exception
    assert [b.label for b in app.button if (b.key or "").startswith("recent_")] == [
        "talk\\.wav",
        "A photo",
        "About stars",
    ]
