"""Pages run without a browser, on a model that says what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from llm.chat import answers as answers_module
from tests.conftest import STARTER
from tests.runtime.scripted import scripted_model

HOME = Path(__file__).resolve().parents[2] / "Home.py"


@pytest.fixture
def scripted(data_folder, monkeypatch):
    """The starter seems to be there, and every chat is answered by the returned engine."""
    folder = data_folder / "models" / STARTER
    folder.mkdir(parents=True)
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").touch()
    model, engine = scripted_model()
    monkeypatch.setattr(answers_module.handles, "load", lambda *_, **__: model)
    answers_module.answers.cache_clear()
    return engine


@pytest.fixture
def open_page(data_folder):
    """Opens the app on a page: `open_page("chat")`."""

    def open_it(name: str = "home") -> AppTest:
        app = AppTest.from_file(str(HOME), default_timeout=30)
        app.run()
        if name != "home":
            app.switch_page(f"pages/{name}.py").run()
        return app

    return open_it
