"""What a CUDA GPU gives: speed, memory beside the estimates, packed layers. Random weights: nothing is fetched.

    python -m benchmarks.gpu [--layers 28] [--parts memory packed streams]

memory: a Qwen2.5-7B's shape in each precision, each in a process of its own: tokens/s of one answer and of eight at
once, the most memory that torch held of the GPU, and what planning had estimated for it.
packed: GPTQ and ChatGLM layers beside a product with the unpacked weight: milliseconds, and how far apart they are.
streams: `benchmarks.transformers_engine` on the same weights in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PRECISIONS = ("bfloat16", "float16", "int8", "int4")
PROMPT_TOKENS, ANSWER_TOKENS, CONTEXT_TOKENS = 400, 96, 8192


def write_model(folder: Path, layers: int) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from benchmarks.transformers_engine import save

    config = Qwen2Config(
        vocab_size=152_064, hidden_size=3584, intermediate_size=18_944, num_hidden_layers=layers,
        num_attention_heads=28, num_key_value_heads=4, max_position_embeddings=32_768,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    save(model, folder)


def held(precision: str, folder: Path) -> dict[str, float]:
    """Seconds of loading, tokens/s of one answer and of eight, GiB that torch held of the GPU, and estimated."""
    from llm.engines.transformers import load  # before torch, as it sets how torch's threads wait

    # isort: split
    import torch

    from benchmarks.transformers_engine import some_prompt, through_engine
    from llm.catalogue.lookup import entry_of_path
    from llm.plan import LoadPlan
    from llm.planning.memory import estimate

    entry = entry_of_path(folder)
    plan: Any = LoadPlan("cuda", precision, CONTEXT_TOKENS)  # type: ignore[arg-type]
    estimated = estimate(entry, plan, folder)
    began = time.perf_counter()
    engine: Any = load(entry, folder, plan, lambda *_: None)
    loaded_s = time.perf_counter() - began
    longest = some_prompt(engine.model, 9, CONTEXT_TOKENS - 2)
    prompts = [some_prompt(engine.model, seed, PROMPT_TOKENS) for seed in range(8)]
    through_engine(engine, prompts[:1], ANSWER_TOKENS)  # warms up
    one = through_engine(engine, prompts[:1], ANSWER_TOKENS)
    torch.cuda.reset_peak_memory_stats()
    through_engine(engine, [longest], 1)
    most = torch.cuda.max_memory_allocated()
    eight = through_engine(engine, prompts, ANSWER_TOKENS)
    return {
        "load": loaded_s,
        "one": one.tokens_per_s,
        "first": one.first_token_s,
        "eight": eight.tokens_per_s,
        "held": most / 2**30,
        "estimated": estimated.total_bytes / 2**30,
    }


def packed() -> None:
    import torch

    from benchmarks.packed import INPUTS, layers

    print(f"\n{'layout':26} {'type':9} {'rows':>5} {'Hearth, ms':>11} {'unpacked':>9} {'apart':>7}")
    for dtype in (torch.bfloat16, torch.float16):
        for name, plain in layers().items():
            layer = plain.cuda()
            weight = layer.weight_of(torch.float32)
            layer.use_kernel(dtype)
            for rows in (1, 256):
                x = torch.randn(rows, INPUTS, device="cuda", dtype=dtype)
                exact = x.float() @ weight.t()
                apart = ((layer(x).float() - exact).norm() / exact.norm()).item()
                ours, unpacked = milliseconds(lambda: layer(x)), milliseconds(lambda: x @ weight.to(dtype).t())  # noqa: B023
                kind = str(dtype).removeprefix("torch.")
                print(f"{name:26} {kind:9} {rows:5} {ours:11.3f} {unpacked:9.3f} {apart:7.2%}", flush=True)


def milliseconds(work: Any, rounds: int = 20) -> float:
    """The median time of a piece of work on the GPU."""
    import torch

    work()
    taken = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--parts", nargs="+", default=["memory", "packed", "streams"])
    parser.add_argument("--one", nargs=2, metavar=("PRECISION", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(held(arguments.one[0], Path(arguments.one[1]))))
        return
    import torch

    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    if "packed" in arguments.parts:
        packed()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder, arguments.layers)
        torch.cuda.empty_cache()
        if "memory" in arguments.parts:
            print(f"\n{'':10}{'load, s':>9}{'first, s':>10}{'one':>7}{'eight':>8}{'held, GiB':>11}{'estimated':>11}")
            for precision in PRECISIONS:
                print_one(precision, folder)
        if "streams" in arguments.parts:
            command = [sys.executable, "-m", "benchmarks.transformers_engine", temporary, "--precision", "bfloat16"]
            subprocess.run(command, check=False)


def print_one(precision: str, folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", precision, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        row = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        print(f"{precision:10} failed: {done.stderr.strip().splitlines()[-1:]}")
        return
    print(
        f"{precision:10}{row['load']:9.1f}{row['first']:10.3f}{row['one']:7.1f}{row['eight']:8.1f}"
        f"{row['held']:11.2f}{row['estimated']:11.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
