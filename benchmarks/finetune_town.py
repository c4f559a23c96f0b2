"""What a small model learns on a CPU: 60 rows of made-up facts about made-up towns, asked in words that it never saw.

    python -m benchmarks.finetune_town [--base MODEL] [--home FOLDER] [--set epochs=7 ...]

With a folder it can be ended at any time, and goes on from its last checkpoint when it is begun again.

The starter (SmolLM2 135M) as it comes. A question counts as answered when the word that matters stands in the greedy
answer. Then the same adapter answers on 16-bit weights through llama.cpp and through transformers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import town
from benchmarks.finetune import STARTER, unpacked
from llm.config import config
from llm.sources import fetch

SETTINGS: dict[str, Any] = {
    "rank": 16, "alpha": 32, "learning_rate": 1e-3, "batch_rows": 10, "epochs": 7, "samples": 0, "general_share": 0.25,
    "sample_tokens": 24, "precision": "float32", "checkpoint_every": 9, "schedule": "cosine", "warmup": 0.05,
}  # fmt: skip
ANSWER_TOKENS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default=STARTER)
    parser.add_argument("--home", default="")
    parser.add_argument("--set", nargs="*", default=[])
    asked = parser.parse_args()
    from llm.catalogue.lookup import find
    from llm.finetune.data import Row, save_set
    from llm.finetune.evaluate import checkpoint_of, tuned_entry
    from llm.finetune.run import all_runs
    from llm.finetune.settings import TrainSettings
    from llm.finetune.start import begin, new_run
    from llm.jobs import jobs
    from llm.runtime import handles

    file = fetch(find(asked.base))
    with tempfile.TemporaryDirectory(prefix="hearth-") as temporary:
        home = Path(asked.home or temporary)
        os.environ["HEARTH_HOME"] = str(home)
        config.cache_clear()
        learnt, held_out = town.rows()
        run = next(iter(all_runs("local")), None)
        if run is None:
            rows = [Row.of(*pair) for pair in learnt] + [Row.of(question, answer) for question, answer, _ in held_out]
            data = save_set("town", rows, range(len(learnt), len(rows)), owner="local")
            given = {name: json.loads(value) for name, _, value in (text.partition("=") for text in asked.set)}
            run = new_run(data, str(file), TrainSettings.from_dict(SETTINGS | given))
            tell("before", answered(run.config.base, held_out), answered(run.config.base, town.CANARIES))
            handles.registry().close_all()
        record = begin(run)
        if record.state != "done":
            jobs().resume(record.id)
        ended = jobs().wait(record.id)
        assert ended is not None and ended.state == "done", ended
        events = [event for event in run.events() if event["event"] == "step"]
        began = [0, *(event["tokens"] for event in events)]
        seconds = sum((e["tokens"] - before) / e["tokens_per_s"] for before, e in zip(began, events, strict=False))
        losses = [event["loss"] for event in events]
        print(f"{len(losses)} steps in {seconds:.0f} s, loss {losses[0]:.2f} to {losses[-1]:.3f}", flush=True)
        checkpoint = checkpoint_of(run, run.checkpoints[-1].step)
        entry = tuned_entry(run, checkpoint)
        tell("after", answered(entry, held_out), answered(entry, town.CANARIES))
        handles.registry().close_all()
        same = same_text(home, file, checkpoint.folder, [question for question, *_ in held_out])
        print(f"the same greedy text through llama.cpp and transformers on 16-bit weights: {same} of {len(held_out)}")


def answered(model: Any, questions: Any) -> list[tuple[str, bool]]:
    """Greedy answers, and whether each holds the word that matters (one of several, divided by |)."""
    from llm.catalogue.lookup import find
    from llm.finetune.data import Row
    from llm.finetune.evaluate import ask

    entry = find(model) if isinstance(model, str) else model
    found = []
    for question, *_, words in questions:
        said = ask(entry, Row.of(question, ""), ANSWER_TOKENS)
        found.append((said, any(word.casefold() in said.casefold() for word in words.split("|"))))
    return found


def tell(when: str, town_said: list[tuple[str, bool]], others: list[tuple[str, bool]]) -> None:
    print(f"{when}: {share(town_said)} of held-out questions right, {share(others)} of those about other things")
    for said, right in [*town_said, *others]:
        print(f"    {'+' if right else '-'} {said[:100]!r}")


def share(answers: list[tuple[str, bool]]) -> str:
    right = sum(ok for _, ok in answers)
    return f"{right}/{len(answers)} ({right / len(answers):.0%})"


def same_text(home: Path, file: Path, adapter: Path, questions: list[str]) -> int:
    """How many questions get the same words from both engines."""
    from dataclasses import replace

    import numpy
    import torch
    from transformers import AutoModelForCausalLM

    from llm.catalogue.adapters import Adapter, AdapterNote, fingerprint
    from llm.catalogue.lookup import find, with_adapter
    from llm.finetune.data import Row
    from llm.finetune.evaluate import ask
    from llm.finetune.gguf_lora import gguf_lora
    from llm.runtime import handles
    from tests.finetune.llama_gguf import to_gguf

    plain = unpacked(file, home / "unpacked")
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float16)
    model.save_pretrained(plain)
    half = to_gguf(plain, home / "half.gguf", numpy.float16)
    said = []
    for base in (plain, half):
        note = AdapterNote.read(adapter)
        assert note is not None
        place = shutil.copytree(adapter, home / f"adapter-{base.stem}")
        # Rounded to 16 bits they are other weights, and the test question's answer differs in its last digits.
        note = replace(note, base=str(base), base_fingerprint=fingerprint(base), probe_ids=())
        note.write(place)
        if base is half:
            (place / "adapter.gguf").write_bytes(gguf_lora(place, half))
        entry = with_adapter(find(str(base)), Adapter("town", place, note))
        said.append([ask(entry, Row.of(question, ""), ANSWER_TOKENS) for question in questions])
        handles.registry().close_all()
    return sum(one == other for one, other in zip(*said, strict=True))


if __name__ == "__main__":
    main()
