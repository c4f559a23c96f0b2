"""Fine-tuning beside a plain script of peft and transformers' Trainer, on the same rows in one run.

    python -m benchmarks.finetune [--rows short|long] [--steps 30]

The starter model, unpacked once; both train the same LoRA (rank 16 on all linear layers), 8 rows a step, float32.
The plain script is what tutorials show: rows padded to the longest of their batch, scores for every token. Tokens are
those of rows, never padding. Each in a program of its own; peak memory is the program's, with all that it loads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import town
from llm.config import config
from llm.sources import fetch

STARTER = "smollm2-135m-instruct-q4_1"
SETTINGS: dict[str, Any] = {
    "rank": 16, "alpha": 32, "dropout": 0.0, "learning_rate": 1e-3, "batch_rows": 8, "warmup": 0.0, "clip": 1.0,
    "schedule": "constant", "samples": 0, "checkpoint_every": 1_000_000, "precision": "float32",
}  # fmt: skip
FIRST = 3
"""Steps that are not timed: allocators and caches settle."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", choices=("short", "long"), default="short")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    from llm.catalogue.lookup import find

    file = fetch(find(STARTER))
    with tempfile.TemporaryDirectory(prefix="hearth-") as folder:
        place = Path(folder)
        os.environ["HEARTH_HOME"] = str(place / "home")
        config.cache_clear()
        base = unpacked(file, place / "base")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} when begun")
        print(f"{'':24} {'tokens/s':>9} {'peak MiB':>9}")
        for _ in range(asked.rounds):
            run = run_of(base, asked.rows, asked.steps)
            (place / "rows.json").write_text(json.dumps(rows_of(base, run)), encoding="utf-8")
            plain = measured(["-m", "benchmarks.finetune_plain", str(base), str(place), str(asked.steps)])
            timed = json.loads((place / "steps.json").read_text(encoding="utf-8"))
            theirs = (rate(timed), plain)
            print(f"{'peft and Trainer':24} {theirs[0]:9.0f} {theirs[1]:9.0f}", flush=True)
            (run / "params.json").write_text("{}", encoding="utf-8")
            peak = measured(["-m", "llm.finetune.trainer", str(run)])
            ours = (rate(steps_of(run)), peak)
            print(f"{'Hearth':24} {ours[0]:9.0f} {ours[1]:9.0f}")
            print(f"{'ratio':24} {ours[0] / theirs[0]:9.2f} {ours[1] / theirs[1]:9.2f}", flush=True)


def unpacked(file: Path, folder: Path) -> Path:
    """The starter as a folder of float32 weights. In a program of its own, whose memory goes with it."""
    code = (
        "import sys, torch; from pathlib import Path; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "file, to = Path(sys.argv[1]), sys.argv[2]\n"
        "model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)\n"
        "model.hf_quantizer = None; del model.config.quantization_config\n"
        "model.save_pretrained(to)\n"
        "AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(to)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(file), str(folder)], check=True, stderr=subprocess.DEVNULL)
    return folder


def run_of(base: Path, rows: str, steps: int) -> Path:
    """A run's folder: 60 short rows, or as many with long answers of unequal length."""
    from llm.finetune.data import Row, save_set
    from llm.finetune.settings import TrainSettings
    from llm.finetune.start import new_run

    learnt, _ = town.rows()
    if rows == "long":
        answers = [answer for _, answer in learnt]
        learnt = [(q, " ".join(answers[n : n + 3 + 7 * n % 25])) for n, (q, _) in enumerate(learnt)]
    data = save_set(rows, [Row.of(*pair) for pair in learnt], ())
    return new_run(data, str(base), TrainSettings.from_dict(SETTINGS | {"max_steps": steps})).folder


def rows_of(base: Path, run: Path) -> list[tuple[list[int], list[int]]]:
    """The same ids for both: each row's, and its labels, -100 where nothing is learnt."""
    from llm.catalogue.lookup import find
    from llm.finetune.bases import reading
    from llm.finetune.encode import trainable
    from llm.finetune.prepare import read_rows
    from llm.finetune.run import Run

    with reading(find(base), base) as chat:
        rows, _ = trainable(chat, read_rows(run / "rows.jsonl"), Run(run).config.settings)
    return [(list(r.ids), [i if told else -100 for i, told in zip(r.ids, r.trained, strict=True)]) for r in rows]


def measured(command: list[str]) -> float:
    """Runs a program to its end; its peak memory in MiB."""
    # Its input stays open: a program of Hearth's ends with who began it.
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, *command], **streams)
    said = process.stderr.read()  # type: ignore[union-attr]
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed: {said}")
    return used.ru_maxrss / 1024


def steps_of(run: Path) -> list[tuple[int, float]]:
    """Tokens and seconds of each step as the run's folder tells them."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    before, found = 0, []
    for event in steps:
        tokens = event["tokens"] - before
        found.append((tokens, tokens / event["tokens_per_s"]))
        before = event["tokens"]
    return found


def rate(steps: list[Any]) -> float:
    """Tokens a second without the first steps."""
    timed = steps[FIRST:]
    return float(sum(tokens for tokens, _ in timed) / sum(seconds for _, seconds in timed))


if __name__ == "__main__":
    main()
