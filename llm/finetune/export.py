"""What a run leaves with: its adapter in the layouts that other programs read, and the same run as their recipes."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from llm.catalogue.adapters import GGUF, PREFIX, SETTINGS, WEIGHTS, Adapter, AdapterNote, keep_adapter
from llm.catalogue.entry import ModelEntry
from llm.catalogue.json_file import read_config
from llm.catalogue.lookup import find, where
from llm.config import config
from llm.errors import AdapterRefused, ModelNotThere
from llm.finetune.data import Row
from llm.finetune.evaluate import ask, checkpoint_of, tuned_entry
from llm.finetune.gguf_lora import gguf_lora
from llm.finetune.merge import Progress, merge_checkpoint, merge_gguf
from llm.finetune.recipes import llamafactory_data, llamafactory_yaml, peft_script, recipe_json
from llm.finetune.run import Checkpoint, Run, get_run
from llm.jobs.registry import Job

Export: TypeAlias = Literal["peft", "gguf_lora", "prefix", "merged", "merged_gguf", "recipes"]
MODEL = "model.safetensors"
COMPARED_QUESTIONS, COMPARED_TOKENS = 10, 64
EXPORTS: tuple[Export, ...] = get_args(Export)


def exports_of(run: Run, checkpoint: Checkpoint) -> list[Export]:
    """What can be had of a checkpoint."""
    lora = (checkpoint.folder / WEIGHTS).is_file()
    gguf = find(run.config.base).is_gguf
    found: list[Export] = []
    if lora:
        found += ["peft", *(["gguf_lora", "merged_gguf"] if gguf else ["merged"])]  # type: ignore[list-item]
    if (checkpoint.folder / PREFIX).is_file():
        found.append("prefix")
    if (checkpoint.folder / MODEL).is_file():
        found.append("merged")
    asked = run.config.settings
    # What others' tools make of these settings is the same run for a LoRA on answers alone.
    return [*found, "recipes"] if asked.method in ("lora", "qlora") and asked.learn == "answers" else found


def use_in_chat(run: Run, checkpoint: Checkpoint, name: str) -> Adapter:
    """Keeps a checkpoint as an adapter, so that it answers as `<base>@<name>`.

    Raises:
        AdapterRefused: it is no adapter, or the base's engine cannot take one of its kind.
        OSError: the disk is full or cannot be written.
    """
    note = AdapterNote.read(checkpoint.folder)
    if note is None:
        raise AdapterRefused(adapter=name, model=run.config.base, detail="the checkpoint does not tell its base")
    extra = {}
    base = find(note.base)
    if base.is_gguf:
        extra[GGUF] = gguf_lora(checkpoint.folder, _place(base))
    return keep_adapter(name, checkpoint.folder, note, extra)


def export(
    run: Run, checkpoint: Checkpoint, kind: Export, out: Path, progress: Progress = lambda done, total: None
) -> Path:
    """Writes an export to a folder of its own under `out`, and returns the file or folder.

    Raises:
        AdapterRefused, ModelNotThere, CorruptModel, OSError: it cannot be made.
    """
    asked = run.config
    base = find(asked.base)
    name = asked.name or run.id
    out.mkdir(parents=True, exist_ok=True)
    match kind:
        case "peft":
            return _peft(checkpoint.folder, out / f"{name}-peft", base)
        case "prefix":
            return _prefix(checkpoint.folder, out / f"{name}-prefix", base)
        case "gguf_lora":
            file = out / f"{name}-lora.gguf"
            file.write_bytes(gguf_lora(checkpoint.folder, _place(base)))
            return file
        case "merged" if (checkpoint.folder / MODEL).is_file():
            ignored = shutil.ignore_patterns("state.*", "hearth.json")
            return shutil.copytree(checkpoint.folder, out / f"{name}-merged", ignore=ignored, dirs_exist_ok=True)
        case "merged":
            return merge_checkpoint(_place(base), checkpoint.folder, out / f"{name}-merged", progress)
        case "merged_gguf":
            return merge_gguf(_place(base), checkpoint.folder, out / f"{name}-merged.gguf", progress)
        case "recipes":
            file = out / f"{name}-recipes.zip"
            file.write_bytes(recipes(run))
            return file


def make(job: Job) -> dict[str, Any]:
    """The work of the job kind `finetune.export`; params: run, step, kind. A merged model is asked as the adapter is.

    Result: `path`; of a merged model also how many of the `asked` questions are answered the `same`.
    """
    run = get_run(job.params["run"], job.owner)
    checkpoint = checkpoint_of(run, job.params["step"])
    kind: Export = job.params["kind"]
    out = exports_folder() / run.id / f"{checkpoint.step:08d}"
    place = export(run, checkpoint, kind, out, lambda done, total: job.progress(done, total, stage="merging"))
    if not kind.startswith("merged"):
        return {"path": str(place)}
    rows = questions(run)
    tuned, merged = tuned_entry(run, checkpoint), find(place)
    same = 0
    for done, row in enumerate(rows):
        job.progress(done, len(rows), stage="asking")
        same += ask(tuned, row, COMPARED_TOKENS, job.cancel) == ask(merged, row, COMPARED_TOKENS, job.cancel)
    return {"path": str(place), "same": same, "asked": len(rows)}


def questions(run: Run) -> list[Row]:
    """Rows to compare two models on: held-out ones, or trained ones where there are none."""
    for name in ("held_out.jsonl", "rows.jsonl"):
        lines = (run.folder / name).read_text(encoding="utf-8").split("\n") if (run.folder / name).is_file() else []
        rows = [Row.from_dict(json.loads(line)) for line in lines if line]
        if found := [row for row in rows if row.prompt]:
            return found[:COMPARED_QUESTIONS]
    return []


def recipes(run: Run) -> bytes:
    """A zip with the rows and all that repeats the run: Hearth's settings, LLaMA-Factory's file, a script of peft."""
    asked = run.config
    base = repository(find(asked.base))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as files:
        files.writestr("hearth.json", json.dumps(asked.to_dict(), ensure_ascii=False, indent=1))
        files.writestr("llamafactory.yaml", llamafactory_yaml(asked, base))
        files.writestr("dataset_info.json", llamafactory_data())
        files.writestr("train.py", peft_script())
        files.writestr("recipe.json", recipe_json(asked, base))
        for name in ("rows.jsonl", "held_out.jsonl"):
            if (run.folder / name).is_file():
                files.write(run.folder / name, name)
    return made.getvalue()


def repository(base: ModelEntry) -> str:
    """Where others find a base: its repository on a hub, else where it lies here."""
    return next((s.repo for s in base.sources if s.kind in ("huggingface", "modelscope")), str(where(base) or base.id))


def zipped(place: Path) -> bytes:
    """A file as it is, or a folder as a zip."""
    if place.is_file():
        return place.read_bytes()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as files:  # weights do not shrink
        for file in sorted(place.rglob("*")):
            files.write(file, file.relative_to(place.parent))
    return made.getvalue()


def exports_folder() -> Path:
    return config().home / "finetune" / "exports"


def _peft(folder: Path, out: Path, base: ModelEntry) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    settings: dict[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = repository(base)
    (out / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False, indent=1), encoding="utf-8")
    return out


def _prefix(folder: Path, out: Path, base: ModelEntry) -> Path:
    """The published layout (THUDM/ChatGLM-6B, ptuning): the prefix alone as a pickle, and the base's configuration."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(folder / PREFIX)
    out.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor.float() for name, tensor in tensors.items()}, out / "pytorch_model.bin")
    rows = next(t.shape[0] for name, t in tensors.items() if name.endswith("embedding.weight"))
    projected = any(".trans." in name for name in tensors)
    config = dict(read_config(_place(base))) | {"pre_seq_len": rows, "prefix_projection": projected}
    config["_name_or_path"] = str(_place(base))
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return out


def _place(base: ModelEntry) -> Path:
    place = where(base)
    if place is None:
        raise ModelNotThere(model=base.id)
    return place
