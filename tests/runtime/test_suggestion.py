"""Which model that sees is offered to which machine."""

from __future__ import annotations

import pytest

from llm.catalogue.entry import ModelEntry
from llm.machine.torch_build import TorchBuild
from llm.planning import engines
from llm.planning.memory import choices
from llm.planning.recommendation import CONTEXT_TOKENS, seeing_model
from tests.runtime.test_memory import machine


def fits_in(entry: ModelEntry, ram_gb: float, gpu_gb: float = 0) -> dict[str, str]:
    """The precisions in which it fits -> where."""
    found = choices(entry, machine(ram_gb, gpu_gb), None, CONTEXT_TOKENS)
    return {choice.plan.precision: choice.estimate.device for choice in found if choice.fit.ok}


def test_without_a_gpu_a_small_one_is_offered() -> None:
    found = seeing_model(machine(32))
    assert found is not None and found.task == "image-text-to-text" and found.sources
    assert found.size_bytes < 5 * 10**9 and "bfloat16" in fits_in(found, 32)


def test_a_gpu_gets_the_largest_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "torch_build", lambda: TorchBuild("2.13.0", "13.0"))
    small, large = seeing_model(machine(64, 8)), seeing_model(machine(64, 24))
    assert small is not None and large is not None and small.size_bytes < large.size_bytes
    assert fits_in(large, 64, 24)["bfloat16"] == "cuda"


def test_where_little_is_free_it_is_one_for_4_bits_or_none() -> None:
    tight = seeing_model(machine(4.5))
    assert tight is not None and set(fits_in(tight, 4.5)) <= {"int8", "int4"}
    assert seeing_model(machine(0.5)) is None
