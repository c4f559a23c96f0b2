"""Logging in, in a real browser: with a password that is remembered, and with an organisation's account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from llm.access import logins
from tests.browser.app_server import AppServer

SHOWN = 30_000
ELSEWHERE = ("--server.address", "0.0.0.0")


def test_a_password_is_asked_once_and_logging_out_forgets_it(open_page: Callable[..., Page], tmp_path: Path) -> None:
    logins_of = {"HEARTH_LOGINS": f"ann:{logins.hashed('open sesame')}"}
    with AppServer(tmp_path / "home", env=logins_of, arguments=ELSEWHERE) as app:
        page = open_page()
        page.goto(app.url)
        page.get_by_role("textbox", name="Name").fill("ann", timeout=SHOWN)
        page.get_by_role("textbox", name="Password").fill("open sesame")
        page.get_by_role("button", name="Log in").click()
        leave = page.get_by_role("button", name="Log out")
        expect(leave).to_be_visible(timeout=SHOWN)
        page.wait_for_function("document.cookie.includes('hearth_pass=')", timeout=SHOWN)
        page.reload()
        expect(leave).to_be_visible(timeout=SHOWN)
        leave.click()
        expect(page.get_by_role("textbox", name="Password")).to_be_visible(timeout=SHOWN)
        page.wait_for_function("!document.cookie.includes('hearth_pass=')", timeout=SHOWN)
        page.reload()
        expect(page.get_by_role("textbox", name="Password")).to_be_visible(timeout=SHOWN)
        assert "open sesame" not in app.log


@pytest.fixture
def provider() -> Iterator[str]:
    """An OpenID Connect provider on this machine."""
    import oidc_provider_mock

    with oidc_provider_mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def test_an_organisations_account(open_page: Callable[..., Page], tmp_path: Path, provider: str) -> None:
    app = AppServer(tmp_path / "home", arguments=ELSEWHERE)
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        f'[auth]\nredirect_uri = "{app.url}/oauth2callback"\ncookie_secret = "a long secret for tests only"\n'
        f'client_id = "hearth"\nclient_secret = "secret"\n'
        f'server_metadata_url = "{provider}/.well-known/openid-configuration"\n'
    )
    app.arguments = (*ELSEWHERE, "--secrets.files", str(secrets))
    with app:
        page = open_page()
        page.goto(app.url)
        page.get_by_role("button", name="organisation").click(timeout=SHOWN)
        page.wait_for_url(re.compile(re.escape(provider)), timeout=SHOWN)
        page.get_by_placeholder("sub").or_(page.locator("input[name=sub]")).first.fill("ann@example.org")
        page.get_by_role("button", name=re.compile("authori", re.I)).first.click()
        leave = page.get_by_role("button", name="Log out")
        expect(leave).to_be_visible(timeout=SHOWN)
        page.reload()
        expect(leave).to_be_visible(timeout=SHOWN)
        leave.click()
        page.wait_for_url(re.compile(re.escape(provider)), timeout=SHOWN)
        page.get_by_role("button", name="End session").click()
        page.wait_for_url(re.compile(re.escape(app.url)), timeout=SHOWN)
        expect(page.get_by_role("button", name="organisation")).to_be_visible(timeout=SHOWN)
        page.reload()
        expect(page.get_by_role("button", name="organisation")).to_be_visible(timeout=SHOWN)
