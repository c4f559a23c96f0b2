"""`python -m llm finetune`: plan a run, train, go on, ask and export, as the Fine-tune page does."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from llm.catalogue.lookup import find
from llm.errors import InvalidRequest
from llm.finetune.data import Dataset, save_set
from llm.finetune.doctor import examined
from llm.finetune.plan import FEWEST_STEPS, read_rows, smaller
from llm.finetune.plan import plan as planned
from llm.finetune.run import Run, all_runs, get_run, light
from llm.finetune.settings import GOALS, PRESETS, TrainSettings, changed, preset
from llm.jobs import JobRecord, jobs
from llm.jobs.registry import LOCAL

finetune = typer.Typer(no_args_is_help=True, help="Teach a model your rows. A run is a folder; every command reads it.")
notes = Console(stderr=True)
NAMED_ROWS = 12
KINDS = "peft, gguf_lora, prefix, merged, merged_gguf, recipes"
Data = Annotated[Path, typer.Argument(help="Rows: .xlsx, .csv, .jsonl, .json or .txt.", exists=True, dir_okay=False)]
Base = Annotated[str, typer.Option("--model", "-m", help="Catalogue id, model folder or .gguf file.")]
Goal = Annotated[str, typer.Option(help=f"What is wanted: {', '.join([*GOALS, *PRESETS])}.")]
Values = Annotated[list[str], typer.Option("--set", help="A value of the run, such as rank=8 or epochs=5.")]
RunId = Annotated[str, typer.Argument(help="A run's id, see `list`.")]
Step = Annotated[int | None, typer.Option(help="The checkpoint; without it the best.")]


@finetune.command()
def plan(
    data: Data,
    model: Base,
    goal: Goal = "answers",
    values: Values = [],  # noqa: B006
    measure: Annotated[bool, typer.Option(help="Try two steps, for time and memory as they are.")] = False,
) -> int:
    """Tells what a run would be. Example: [bold]python -m llm finetune plan town.xlsx -m qwen3-0.6b[/bold]"""
    from llm.finetune.trial import trial_params

    rows = _rows(data)
    settings, entry = _settings(goal, values, rows, model), find(model)
    kept, left = read_rows(entry, rows.training, settings)
    found = planned(entry, len(rows.training), kept, left, settings)
    if measure and kept:
        ended = jobs().wait(jobs().start("finetune.trial", entry.name, trial_params(entry, rows, settings, kept)).id)
        if ended is None or ended.state != "done":
            return _failed(ended)
        found = found.tried(ended.result)
    told = found.to_dict() | {"held_out": len(rows.held_out), "settings": settings.to_dict()}
    other = None if found.fits else smaller(entry, kept, settings)
    told |= {"would_fit": changed(other, settings)} if other else {}
    typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
    if found.few_steps:
        notes.print(f"{found.steps} steps are few: below {FEWEST_STEPS} hardly anything is learnt.")
    return 0


@finetune.command("run")
def run_(
    data: Data,
    model: Base,
    goal: Goal = "answers",
    values: Values = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
) -> int:
    """Trains. Ctrl+C pauses. Example: [bold]python -m llm finetune run town.xlsx -m qwen3-0.6b --set epochs=5[/bold]"""
    from llm.finetune.start import begin, new_run

    rows = _rows(data)
    made = new_run(rows, model, _settings(goal, values, rows, model), name or data.stem)
    typer.echo(made.id)
    return _follow(made, begin(made))


@finetune.command()
def resume(run: RunId) -> int:
    """Goes on with a run. Example: [bold]python -m llm finetune resume town-1a2b3c4d[/bold]"""
    from llm.finetune.start import begin, job_of

    found = get_run(run, LOCAL)
    job = job_of(found)
    if job is None:
        job = begin(found)
    elif not job.active:
        jobs().resume(job.id)
    return _follow(found, job)


@finetune.command("list")
def listed() -> None:
    """Lists runs. Example: [bold]python -m llm finetune list[/bold]"""
    from llm.finetune.start import job_of

    table = Table("run", "model", "rows", "state", "step", "held-out loss", box=None, header_style="bold")
    for run in all_runs(LOCAL):
        asked, job, best = run.config, job_of(run), run.best
        looks = [e["held_out_loss"] for e in run.events() if e.get("event") == "look" and e.get("held_out_loss")]
        state = job.state if job else "kept"
        loss = f"{min(looks):.3f}" if looks else ""
        table.add_row(run.id, asked.base, str(asked.rows), state, str(best.step if best else 0), loss)
    Console().print(table)


@finetune.command()
def evaluate(run: RunId, step: Step = None) -> int:
    """Asks the held-out questions. Example: [bold]python -m llm finetune evaluate town-1a2b3c4d[/bold]"""
    from llm.finetune.evaluate import checkpoint_of

    found = get_run(run, LOCAL)
    at = checkpoint_of(found, step).step
    job = jobs().start("finetune.evaluate", found.config.name, {"run": run, "step": at})
    ended = jobs().wait(job.id)
    if ended is None or ended.state != "done":
        return _failed(ended)
    typer.echo(json.dumps(ended.result["verdict"], ensure_ascii=False))
    return 0


@finetune.command("export")
def export_(
    run: RunId,
    kind: Annotated[str, typer.Argument(help=f"{KINDS}, or chat to use it as MODEL@NAME.")],
    to: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    name: Annotated[str, typer.Option(help="The adapter's name in the chat.")] = "",
    step: Step = None,
) -> None:
    """Writes what a run leaves with. Example: [bold]python -m llm finetune export town-1a2b3c4d peft --to out[/bold]"""
    from llm.finetune.evaluate import checkpoint_of
    from llm.finetune.export import EXPORTS, export, use_in_chat

    found = get_run(run, LOCAL)
    checkpoint = checkpoint_of(found, step)
    if kind == "chat":
        kept = use_in_chat(found, checkpoint, name or found.id)
        typer.echo(f"{found.config.base}@{kept.name}")
        return
    wanted = next((known for known in EXPORTS if known == kind), None)
    if wanted is None:
        raise InvalidRequest(detail=f"{kind} is none of {', '.join(EXPORTS)}, chat")
    typer.echo(str(export(found, checkpoint, wanted, to)))


def _rows(file: Path) -> Dataset:
    from llm.finetune.files import read_file

    rows, problems = read_file(file.name, file.read_bytes())
    for problem in problems:
        notes.print(f"{file.name}:{problem.number}: {problem.code}")
    if not rows:
        raise InvalidRequest(detail=f"{file.name} holds no rows")
    made = save_set(file.stem, rows, owner=LOCAL, source=file.name)
    for finding in examined(made.rows, made.held_out):
        named = ", ".join(map(str, finding.rows[:NAMED_ROWS])) + (" …" if finding.rows[NAMED_ROWS:] else "")
        notes.print(f"{file.name}: {finding.code} in {len(finding.rows)} rows: {named}", highlight=False)
    return made


def _settings(goal: str, values: list[str], rows: Dataset, model: str) -> TrainSettings:
    known = next((known for known in GOALS if known == goal), None)
    if known is None and goal not in PRESETS:
        raise InvalidRequest(detail=f"{goal} is none of {', '.join([*GOALS, *PRESETS])}")
    start = preset(known, len(rows.training), find(model).parameters) if known else PRESETS[goal]
    given: dict[str, Any] = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not sign:
            raise InvalidRequest(detail=f"{text} is no NAME=VALUE")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return TrainSettings.from_dict(start.to_dict() | given)


def _follow(run: Run, job: JobRecord) -> int:
    """Prints steps and looks as they come; Ctrl+C pauses the run."""
    seen = len(run.events())
    try:
        while True:
            ended = jobs().wait(job.id, 0.5)
            events = run.events()
            for event in events[seen:]:
                _print(event)
            seen = max(seen, len(events))
            if ended is None or not ended.active:
                break
            time.sleep(0.1)
    except KeyboardInterrupt:
        jobs().pause(job.id)
        ended = jobs().wait(job.id)
        notes.print(f"Paused. Go on with: python -m llm finetune resume {run.id}")
        return 130
    if ended is None or ended.state != "done":
        return _failed(ended)
    notes.print(f"{light(run.events())}; best checkpoint: {run.best.step if run.best else 0}")
    return 0


def _print(event: dict[str, Any]) -> None:
    match event.get("event"):
        case "step":
            notes.print(f"step {event['step']}  loss {event['loss']:.4f}  rate {event['rate']:.2e}", highlight=False)
        case "look" if event.get("held_out_loss") is not None:
            notes.print(f"step {event['step']}  held-out loss {event['held_out_loss']:.4f}", highlight=False)


def _failed(job: JobRecord | None) -> int:
    notes.print(f"[red]{job.error_text or job.state if job else 'the job is gone'}[/red]")
    return 1
