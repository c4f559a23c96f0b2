"""`python -m llm keys`: who may use the API from other machines."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from llm.access.api_keys import Keys

keys = typer.Typer(no_args_is_help=True, help="Keys for the HTTP API, needed as soon as it listens to other machines.")
Name = Annotated[str, typer.Argument(help="Who or what the key is for.")]


@keys.command()
def create(name: Name) -> None:
    """Makes a key and shows it this once. Example: [bold]python -m llm keys create laptop[/bold]"""
    typer.echo(Keys().create(name))
    Console(stderr=True).print("Keep it now: only its hash is stored.")


@keys.command("list")
def listed() -> None:
    """Lists the keys, without the keys themselves. Example: [bold]python -m llm keys list[/bold]"""
    table = Table("name", "made", "ends in", box=None, header_style="bold")
    for key in Keys().listed():
        table.add_row(key.name, key.created, key.ending)
    Console().print(table)


@keys.command()
def revoke(name: Name) -> None:
    """Makes a key invalid at once. Example: [bold]python -m llm keys revoke laptop[/bold]"""
    Keys().revoke(name)
