"""What a run leaves with, read by the programs that it is for."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from llm.catalogue.adapters import PREFIX, AdapterNote, fingerprint
from llm.errors import AdapterRefused
from llm.events import Finished
from llm.finetune.data import Row
from llm.finetune.export import export, exports_of, use_in_chat, zipped
from llm.finetune.plain_peft import encoded, train
from llm.finetune.run import Run, RunConfig, create_run
from llm.finetune.settings import TrainSettings
from llm.runtime import handles
from llm.settings import GenerationSettings
from tests.finetune import tiny
from tests.finetune.llama_gguf import to_gguf


@pytest.fixture
def closed(data_folder: Path) -> Iterator[Path]:
    yield data_folder
    handles.registry().close_all()


def finished_run(home: Path, gguf: bool = False, name: str = "town") -> Run:
    """A run's folder as training leaves it."""
    model = tiny.base(home / "base")
    base = to_gguf(model, home / "base.gguf") if gguf else model
    settings = TrainSettings(rank=4, alpha=8, max_steps=3, batch_rows=2, learning_rate=1e-2, max_tokens=64)
    run = create_run(RunConfig(name, str(base), fingerprint(base), settings, rows=4, held_out=1))
    folder = run.folder / "checkpoints" / "00000003"
    tiny.adapter(model, folder)
    note = AdapterNote.read(folder)
    assert note is not None
    replace(note, base=str(base), base_fingerprint=fingerprint(base), run=run.id, step=3).write(folder)
    rows = [Row.of(f"Who is number {n}?", f"The cat {n} sat.") for n in range(4)]
    (run.folder / "rows.jsonl").write_text("".join(json.dumps(row.to_dict()) + "\n" for row in rows))
    return run


def test_peft_reads_the_folder(closed: Path) -> None:
    run = finished_run(closed)
    best = run.best
    assert best is not None and exports_of(run, best) == ["peft", "merged", "recipes"]
    place = export(run, best, "peft", closed / "out")
    plain = transformers.AutoModelForCausalLM.from_pretrained(closed / "base", dtype=torch.float32)
    tuned = peft.PeftModel.from_pretrained(plain, str(place))
    note = AdapterNote.read(best.folder)
    assert note is not None
    with torch.inference_mode():
        logits = tuned(torch.tensor([note.probe_ids])).logits[0, -1, : len(note.probe_logits)]
    assert float((logits - torch.tensor(note.probe_logits)).abs().max()) < 1e-4
    names = zipfile.ZipFile(io.BytesIO(zipped(place))).namelist()
    assert sorted(Path(name).name for name in names) == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_run_of_a_gguf_gives_files_for_llama_cpp(closed: Path) -> None:
    run = finished_run(closed, gguf=True)
    assert run.best is not None and exports_of(run, run.best) == ["peft", "gguf_lora", "merged_gguf", "recipes"]
    assert export(run, run.best, "gguf_lora", closed / "out").read_bytes()[:4] == b"GGUF"
    merged = export(run, run.best, "merged_gguf", closed / "out")
    assert list(handles.chat(merged).complete("The cat", GenerationSettings(max_length=3)))
    use_in_chat(run, run.best, "town")
    events = list(handles.chat(f"{closed / 'base.gguf'}@town").complete("The cat", GenerationSettings(max_length=3)))
    assert isinstance(events[-1], Finished)


def test_the_official_prefix_is_a_pickle_of_two_names_only(closed: Path) -> None:
    run = finished_run(closed)
    assert run.best is not None
    save_file({"transformer.prefix_encoder.embedding.weight": torch.randn(8, 64)}, run.best.folder / PREFIX)
    place = export(run, run.best, "prefix", closed / "out")
    stored = torch.load(place / "pytorch_model.bin", weights_only=True)
    assert list(stored) == ["transformer.prefix_encoder.embedding.weight"]
    assert json.loads((place / "config.json").read_text())["pre_seq_len"] == 8


def test_the_recipes_are_the_same_run(closed: Path) -> None:
    run = finished_run(closed)
    assert run.best is not None
    file = export(run, run.best, "recipes", closed / "out")
    folder = closed / "recipes"
    zipfile.ZipFile(file).extractall(folder)
    yaml = (folder / "llamafactory.yaml").read_text()
    assert 'finetuning_type: "lora"' in yaml and "lora_rank: 4" in yaml and "max_steps: 3" in yaml
    assert json.loads((folder / "dataset_info.json").read_text())["hearth"]["file_name"] == "rows.jsonl"
    losses = train(folder)
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert "base_model.model" in next(iter(load_file(folder / "adapter" / "adapter_model.safetensors")))


def test_the_script_trains_answers_and_their_ends_only(closed: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.base(closed / "base"))
    row = Row.of("Who?", "The cat.", history=[("Hi", "Hello")]).to_dict()
    every = encoded(tokenizer, row, {"max_tokens": 200, "turns": "all"})
    last = encoded(tokenizer, row, {"max_tokens": 200, "turns": "last"})
    trained = [tokenizer.decode([i for i, label in zip(*pair, strict=True) if label != -100]) for pair in (every, last)]
    assert trained == ["Hello<|im_end|>\nThe cat.<|im_end|>\n", "The cat.<|im_end|>\n"]


def test_a_checkpoint_without_a_note_is_not_used(closed: Path) -> None:
    run = finished_run(closed)
    assert run.best is not None
    (run.best.folder / "hearth.json").unlink()
    with pytest.raises(AdapterRefused, match="does not tell its base"):
        use_in_chat(run, run.best, "town")
