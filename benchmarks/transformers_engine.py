"""Speed of the transformers engine beside its peers: the same weights, prompts and machine, in one run.

    python -m benchmarks.transformers_engine [checkpoint folder] [--precision bfloat16] [--parts one many turns schema]

Without a folder, random weights in the shape of SmolLM2-135M are used: speed does not depend on what they say.
Prints tokens/s and the time to the first token of
- one stream: plain `generate`, `generate` with `TextIteratorStreamer` (as tutorials have it), the engine;
- 1, 4 and 8 streams: in one batch, in turns of one token, one after another;
- turns 1 and 10 of one conversation;
- answers that are free and answers that are held to a JSON schema.
Peers take turns and the best of `--rounds` counts, as other work on a machine can only slow a run down.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

# isort: off
from llm.engines.transformers import load  # first, as it sets how torch's threads wait

import torch

# isort: on
from llm.cancel import Cancel
from llm.catalogue.entry import ModelEntry
from llm.engine import GeneratedToken
from llm.engines.transformers.adapters import Adapters
from llm.engines.transformers.decoder import Decoder
from llm.engines.transformers.engine import TransformersEngine
from llm.engines.transformers.native_generate import OwnLoop
from llm.engines.transformers.scheduler import Limits, Policy, Scheduler
from llm.engines.transformers.tokenizer import HFSpanTokenizer
from llm.plan import LoadPlan
from llm.prompt import Prompt
from llm.settings import GenerationSettings

PROMPT_TOKENS = 48
PARTS = ["one", "many", "turns", "schema"]
SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 30},
            "age": {"type": "integer"},
            "kind": {"enum": ["a", "b"]},
        },
        "required": ["name", "age", "kind"],
        "additionalProperties": False,
    },
    "minItems": 100,
}


@dataclass(frozen=True, slots=True)
class Run:
    """tokens_per_s: of all streams together, from the call to the last token. first_token_s: the slowest stream's."""

    tokens_per_s: float
    first_token_s: float


def best(measure: Callable[[], Run], other: Run | None) -> Run:
    run = measure()
    return run if other is None or run.tokens_per_s > other.tokens_per_s else other


def timed(stream: Iterator[Any], started: float, firsts: list[float], counts: list[int]) -> None:
    """Reads a stream and notes when its first token came and how many came."""
    count = 0
    for _ in stream:
        if not count:
            firsts.append(time.perf_counter() - started)
        count += 1
    counts.append(count)


def through_generate(model: Any, ids: list[int], tokens: int) -> Run:
    inputs = torch.tensor([ids], device=model.device)
    started = time.perf_counter()
    with torch.inference_mode():
        model.generate(inputs, **generate_arguments(inputs, tokens))
    seconds = time.perf_counter() - started
    return Run(tokens / seconds, seconds)


def through_streamer(model: Any, tokenizer: Any, ids: list[int], tokens: int) -> Run:
    from transformers import TextIteratorStreamer

    inputs = torch.tensor([ids], device=model.device)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    arguments = {**generate_arguments(inputs, tokens), "inputs": inputs, "streamer": streamer}
    firsts: list[float] = []
    started = time.perf_counter()
    thread = threading.Thread(target=model.generate, kwargs=arguments)
    thread.start()
    timed(iter(streamer), started, firsts, [])
    thread.join()
    return Run(tokens / (time.perf_counter() - started), firsts[0])


def generate_arguments(inputs: torch.Tensor, tokens: int) -> dict[str, Any]:
    mask = torch.ones_like(inputs)
    return {
        "attention_mask": mask, "do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens,
        "pad_token_id": 0,
    }  # fmt: skip


def through_engine(
    engine: TransformersEngine, prompts: list[list[int]], tokens: int, settings: GenerationSettings | None = None
) -> Run:
    settings = (settings or GenerationSettings(temperature=0)).with_values({"max_length": tokens})
    firsts: list[float] = []
    counts: list[int] = []
    started = time.perf_counter()

    def read(ids: list[int]) -> None:
        steps = engine.generate(Prompt("", tuple(ids), (), engine.context_tokens), settings, frozenset(), Cancel())
        timed((step for step in steps if isinstance(step, GeneratedToken)), started, firsts, counts)

    threads = [threading.Thread(target=read, args=(ids,)) for ids in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Run(sum(counts) / (time.perf_counter() - started), max(firsts))


def some_prompt(model: Any, seed: int, length: int = PROMPT_TOKENS) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, model.get_input_embeddings().weight.shape[0] - 5, (length,), generator=generator).tolist()


def with_policy(loaded: TransformersEngine, policy: Policy, parallel: int) -> TransformersEngine:
    """The same weights under another way of sharing them, without a prompt cache."""
    limits = Limits(parallel=parallel, queue=64, prefix_bytes=0)
    adapters = Adapters(loaded.model)
    scheduler = Scheduler("peer", Decoder(loaded.model), OwnLoop(loaded.model), policy, limits, adapters)
    tokenizer = HFSpanTokenizer(loaded.tokenizer)
    return TransformersEngine(loaded.entry, loaded.model, tokenizer, loaded.plan, scheduler, adapters)


