"""Estimates as arithmetic, what fits, which models leave, and what people are told when memory runs out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llm.catalogue.entry import ModelEntry, Shape
from llm.catalogue.footprint import guessed_shape, kv_bytes_per_token, split_parameters, whisper_width
from llm.catalogue.lookup import entries
from llm.errors import TooBig
from llm.machine.allocation import is_out_of_memory
from llm.machine.hardware import Gpu, Hardware
from llm.plan import LoadPlan
from llm.planning.estimates import available
from llm.planning.eviction import Holding, plan_room
from llm.planning.memory import choices, device_for, estimate, fits, verdict
from llm.planning.out_of_memory import out_of_memory, propose

GB = 10**9
QWEN_7B = ModelEntry(
    id="q", name="Qwen2.5 7B", task="text-generation", family="qwen", engine="transformers", parameters=7_615_616_512,
    size_bytes=15_231_233_024, context_tokens=32768, shape=Shape(28, 3584, 28, 4, 128, 18944, 152064),
)  # fmt: skip


def machine(ram_gb: float, gpu_gb: float = 0) -> Hardware:
    gpus = (Gpu(0, "card", int(gpu_gb * GB), int(gpu_gb * GB)),) if gpu_gb else ()
    return Hardware(
        os="Linux", python="3.11", cpu="x", physical_cores=4, logical_cores=8, usable_cores=8,
        instruction_sets=("avx2",), ram_total_bytes=int(ram_gb * GB), ram_free_bytes=int(ram_gb * GB),
        swap_total_bytes=0, swap_free_bytes=0, gpus=gpus,
    )  # fmt: skip


def test_the_cache_of_a_published_model() -> None:
    # Qwen2.5 7B: 2 x 28 layers x 4 heads x 128 x 2 bytes = 56 KiB a token, by its model card's own figures.
    assert kv_bytes_per_token(QWEN_7B.shape) == 57344


def test_embeddings_are_told_from_blocks() -> None:
    inside, outside = split_parameters(QWEN_7B.parameters, QWEN_7B.shape)
    assert outside == 2 * 152064 * 3584  # 7B does not share its two tables
    assert inside + outside == QWEN_7B.parameters
    tied = Shape(24, 896, 14, 2, 64, 4864, 151936)
    assert split_parameters(494_032_768, tied)[1] == 151936 * 896  # 0.5B does


def test_precisions_shrink_the_weights_in_order() -> None:
    sizes = [
        estimate(QWEN_7B, LoadPlan("cuda", p, 4096), machine=machine(64, 24)) for p in ("bfloat16", "int8", "int4")
    ]
    weights = [size.weights_bytes for size in sizes]
    assert weights[0] == 2 * QWEN_7B.parameters
    assert weights[0] > weights[1] > weights[2]
    assert 5 * GB < weights[2] < 6.5 * GB  # 4-bit blocks, 16-bit tables: the 5.5 GB that people see on their cards


def test_context_costs_cache() -> None:
    short, long = (estimate(QWEN_7B, LoadPlan("cuda", "int4", c), machine=machine(64, 24)) for c in (2048, 32768))
    assert long.kv_bytes == 16 * short.kv_bytes
    assert long.weights_bytes == short.weights_bytes


@pytest.mark.parametrize(("ram", "wanted"), [(80, "fits"), (14, "fits_4bit"), (4, "too_big")])
def test_the_three_verdicts(ram: float, wanted: str) -> None:
    assert verdict(choices(QWEN_7B, machine(ram), context_tokens=4096)) == wanted


def test_every_catalogue_entry_has_an_estimate() -> None:
    for entry in entries():
        found = estimate(entry, machine=machine(64))
        assert found.total_bytes > 0.2 * entry.size_bytes, entry.id


def test_an_entry_without_a_shape_is_guessed_sensibly() -> None:
    shape = guessed_shape(7_000_000_000)
    assert 28 <= shape.layers <= 40
    assert 3500 <= shape.hidden <= 5200
    assert whisper_width(809_000_000) == 1280
    assert whisper_width(244_000_000) == 768


def test_auto_goes_where_the_engine_can_go() -> None:
    gguf = replace(QWEN_7B, engine="llamacpp", quantisation="Q4_K_M")
    mac = replace(machine(16), mps=True)
    assert device_for(gguf, LoadPlan(), machine(16, 24)) == "cpu"
    assert device_for(gguf, LoadPlan(), mac) == "mps"
    assert device_for(QWEN_7B, LoadPlan(), mac) == "mps"
    assert device_for(QWEN_7B, LoadPlan("cuda"), mac) == "cuda"


def test_the_system_keeps_its_share() -> None:
    assert available("cpu", machine(10)) == int(9.5 * GB)
    assert available("mps", machine(10)) == int(7.5 * GB)
    assert available("cuda", machine(10)) == 0


def test_what_idle_models_give_back_counts() -> None:
    found = estimate(QWEN_7B, LoadPlan("cpu", "int4", 4096), machine=machine(4))
    assert not fits(found, machine(4)).ok
    assert fits(found, machine(4)).short_bytes > 0
    assert fits(found, machine(4), given_back_bytes=20 * GB).ok


# ---- room


def held(key: str, size_gb: float, last_used: float, busy: bool = False, device: str = "cpu") -> Holding:
    return Holding(key, {device: int(size_gb * GB)}, last_used, busy)


def test_nothing_leaves_when_there_is_room() -> None:
    assert plan_room(2 * GB, 3 * GB, "cpu", [held("a", 5, 1)]).unload == ()


def test_the_least_recently_used_leaves_first_and_only_as_many_as_needed() -> None:
    loaded = [held("new", 4, 30), held("old", 4, 10), held("middle", 4, 20)]
    assert plan_room(6 * GB, 3 * GB, "cpu", loaded).unload == ("old",)
    assert plan_room(10 * GB, 3 * GB, "cpu", loaded).unload == ("old", "middle")


def test_a_model_that_answers_never_leaves() -> None:
    room = plan_room(6 * GB, 3 * GB, "cpu", [held("old", 4, 10, busy=True), held("new", 4, 20)])
    assert room.unload == ("new",)
    room = plan_room(6 * GB, 3 * GB, "cpu", [held("old", 9, 10, busy=True)])
    assert (room.unload, room.enough, room.short_bytes) == ((), False, 3 * GB)


def test_nobody_loses_a_model_for_nothing() -> None:
    room = plan_room(60 * GB, 3 * GB, "cpu", [held("a", 4, 10), held("b", 4, 20)])
    assert (room.unload, room.enough, room.short_bytes) == ((), False, 49 * GB)


def test_memory_of_another_device_does_not_help() -> None:
    loaded = [held("gpu", 8, 1, device="cuda:0"), held("ram", 8, 2)]
    assert plan_room(9 * GB, 2 * GB, "cpu", loaded).unload == ("ram",)
    assert plan_room(9 * GB, 2 * GB, "cuda", loaded).unload == ("gpu",)


def test_the_number_of_models_is_kept_to() -> None:
    loaded = [held("a", 1, 1), held("b", 1, 2), held("c", 1, 3, busy=True)]
    assert plan_room(1, 3 * GB, "cpu", loaded, keep_models=3).unload == ("a",)
    assert plan_room(1, 3 * GB, "cpu", loaded, keep_models=2).unload == ("a", "b")


# ---- advice


def test_out_of_memory_is_known_in_every_engine_s_words() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names its own."""

    for error in (
        MemoryError(),
        OutOfMemoryError("x"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        OSError(12, "Cannot allocate memory"),
    ):
        assert is_out_of_memory(error), error
    caused = ValueError("wrapped")
    caused.__cause__ = MemoryError()
    assert is_out_of_memory(caused)
    assert not is_out_of_memory(ValueError("out of range"))
    assert not is_out_of_memory(FileNotFoundError(2, "no such file"))


def test_what_does_not_fit_is_refused_with_numbers_and_a_way_out() -> None:
    card = machine(64, 12)
    plan = LoadPlan("cuda", "bfloat16", 8192)
    assert not fits(estimate(QWEN_7B, plan, None, card), card).ok
    refused = out_of_memory(QWEN_7B, plan, None, card)
    values = refused.values
    assert values["needed_bytes"] > values["available_bytes"] > values["fitting_bytes"] > 0
    assert values["precision"] in ("int8", "int4")
    assert "GB are free" in str(refused) and values["precision"] in str(refused)
    assert fits(estimate(QWEN_7B, LoadPlan("cuda", "int4", 8192), None, card), card).ok


def test_a_shorter_context_is_tried_before_a_smaller_precision() -> None:
    plan = LoadPlan("cuda", "bfloat16", 32768)
    wide = propose(QWEN_7B, plan, machine=machine(64, 17.5))
    assert wide is not None
    assert (wide.plan.precision, wide.plan.context_tokens) == ("bfloat16", 16384)
    assert propose(QWEN_7B, plan, machine=machine(64, 2)) is None


def test_without_a_way_out_the_error_still_has_the_numbers() -> None:
    error = out_of_memory(QWEN_7B, LoadPlan("cuda", "int4", 1024), machine=machine(64, 2))
    assert isinstance(error, TooBig)
    assert "GB are free" in str(error)


def test_what_ran_out_although_it_seemed_to_fit_is_not_told_to_try_the_same_again() -> None:
    error = out_of_memory(QWEN_7B, LoadPlan("cuda", "bfloat16", 8192), machine=machine(64, 80))
    assert error.values["context_tokens"] == 4096


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set with setrlimit")
def test_under_a_limit_on_the_process_a_model_is_refused_and_a_smaller_context_fits(starter_file: Path) -> None:
    """The whole way: a process that may take 450 MB of address space beyond its libraries and threads."""
    code = f"""
import resource, psutil
from pathlib import Path
from llm.catalogue.lookup import find
from llm.plan import LoadPlan
from llm.planning.memory import estimate, fits
from llm.planning.out_of_memory import out_of_memory
from llm.machine.hardware import hardware
from llm.machine.limits import THREADS_BYTES
entry, path = find("smollm2-135m-instruct-q4_1"), Path({str(starter_file)!r})
limit = psutil.Process().memory_info().vms + THREADS_BYTES + 450_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
def ok(plan):
    return fits(estimate(entry, plan, path, hardware()), hardware()).ok
if ok(LoadPlan(context_tokens=8192)):
    print("fits")
else:
    error = out_of_memory(entry, LoadPlan(context_tokens=8192), path)
    print("refused", error.values["context_tokens"])
    if ok(LoadPlan(context_tokens=error.values["context_tokens"])):
        print("fits shorter")
"""
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=root
    )
    assert out.stdout.split("\n")[:2] == ["refused 4096", "fits shorter"], out.stdout + out.stderr
