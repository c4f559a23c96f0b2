"""Loads each reference checkpoint once, as any page would, in float32 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.published import ROOT

MISSING = f"the reference checkpoints are not there: no folder {ROOT.name} in {ROOT.parent.name} beside the repository"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not ROOT.is_dir():
        for item in items:
            if "conformance" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason=MISSING))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not ROOT.is_dir():
        terminalreporter.section("CONFORMANCE NOT TESTED", red=True, bold=True)
        terminalreporter.line(MISSING, red=True)


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`loaded(folder)`: the handle that `llm.load` gives, for a name or a path."""
    import llm
    from llm.config import config
    from llm.plan import LoadPlan

    patch = pytest.MonkeyPatch()
    patch.setenv("HEARTH_HOME", str(tmp_path_factory.mktemp("home")))
    config.cache_clear()

    def load(folder: Any) -> Any:
        return llm.load(ROOT / folder, LoadPlan(device="cpu", precision="float32"))

    yield load
    patch.undo()
    config.cache_clear()
