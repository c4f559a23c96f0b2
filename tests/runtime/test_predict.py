"""Predicted speeds: what must hold on any machine. `benchmarks/self_test.py` compares them with measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm.catalogue.lookup import entries, find
from llm.engines.probes import probe
from llm.machine.hardware import hardware
from llm.machine.speed import Speed
from llm.planning.speed import predictions, tokens_per_s

LAPTOP = Speed(read_bytes_per_s=20e9, flops=90e9, threads=2)


def test_larger_models_are_slower_and_faster_memory_helps() -> None:
    small, large = find("smollm2-135m-instruct-q4_1"), find("qwen2.5-coder-1.5b-instruct-q4_k_m")
    assert tokens_per_s(small, "file", LAPTOP) > 3 * tokens_per_s(large, "file", LAPTOP)
    faster = replace(LAPTOP, read_bytes_per_s=60e9, flops=400e9)
    assert tokens_per_s(large, "file", faster) > 2 * tokens_per_s(large, "file", LAPTOP)


def test_no_model_is_promised_more_than_its_weights_can_be_read() -> None:
    for row in predictions(entries(), LAPTOP, hardware()):
        size = 0.5 * (row.entry.parameters or row.entry.size_bytes)  # no format is smaller
        assert row.tokens_per_s < 1.05 * LAPTOP.read_bytes_per_s / size, row.entry.id


def test_only_what_fits_is_listed_the_fastest_first() -> None:
    rows = predictions(entries(), LAPTOP, hardware())
    assert rows
    assert all(row.needed_bytes < hardware().ram_total_bytes for row in rows)
    assert [row.tokens_per_s for row in rows] == sorted((row.tokens_per_s for row in rows), reverse=True)
    assert {row.entry.task for row in rows} <= {"text-generation", "image-text-to-text"}
    tiny = replace(hardware(), ram_free_bytes=0)
    assert predictions(entries(), LAPTOP, tiny) == []


def test_the_measurement_is_of_a_plausible_size() -> None:
    speed = Speed(**probe("self_test"))
    assert 0.3e9 < speed.read_bytes_per_s < 2e12
    assert 0.3e9 < speed.flops < 1e14
    assert speed.threads == pytest.approx(min(hardware().usable_cores, hardware().physical_cores))
