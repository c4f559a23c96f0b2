"""What stands around every page: navigation, language, style."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage
from streamlit.runtime.pages_manager import PagesManager

from llm.paths import ICON
from llm.sources import downloads
from ui.app import login, style
from ui.app.cookies import remember
from ui.app.sidebar import close_on_choice
from ui.app.streamlit_words import speak
from ui.shared.choices import keep_choices
from ui.shared.i18n import COOKIE, LANGUAGES, language, t
from ui.shared.state import LANGUAGE

# File, icon; the title is `app.<stem>` of the locale files.
PAGES = (
    ("pages/home.py", ":material/home:"),
    ("pages/chat.py", ":material/chat:"),
    ("pages/image.py", ":material/image:"),
    ("pages/speech.py", ":material/mic:"),
    ("pages/knowledge.py", ":material/menu_book:"),
    ("pages/tasks.py", ":material/checklist:"),
    ("pages/finetune.py", ":material/model_training:"),
    ("pages/models.py", ":material/deployed_code:"),
    ("pages/connections.py", ":material/lan:"),
    ("pages/diagnostics.py", ":material/monitor_heart:"),
)


def own_navigation() -> None:
    """Tells Streamlit, before the first visit, that the folder `pages/` is ours.

    Otherwise a first visit to a page's own address runs that file alone, without what stands around it.
    """
    PagesManager.uses_pages_directory = False


def run_page() -> None:
    """Draws what stands around every page, and the page that the visitor is on."""
    chosen = navigation()
    if chosen.url_path == "":  # Home has nothing to choose, and need not wait for the database's libraries
        chosen.run()
        return
    keep_choices()
    chosen.run()
    keep_choices()


def navigation() -> StreamlitPage:
    """The page that the visitor is on, ready to run, with the menu drawn; the login where one is needed."""
    if (asking := login.gate()) is not None:
        return asking
    downloads.take_up()  # what a killed process left half done goes on with the first visit
    chosen = st.navigation(
        [
            st.Page(file, title=t(f"app.{stem(file)}"), icon=icon, default=file == "pages/home.py")
            for file, icon in PAGES
        ]
    )
    st.set_page_config(page_title=f"{chosen.title} · Hearth", page_icon=str(ICON), layout="centered")
    style.apply()
    close_on_choice()
    speak()
    _language_switch()
    login.leave()
    return chosen


def stem(file: str) -> str:
    """A page's name in the locale files."""
    return file.rsplit("/", 1)[-1].removesuffix(".py")


def _language_switch() -> None:
    with st.sidebar:
        st.segmented_control(
            t("app.language"),
            list(LANGUAGES),
            key=LANGUAGE,
            default=language() if LANGUAGE not in st.session_state else None,
            format_func=lambda code: LANGUAGES[code],
            label_visibility="collapsed",
            required=True,
        )
        remember(COOKIE, language())
