"""What the house promises of itself and no other tool checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

from llm.catalogue.entry import Task

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
