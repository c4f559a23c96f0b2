"""Who is there: asked as soon as the server listens to other machines. Each login sees its own conversations."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from llm.access import logins
from llm.access.callers import is_local
from llm.paths import ICON
from ui.app.cookies import remember
from ui.shared.i18n import t
from ui.shared.state import OWNER

COOKIE = "hearth_pass"
_BY_PASSWORD = "login:"
_LEFT = "login.left"
"""Set in a session that logged out: the cookies of its first moment still hold the pass."""


def gate() -> StreamlitPage | None:
    """The page that asks who is there; None when nobody needs to be asked, or the visitor has said.

    Whoever is elsewhere is asked, and where logins are configured everybody is.
    """
    if not _by_provider() and not logins.configured() and _is_local():
        return None
    if _by_provider():
        if st.user.is_logged_in:
            st.session_state[OWNER] = f"oidc:{st.user.get('email') or st.user.get('sub')}"[:200]
            return None
    elif _known_here():
        return None
    return st.navigation([st.Page(ask, title=t("login.title"), icon=":material/lock:")], position="hidden")


def _is_local() -> bool:
    """See `llm.access.callers.is_local`. A page that runs in a test has no connection, and is of this machine."""
    headers = {name.lower(): value for name, value in st.context.headers.to_dict().items()}
    address = st.get_option("server.address") or "0.0.0.0"
    peer = st.context.ip_address  # None for loopback
    return is_local(address, (peer if isinstance(peer, str) else "127.0.0.1",), {"host": "localhost", **headers})


def leave() -> None:
    """A way out, in the sidebar, for those who logged in; and their browser remembers them for some days."""
    if OWNER not in st.session_state:
        return
    with st.sidebar:
        if st.session_state[OWNER].startswith(_BY_PASSWORD):
            remember(COOKIE, _pass(st.session_state[OWNER].removeprefix(_BY_PASSWORD)), logins.PASS_DAYS)
        if st.button(t("login.leave"), icon=":material/logout:"):
            st.session_state.clear()
            st.session_state[_LEFT] = True
            if _by_provider():
                st.logout()
                st.stop()  # a rerun may drop the message that sends the browser out, who would stay logged in
            st.rerun()


def _known_here() -> bool:
    """Whether the visitor gave a password in this session, or shows a pass from one before."""
    if OWNER not in st.session_state and _LEFT not in st.session_state:
        name = logins.holder(str(st.context.cookies.get(COOKIE, "")))
        if name:
            _enter(name)
    return OWNER in st.session_state


def _enter(name: str) -> None:
    st.session_state[OWNER] = f"{_BY_PASSWORD}{name}"[:200]
    st.session_state.pop(_LEFT, None)


@st.cache_data(ttl=3600, show_spinner=False)
def _pass(name: str) -> str:
    """The pass of a login: the same one for an hour, so that a page doesn't set a cookie at each draw."""
    return logins.pass_for(name)


def ask() -> None:
    """The login page."""
    st.set_page_config(page_title=f"{t('login.title')} · Hearth", page_icon=str(ICON), layout="centered")
    st.title(t("login.title"))
    if _by_provider():
        if st.button(t("login.provider"), type="primary"):
            st.login()
        return
    if _LEFT in st.session_state:
        remember(COOKIE, "none", days=0)
    if not logins.known():
        st.error(t("login.closed"))
        st.code("python -m llm password\nHEARTH_LOGINS=name:scrypt$...", language=None)
        return
    with st.form("login"):
        name = st.text_input(t("login.name"), max_chars=200, autocomplete="username")
        password = st.text_input(t("login.password"), type="password", autocomplete="current-password")
        sent = st.form_submit_button(t("login.enter"), type="primary")
    if not sent:
        return
    wait_s = _door().wait_s(name)
    if wait_s:
        st.warning(t("login.wait", seconds=round(wait_s) + 1))
    elif _door().opens(name, password):
        _enter(name)
        st.rerun()
    else:
        st.error(t("login.wrong"))


@st.cache_resource(show_spinner=False)
def _door() -> logins.Door:
    return logins.Door()


def _by_provider() -> bool:
    """Whether an OpenID Connect provider is configured in `.streamlit/secrets.toml`."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False