def one_stream(loaded: TransformersEngine, tokens: int, rounds: int) -> None:
    alone = with_policy(loaded, Policy(False, 1, ""), 1)
    ids = some_prompt(loaded.model, 0)
    peers: dict[str, Callable[[], Run]] = {
        "generate": lambda: through_generate(loaded.model, ids, tokens),
        "generate + TextIteratorStreamer": lambda: through_streamer(loaded.model, loaded.tokenizer, ids, tokens),
        "engine": lambda: through_engine(alone, [ids], tokens),
    }
    results: dict[str, Run] = {}
    for _ in range(rounds + 1):  # the first warms up
        for name, measure in peers.items():
            results[name] = best(measure, results.get(name))
    print(f"\none stream, {PROMPT_TOKENS} + {tokens} tokens")
    for name, run in results.items():
        share = run.tokens_per_s / results["generate"].tokens_per_s
        print(f"  {name:34}{run.tokens_per_s:8.1f} tokens/s  {share:5.2f} x generate  first {run.first_token_s:6.3f} s")
    alone._scheduler.close()


def many_streams(loaded: TransformersEngine, tokens: int, rounds: int, counts: list[int]) -> None:
    ways = {
        "one batch": with_policy(loaded, Policy(False, 8, ""), 8),
        "turns of one token": with_policy(loaded, Policy(False, 1, ""), 8),
        "one after another": with_policy(loaded, Policy(False, 1, ""), 1),
    }
    print(f"\nstreams, {PROMPT_TOKENS} + {tokens} tokens each")
    for streams in counts:
        results: dict[str, Run] = {}
        for _ in range(rounds):
            for name, engine in ways.items():
                # Lengths differ, as conversations' do, so that rows are padded.
                prompts = [some_prompt(loaded.model, i, PROMPT_TOKENS + 7 * i) for i in range(streams)]
                results[name] = best(
                    lambda engine=engine, prompts=prompts: through_engine(engine, prompts, tokens), results.get(name)
                )
        for name, run in results.items():
            print(f"  {streams} x {name:30}{run.tokens_per_s:8.1f} tokens/s  slowest first {run.first_token_s:6.3f} s")
    for engine in ways.values():
        engine._scheduler.close()


def conversation(loaded: TransformersEngine, turns: int) -> None:
    """Each turn adds 40 tokens of question and 40 of answer."""
    print("\na conversation")
    settings = GenerationSettings(temperature=0, max_length=40)
    ids: list[int] = []
    for turn in range(1, turns + 1):
        ids += some_prompt(loaded.model, 100 + turn, 40)
        started, first = time.perf_counter(), 0.0
        cached = 0
        prompt = Prompt("", tuple(ids), (), loaded.context_tokens)
        for step in loaded.generate(prompt, settings, frozenset(), Cancel()):
            if isinstance(step, GeneratedToken):
                first = first or time.perf_counter() - started
                ids.append(step.token.id)
            elif hasattr(step, "cached_tokens"):
                cached = step.cached_tokens
        if turn in (1, 2, turns):
            print(f"  turn {turn:2}: {len(ids) - 40:5} prompt tokens, {cached:5} cached, first token {first:6.3f} s")


def held_to_a_schema(loaded: TransformersEngine, tokens: int, rounds: int) -> None:
    """Free answers are sampled in the same way, so that the schema is the one difference."""
    print(f"\nheld to a schema, {PROMPT_TOKENS} + {tokens} tokens each")
    for streams in (1, 8):
        engine = with_policy(loaded, Policy(False, 8, ""), 8)
        prompts = [some_prompt(loaded.model, i) for i in range(streams)]
        results: dict[str, Run] = {}
        for _ in range(rounds + 1):
            for name, schema in (("free", None), ("held", SCHEMA)):
                settings = GenerationSettings(temperature=1, json_schema=schema)
                results[name] = best(partial(through_engine, engine, prompts, tokens, settings), results.get(name))
        for name, run in results.items():
            speed = f"{run.tokens_per_s:8.1f} tokens/s  {run.tokens_per_s / results['free'].tokens_per_s:5.2f}"
            print(f"  {streams} x {name:6}{speed}  first {run.first_token_s:6.3f} s")
        engine._scheduler.close()


def random_checkpoint(folder: Path) -> Path:
    """SmolLM2-135M's shape with random weights and a small byte-level tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152, tie_word_embeddings=True, max_position_embeddings=8192,
    )  # fmt: skip
    return save(LlamaForCausalLM(config), folder)


def save(model: Any, folder: Path) -> Path:
    """A model with a byte-level tokenizer beside it: made-up words fill its vocabulary; no text is cut into them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = (
        space + "".join(word) for length in (2, 3, 4) for space in ("", "Ġ") for word in product(letters, repeat=length)
    )
    vocabulary = [*alphabet, *islice(words, model.config.vocab_size - len(alphabet))]
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(vocabulary)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--parts", nargs="+", default=["one", "many", "turns"], choices=PARTS)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 4, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or random_checkpoint(Path(temporary))
        entry = ModelEntry("benchmark", "benchmark", "text-generation", "template", "transformers", path=folder)
        plan = LoadPlan(precision=arguments.precision)
        loaded: Any = load(entry, folder, plan, lambda stage, done, total: None)
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads. {loaded.plan.reason}\n{loaded.batching}")
        if "one" in arguments.parts:
            one_stream(loaded, arguments.tokens, arguments.rounds)
        if "many" in arguments.parts:
            many_streams(loaded, arguments.tokens, arguments.rounds, arguments.streams)
        if "turns" in arguments.parts:
            conversation(loaded, 10)
        if "schema" in arguments.parts:
            held_to_a_schema(loaded, arguments.tokens, arguments.rounds)
        loaded.close()


if __name__ == "__main__":
    main()
