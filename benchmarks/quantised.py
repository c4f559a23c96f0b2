"""8-bit and 4-bit checkpoints on a CPU: Hearth's transformers engine beside transformers with bitsandbytes.

    python -m benchmarks.quantised [--layers 12] [--rounds 2]

Random weights in the shape of Qwen2.5-1.5B's layers: speed does not depend on what they say. Each way runs in a
process of its own, which loads, reads a prompt and answers; they take turns, and the best of the rounds counts.
Last, how far rounding takes weights of a normal distribution, for which NF4 was made, from what they were.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

PROMPT_TOKENS = 400
ANSWER_TOKENS = 16
WAYS = [
    *(("Hearth", precision) for precision in ("float32", "bfloat16", "int8", "int4")),
    *(("bitsandbytes", precision) for precision in ("int8", "int4")),
]

TINY = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
BETTER: dict[str, Callable[[float, float], float]] = {"load": min, "first": min, "rate": max, "mib": min}


def through_hearth(folder: Path, precision: str, ids: list[int]) -> Iterator[None]:
    """Yields when the model is loaded and at each token."""
    from llm.cancel import Cancel
    from llm.catalogue.lookup import entry_of_path
    from llm.engine import GeneratedToken
    from llm.engines.transformers import load
    from llm.plan import LoadPlan
    from llm.prompt import Prompt
    from llm.settings import GenerationSettings

    plan: Any = LoadPlan("cpu", precision, 2048)  # type: ignore[arg-type]
    engine = load(entry_of_path(folder), folder, plan, lambda *_: None)
    yield
    settings = GenerationSettings(temperature=0, max_length=ANSWER_TOKENS)
    for step in engine.generate(Prompt("", tuple(ids), (), 2048), settings, frozenset(), Cancel()):
        if isinstance(step, GeneratedToken):
            yield


def through_bitsandbytes(folder: Path, precision: str, ids: list[int]) -> Iterator[None]:
    """The same with transformers' own loop over bitsandbytes' layers, computing in float32."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    rounding = (
        BitsAndBytesConfig(load_in_8bit=True)
        if precision == "int8"
        else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map={"": "cpu"}, quantization_config=rounding
    )
    yield
    past, unread = None, torch.tensor([ids])
    with torch.inference_mode():
        for _ in range(ANSWER_TOKENS):
            out = model(unread, past_key_values=past, use_cache=True, logits_to_keep=1)
            past, unread = out.past_key_values, out.logits[:, -1:].argmax(-1)
            yield


def run(way: str, precision: str, folder: Path) -> dict[str, float]:
    """Seconds of loading and to the first token, tokens/s after it, and resident MiB beside the libraries'."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**TINY))
    ids = torch.randint(5, 8000, (PROMPT_TOKENS,), generator=torch.Generator().manual_seed(0)).tolist()
    before = psutil.Process().memory_info().rss
    times, held = [time.perf_counter()], 0
    for _ in {"Hearth": through_hearth, "bitsandbytes": through_bitsandbytes}[way](folder, precision, ids):
        times.append(time.perf_counter())
        held = max(held, psutil.Process().memory_info().rss - before)
    return {
        "load": times[1] - times[0],
        "first": times[2] - times[1],
        "rate": (len(times) - 3) / (times[-1] - times[2]),
        "mib": held / 2**20,
    }


def print_rounding_errors() -> None:
    """|rounded - weight| / |weight|, read off the products with the identity."""
    import bitsandbytes
    import torch
    from bitsandbytes import functional

    from llm.engines.transformers.quantized_linear import RoundedLinear

    weight = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    rounded = {"bitsandbytes NF4": functional.dequantize_4bit(*functional.quantize_4bit(weight, quant_type="nf4"))}
    eight = bitsandbytes.nn.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False).to("cpu")
    rounded["bitsandbytes 8 bits"] = eight.data * eight.SCB[:, None] / 127
    for bits in (8, 4):
        layer = RoundedLinear(1024, 1024, False, bits, False)
        layer.take(weight)
        rounded[f"Hearth {bits} bits"] = layer(torch.eye(1024)).t()
    for name, value in rounded.items():
        print(f"{name:20} {((value - weight).norm() / weight.norm()).item():.2%}")


def write_model(folder: Path, layers: int) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from benchmarks.transformers_engine import save

    config = Qwen2Config(
        vocab_size=151_936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=layers, num_attention_heads=12,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    save(Qwen2ForCausalLM(config).to(torch.bfloat16), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", nargs=3, metavar=("WAY", "PRECISION", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, precision, folder = arguments.one
        print(json.dumps(run(way, precision, Path(folder))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        write_model(Path(temporary), arguments.layers)
        best: dict[tuple[str, str], dict[str, float]] = {}
        for _ in range(arguments.rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.quantised", "--one", *way, temporary]
                printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                found = json.loads(printed.splitlines()[-1])
                best[way] = {key: BETTER[key](value, best.get(way, found)[key]) for key, value in found.items()}
    print(f"{'':24}{'load, s':>9}{'first token, s':>16}{'tokens/s':>10}{'MiB':>7}")
    for (way, precision), row in best.items():
        print(f"{way:13} {precision:10}{row['load']:9.1f}{row['first']:16.2f}{row['rate']:10.2f}{row['mib']:7.0f}")
    print_rounding_errors()


if __name__ == "__main__":
    main()
