"""Where the app's own files lie: the pages, their texts and components, Streamlit's settings."""

from __future__ import annotations

import sysconfig
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
"""The folder that holds `llm`; processes that run its modules need it on their import path."""


def _app() -> Path:
    """The checkout, or the folder in which an installed wheel keeps what is no Python package."""
    if (SOURCES / "Home.py").is_file():
        return SOURCES
    return Path(sysconfig.get_path("data")) / "share" / "hearth"


APP = _app()
"""The folder of Home.py."""
LOCALES = APP / "assets" / "locales"
COMPONENTS = APP / "assets" / "components"
EXAMPLES = APP / "assets" / "examples"
"""Pictures and recordings to try the Tasks page with."""
ICON = APP / "assets" / "icon.svg"
REQUIREMENTS = APP / "requirements.txt"
STREAMLIT_CONFIG = APP / ".streamlit" / "config.toml"
