"""The Connections page as a script, against a real Hearth that asks for a key."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from llm.access.api_keys import Keys
from llm.catalogue.lookup import installed
from llm.config import config
from llm.remote import servers as remote
from tests.api.conftest import TOOLED, Served, free_port, make_home, serve_command, start, stop  # noqa: F401
from tests.conftest import STARTER

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "connections.py")
SERVER_KEY = "sk-of-the-other-server"


@pytest.fixture(scope="module")
def elsewhere(make_home: Callable[[], Path]) -> Iterator[Served]:  # noqa: F811
    port = free_port()
    server = start(serve_command(port), make_home(), port, HEARTH_API_ACCESS="key", HEARTH_API_KEYS=SERVER_KEY)
    yield server
    stop(server)


@pytest.fixture
def page(data_folder: Path) -> Callable[..., AppTest]:
    def open_it(section: str = "servers", language: str = "en") -> AppTest:
        app = AppTest.from_file(PAGE, default_timeout=60)
        app.session_state["app.language"] = language
        app.session_state["connections.section"] = section
        return checked(app.run())

    return open_it


def checked(app: AppTest) -> AppTest:
    assert not app.exception, [error.message for error in app.exception]
    return app


def press(app: AppTest, label: str) -> AppTest:
    return checked(next(button for button in app.button if button.label == label).click().run())


def shown(app: AppTest) -> str:
    kinds = [*app.markdown, *app.caption, *app.success, *app.error, *app.info, *app.text, *app.code]
    return "\n".join(str(part.value) for part in kinds)


@pytest.mark.parametrize(("language", "title"), [("en", "Connections"), ("zh", "连接")])
@pytest.mark.parametrize("section", ["servers", "api"])
def test_each_section_opens_in_both_languages(
    page: Callable[..., AppTest], section: str, language: str, title: str
) -> None:
    assert page(section, language).title[0].value == title


def test_a_server_is_added_with_the_models_that_were_picked_changed_and_removed(
    page: Callable[..., AppTest], elsewhere: Served
) -> None:
    app = page()
    name, url, key = app.text_input
    name.set_value("other")
    url.set_value(f"{elsewhere.url}/v1/")
    key.set_value("sk-wrong")
    press(app, "Fetch its models")
    assert "another key" in shown(app) and "sk-wrong" not in shown(app) and not remote.servers()
    app.text_input[2].set_value(SERVER_KEY)
    press(app, "Fetch its models")
    picker = app.multiselect(key="server_models")
    assert set(picker.value) == {f"other/{STARTER}", f"other/{TOOLED}"} and not remote.servers()
    checked(picker.set_value([f"other/{STARTER}"]).run())
    press(app, "Add these")
    assert "1 models of other" in app.success[0].value
    assert [entry.id for entry in installed()] == [f"other/{STARTER}"]
    assert remote.key_of(remote.servers()["other"]) == SERVER_KEY
    assert SERVER_KEY not in shown(app) + "".join(str(field.value) for field in app.text_input)
    checked(app.button(key="change_other").click().run())
    picker = app.multiselect(key="server_models")
    assert picker.value == [f"other/{STARTER}"]
    checked(picker.set_value([f"other/{STARTER}", f"other/{TOOLED}"]).run())
    press(app, "Add these")
    assert len(installed()) == 2
    checked(app.button(key="yes_other").click().run())
    assert not installed() and "other was removed" in shown(app) and not remote.key_of(f"{elsewhere.url}/v1")


@pytest.mark.parametrize(
    ("name", "url", "words"),
    [
        ("", "http://127.0.0.1:9/v1", "name"),
        ("a b", "http://127.0.0.1:9/v1", "name"),
        ("ok", "not an address", "http://"),
        ("ok", "file:///etc/passwd", "http://"),
        ("ok", "http://127.0.0.1:{free}/v1", "cannot be reached"),
    ],
)
def test_what_is_no_server_is_said(page: Callable[..., AppTest], name: str, url: str, words: str) -> None:
    app = page()
    app.text_input[0].set_value(name)
    app.text_input[1].set_value(url.format(free=free_port()))
    press(app, "Fetch its models")
    assert words in app.error[0].value and not remote.servers()


def test_a_key_is_shown_once_and_can_be_revoked(page: Callable[..., AppTest], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app = page("api")
    assert any(code.value.endswith("/v1") for code in app.code) and "There are none yet" in shown(app)
    app.text_input(key="connections.key_name").set_value("laptop")
    press(app, "Create a key")
    key = app.code[-1].value
    assert Keys().accepts(key) and "Copy this key now" in shown(app)
    checked(app.run())
    assert key not in shown(app) and key[-4:] in shown(app)
    assert "connections.new_key" not in app.session_state and key not in caplog.text
    assert key not in page("api").code[-1].value
    app.text_input(key="connections.key_name").set_value("laptop")
    press(app, "Create a key")
    assert "already" in app.error[0].value and len(Keys().listed()) == 1
    press(app, "Create a key")
    assert "name first" in app.error[0].value
    checked(app.button(key="gone_laptop").click().run())
    assert not Keys().accepts(key) and "There are none yet" in shown(app)


def test_it_says_who_needs_a_key(page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_API_ACCESS", "key")
    config.cache_clear()
    assert "Every program needs a key" in shown(page("api"))
