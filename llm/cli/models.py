"""`python -m llm models`: what there is, get it, remove it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from llm.catalogue import library
from llm.catalogue.lookup import adapted, entries, find, where
from llm.errors import ModelNotThere
from llm.sources import FetchProgress, fetch

models = typer.Typer(no_args_is_help=True, help="Models on this machine and in the catalogue.")
notes = Console(stderr=True)
Id = Annotated[str, typer.Argument(help="Catalogue id.")]


@models.command("list")
def listed(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are not on this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value instead of a table.")] = False,
) -> None:
    """Lists models. Example: [bold]python -m llm models list --all[/bold]"""
    rows = [(entry, where(entry) is not None) for entry in [*entries(), *adapted()]]
    rows = [row for row in rows if everything or row[1]]
    if as_json:
        values = [
            {
                "id": entry.id,
                "name": entry.name,
                "task": entry.task,
                "installed": there,
                "size_bytes": entry.size_bytes,
                "context_tokens": entry.context_tokens,
                "licence": entry.licence,
            }
            for entry, there in rows
        ]
        typer.echo(json.dumps(values, ensure_ascii=False))
        return
    if not rows:
        notes.print("No model is on this machine yet. --all lists those that can be had; models pull ID gets one.")
        return
    table = Table("id", "task", "size", "here", box=None, header_style="bold")
    for entry, there in rows:
        size = f"{entry.size_bytes / 1e9:.2f} GB" if entry.size_bytes else ""
        table.add_row(entry.id, entry.task, size, "yes" if there else "")
    Console().print(table)


@models.command()
def pull(model: Id) -> None:
    """Gets a model. Example: [bold]python -m llm models pull smollm2-135m-instruct-q4_1[/bold]"""
    entry = find(model)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=notes) as bar:
        task = bar.add_task(entry.id, total=entry.size_bytes or None)

        def show(progress: FetchProgress) -> None:
            total = progress.total_bytes or entry.size_bytes or None
            bar.update(task, description=progress.stage, completed=progress.done_bytes, total=total)

        place = fetch(entry, show)
    typer.echo(str(place))


@models.command()
def remove(
    model: Id,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Without asking.")] = False,
) -> None:
    """Deletes a model's files. Example: [bold]python -m llm models remove smollm2-135m-instruct-q4_1 --yes[/bold]"""
    entry = find(model)
    places = [place for place in library.places_of(entry) if place.owner != "user"]
    if not places:
        raise ModelNotThere(model=entry.id)
    if not yes:
        typer.confirm(f"Delete {', '.join(str(place.root) for place in places)}?", abort=True)
    freed = sum(library.delete(place) for place in places)
    typer.echo(f"{freed / 1e6:.0f} MB freed")
