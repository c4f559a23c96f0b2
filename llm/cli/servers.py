"""`python -m llm servers`: models that other servers run."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from llm.errors import NotFound
from llm.remote import servers as remote

servers = typer.Typer(no_args_is_help=True, help="Other servers (vLLM, Ollama, llama-server, a Hearth ...) as sources.")
Name = Annotated[str, typer.Argument(help="A short name; its models become name/model.")]


@servers.command()
def add(
    name: Name,
    base_url: Annotated[str, typer.Argument(help="As OpenAI's clients want it, mostly ending in /v1.")],
    key: Annotated[
        str, typer.Option(help="API key. Without this option HEARTH_SERVER_KEY counts.", envvar="HEARTH_SERVER_KEY")
    ] = "",
) -> None:
    """Adds a server's models, or brings them up to date.

    Example: [bold]python -m llm servers add gpu http://10.0.0.5:8000/v1[/bold]
    """
    for entry in remote.add_server(name, base_url, key):
        typer.echo(entry.id)


@servers.command("list")
def listed() -> None:
    """Lists servers. Example: [bold]python -m llm servers list[/bold]"""
    table = Table("name", "address", "models", box=None, header_style="bold")
    for name, base_url in remote.servers().items():
        table.add_row(name, base_url, str(len(remote.entries_of(name))))
    Console().print(table)


@servers.command()
def remove(name: Name) -> None:
    """Takes a server, its models and its key away. Example: [bold]python -m llm servers remove gpu[/bold]"""
    if name not in remote.servers():
        raise NotFound(what="server", id=name)
    remote.forget_server(name)
