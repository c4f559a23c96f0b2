"""What the house promises of itself and no other tool checks."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args

from llm.api.app import create_api
from llm.catalogue.entry import Task
from llm.config import Config
from llm.planning.engines import ENGINES

ROOT = Path(__file__).resolve().parents[1]
# Where an engine's or a task's name may decide something: their own records.
RECORDS = {"llm/catalogue/entry.py", "llm/catalogue/lookup.py", "llm/planning/engines.py"}
DECIDES = re.compile(r"\.(engine|task)\s*(==|!=|(not )?in)\s*[\"'({\[]")


def sources() -> list[Path]:
    return [path for folder in ("llm", "ui", "pages", "deploy") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_what_an_engine_or_a_task_needs_is_asked_of_its_record() -> None:
    """A new engine is one record: no `if entry.engine == ...` has to be found in other folders."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        if str(path.relative_to(ROOT)) not in RECORDS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if DECIDES.search(line) and "options.task" not in line
    ]
    assert not found


def test_every_task_has_a_name_on_the_models_page() -> None:
    for language in ("en", "zh"):
        texts = tomllib.loads((ROOT / "assets" / "locales" / language / "models.toml").read_text(encoding="utf-8"))
        assert {f"task_{task}" for task in get_args(Task)} <= texts.keys()


def test_documents_name_everything_that_there_is() -> None:
    """Settings, routes, requirements, engines and pages: what is added is told where people look for it."""

    def told(name: str) -> str:
        return (ROOT / name).read_text(encoding="utf-8")

    settings, api, dependencies = told("docs/settings.md"), told("docs/api.md"), told("docs/dependencies.md")
    assert not [f.name for f in fields(Config) if f"`HEARTH_{f.name.upper()}`" not in settings]
    routes = create_api("127.0.0.1").openapi()["paths"]
    assert "/v1/chat/completions" in routes
    assert not sorted(path for path in routes if path.split("{")[0].rstrip("/").removeprefix("/v1") not in api)
    wanted = [line.split("==")[0] for line in told("requirements.txt").splitlines() if "==" in line]
    assert not [name for name in wanted if name.lower() not in dependencies.lower()]
    architecture = told("docs/architecture.md")
    assert not [
        spec.name for spec in ENGINES.values() if spec.name in ("llamacpp", "whisper") and spec.name not in architecture
    ]
    assert not [
        folder.name
        for folder in (ROOT / "llm").iterdir()
        if (folder / "__init__.py").exists() and folder.name not in architecture
    ]
    for readme in (told("README.md"), told("README.zh.md")):
        assert "CONTRIBUTING.md" in readme and "docs/architecture.md" in readme and "docs/settings.md" in readme
