"""A plan's promise against the run: memory and time of two tried steps, and of the whole run, in six shapes.

    python -m benchmarks.finetune_plan [--steps 12] [--shapes 1,2] [--small]

The starter model, or with --small its tokenizer over 6 layers of random weights (19M), for machines that are busy.
Each shape is planned, tried and trained in programs of their own, one after another. Held-out rows and samples are
there, so that looks count. Time is that of the steps alone, memory the program's peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import town
from benchmarks.finetune import STARTER, measured, steps_of
from llm.config import config
from llm.finetune.data import Dataset, Row, save_set
from llm.finetune.plan import plan, read_rows
from llm.finetune.settings import TrainSettings
from llm.finetune.start import new_run
from llm.finetune.trial import trial_params
from llm.jobs import jobs
from llm.sources import fetch


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between runs: rows' lengths, rows at once, rank, and whether activations are kept."""

    name: str
    long: bool
    rows: int
    rank: int
    checkpointing: bool = False
    targets: str = "all"


SHAPES = (
    Shape("short, 4 at once, rank 8", False, 4, 8),
    Shape("short, 16 at once, rank 16", False, 16, 16),
    Shape("long, 1 at once, rank 8", True, 1, 8),
    Shape("long, 8 at once, rank 16", True, 8, 16),
    Shape("long, 8 at once, activations twice", True, 8, 16, True),
    Shape("short, 8 at once, queries and values", False, 8, 8, False, "qv"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--shapes", default="1,2,3,4,5,6")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    from llm.catalogue.lookup import find

    file = fetch(find(STARTER))
    with tempfile.TemporaryDirectory(prefix="hearth-") as home:
        os.environ["HEARTH_HOME"] = home
        config.cache_clear()
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} when begun")
        print(f"{'':40} {'reckoned':>9} {'tried':>9} {'peak MiB':>9} {'off':>6} {'tried s':>8} {'run s':>8} {'off':>6}")
        base = str(_small(file, Path(home) / "small") if asked.small else file)
        for number in map(int, asked.shapes.split(",")):
            _one(base, SHAPES[number - 1], asked.steps)


def _small(starter: Path, folder: Path) -> Path:
    """A folder of a small Llama with random weights. In a program of its own, whose memory goes with it."""
    code = (
        "import sys; from pathlib import Path; from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM\n"
        "file, to = Path(sys.argv[1]), sys.argv[2]\n"
        "tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)\n"
        "shape = dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=8)\n"
        "config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=4, tie_word_embeddings=True, **shape)\n"
        "LlamaForCausalLM(config).save_pretrained(to)\n"
        "tokenizer.save_pretrained(to)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(starter), str(folder)], check=True, stderr=subprocess.DEVNULL)
    return folder


def _one(base: str, shape: Shape, steps: int) -> None:
    from llm.catalogue.lookup import find

    entry, data = find(base), _rows(shape.long)
    settings = TrainSettings(
        rank=shape.rank,
        batch_rows=shape.rows,
        max_steps=steps,
        samples=1,
        checkpoint_every=steps,
        checkpointing=shape.checkpointing,
        targets=shape.targets,
    )
    kept, left = read_rows(entry, data.training, settings)
    found = plan(entry, len(data.training), kept, left, settings)
    ended = jobs().wait(jobs().start("finetune.trial", "trial", trial_params(entry, data, settings, kept)).id)
    if ended is None or ended.state != "done":
        raise SystemExit(f"the trial failed: {ended}")
    tried = found.tried(ended.result)
    run = new_run(data, base, settings)
    (run.folder / "params.json").write_text("{}", encoding="utf-8")
    peak = measured(["-m", "llm.finetune.trainer", str(run.folder)])
    seconds = sum(spent for _, spent in steps_of(Path(run.folder)))
    promised, time = tried.parts.total / 2**20, tried.seconds or 0.0
    print(
        f"{shape.name:40} {found.parts.total / 2**20:9.0f} {promised:9.0f} {peak:9.0f} {promised / peak - 1:+6.0%} "
        f"{time:8.1f} {seconds:8.1f} {time / seconds - 1:+6.0%}",
        flush=True,
    )
    print(json.dumps({name: size >> 20 for name, size in _parts(found.parts).items()}), flush=True)


def _parts(parts: object) -> dict[str, int]:
    from dataclasses import asdict

    return asdict(parts)  # type: ignore[call-overload, no-any-return]


def _rows(long: bool) -> Dataset:
    learnt, _ = town.rows()
    if long:
        answers = [answer for _, answer in learnt]
        learnt = [(q, " ".join(answers[n : n + 3 + 7 * n % 25])) for n, (q, _) in enumerate(learnt)]
    return save_set("long" if long else "short", [Row.of(*pair) for pair in learnt], owner="local")


if __name__ == "__main__":
    main()
