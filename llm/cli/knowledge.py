"""`python -m llm knowledge`: documents added, searched, asked and followed, as the Knowledge page does."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from llm.catalogue.lookup import starter_id
from llm.errors import NotFound
from llm.events import Finished, Noted, TextDelta
from llm.jobs import jobs
from llm.knowledge import answers, folders, reading
from llm.knowledge.library import Library
from llm.knowledge.search import search as find_passages
from llm.knowledge.values import Base
from llm.runtime import handles
from llm.settings import GenerationSettings

knowledge = typer.Typer(no_args_is_help=True, help="Questions to your own documents.")
notes = Console(stderr=True)
Name = Annotated[str, typer.Argument(help="Name or id of the base; `add` makes one that is not there.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value instead of text.")]


@knowledge.command("list")
def listed() -> None:
    """Lists bases. Example: [bold]python -m llm knowledge list[/bold]"""
    library = Library()
    table = Table("base", "id", "documents", "passages", "meaning by", box=None, header_style="bold")
    for base in library.bases():
        known = library.documents(base.id)
        passages = sum(document.passages for document in known)
        table.add_row(base.name, base.id, str(len(known)), str(passages), base.indexed_by or "words only")
    Console().print(table)


@knowledge.command()
def add(name: Name, files: Annotated[list[Path], typer.Argument(help="Files and folders.", exists=True)]) -> int:
    """Adds documents and reads them. Example: [bold]python -m llm knowledge add manuals *.pdf[/bold]"""
    library = Library()
    base = _base(library, name, make=True)
    added = []
    for given in files:
        for file in sorted(given.rglob("*")) if given.is_dir() else [given]:
            if file.is_file() and not file.name.startswith("."):
                added.append(library.add(base.id, file.name, file.read_bytes()).id)
    return _read(library, base, added)


@knowledge.command()
def search(name: Name, query: str, most: int = 5, as_json: AsJson = False) -> None:
    """Finds passages. Example: [bold]python -m llm knowledge search manuals "E-2099"[/bold]"""
    library = Library()
    found = find_passages(library, _base(library, name).id, query, most)
    if as_json:
        rows = [{"document": hit.passage.document, "place": hit.passage.label, "page": hit.passage.page,
                 "text": hit.passage.text, "score": hit.score} for hit in found.hits]  # fmt: skip
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for number, hit in enumerate(found.hits, start=1):
        typer.echo(f"[{number}] {hit.passage.document} · {hit.passage.label}\n{hit.passage.text}\n")


@knowledge.command()
def ask(
    name: Name,
    question: str,
    model: Annotated[str, typer.Option("--model", "-m", help="Catalogue id, model folder or .gguf file.")] = "",
    extractive: Annotated[bool, typer.Option(help="The documents' own sentences, without a model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answers from the documents. Example: [bold]python -m llm knowledge ask manuals "Which fault is E-2099?"[/bold]"""
    library = Library()
    base = _base(library, name)
    writer = None if extractive else handles.chat(model or starter_id("text-generation"))
    way: answers.Way = "extractive" if extractive else "written"
    run, text = {}, ""
    for event in answers.answer(library, base.id, question, writer, GenerationSettings(), way=way):
        match event:
            case TextDelta(text=piece):
                text += piece
                if not as_json:
                    typer.echo(piece, nl=False)
            case Noted(values=values):
                run = dict(values["knowledge"])
            case Finished() if not as_json:
                typer.echo("")
    if as_json:
        typer.echo(json.dumps({"answer": text, **run}, ensure_ascii=False))
        return
    passages = library.passages(run.get("sent", []))
    for number, one in enumerate(run.get("sent", []), start=1):
        if one in passages:
            notes.print(f"[{number}] {passages[one].document} · {passages[one].label}", markup=False, highlight=False)
    for sentence in run.get("sentences", []):
        if sentence["support"] in ("partly", "not_found"):
            notes.print(f"{sentence['support']}: {sentence['text'].strip()}", markup=False, highlight=False)


@knowledge.command()
def watch(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="The folder to follow.", exists=True, file_okay=False)],
    every_s: Annotated[float, typer.Option(help="Seconds between two looks.")] = 5.0,
    once: Annotated[bool, typer.Option(help="Looks once and ends.")] = False,
) -> int:
    """Follows a folder until Ctrl+C. Example: [bold]python -m llm knowledge watch manuals ./manuals[/bold]"""
    library = Library()
    base = _base(library, name, make=True)
    while True:
        change = folders.follow(library, base.id, folder)
        if change.any:
            notes.print(
                f"{change.added} added, {change.changed} changed, {change.renamed} renamed, {change.removed} removed"
            )
            _read(library, base, [])
        if once:
            return 0
        try:
            time.sleep(every_s)
        except KeyboardInterrupt:
            return 0


def _base(library: Library, name: str, make: bool = False) -> Base:
    found = next((base for base in library.bases() if name in (base.id, base.name)), None)
    if found is not None:
        return found
    if not make:
        raise NotFound(what="base", id=name)
    return library.create_base(name, embedder=reading.default_embedder())


def _read(library: Library, base: Base, added: list[str]) -> int:
    job = reading.start(library, base.id)
    jobs().wait(job.id)
    failed = 0
    for document_id in added:
        document = library.document(document_id)
        failed += document.state != "ready"
        reason = f"  {document.error_code}" if document.error_code else ""
        notes.print(f"{document.name}: {document.state}, {document.passages} passages{reason}", highlight=False)
    return 1 if failed else 0
