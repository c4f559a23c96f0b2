"""Where the app's own files lie: texts, components, requirements, Streamlit's settings."""

from __future__ import annotations

from pathlib import Path

APP = Path(__file__).resolve().parent.parent
"""The folder of Home.py; processes that run modules of `llm` need it on their import path."""
LOCALES = APP / "assets" / "locales"
COMPONENTS = APP / "assets" / "components"
REQUIREMENTS = APP / "requirements.txt"
STREAMLIT_CONFIG = APP / ".streamlit" / "config.toml"
