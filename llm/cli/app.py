"""The terminal: `python -m llm`. Answers go to standard output, everything else to standard error.

Exit codes: 0 done, 1 the model or a file failed, 2 wrong usage, 3 no such model or not on this machine,
4 the network failed, 130 interrupted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from llm.config import config
from llm.errors import ModelError
from llm.paths import APP

EXIT_FAILED, EXIT_USAGE, EXIT_NO_MODEL, EXIT_NETWORK, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
_EXITS = {
    "unknown_model": EXIT_NO_MODEL,
    "model_not_there": EXIT_NO_MODEL,
    "no_network": EXIT_NETWORK,
    "download_failed": EXIT_NETWORK,
    "remote_failed": EXIT_NETWORK,
}

app = typer.Typer(
    name="llm",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Hearth's models in the terminal. Example: [bold]python -m llm ask 'What is a hearth?'[/bold]",
)
notes = Console(stderr=True)

Model = Annotated[str, typer.Option("--model", "-m", help="Catalogue id, model folder or .gguf file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value instead of text.")]
System = Annotated[str, typer.Option("--system", "-s", help="System prompt.")]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; the exit code."""
    try:
        answer = app(arguments, standalone_mode=False)
    except ModelError as error:
        notes.print(f"[red]{escape(str(error))}[/red]")
        return _EXITS.get(error.code, EXIT_FAILED)
    except (OSError, ValueError) as error:
        notes.print(f"[red]{escape(str(error))}[/red]")
        return EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:
        # Typer's usage errors know how to show themselves.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", EXIT_USAGE))
    return answer if isinstance(answer, int) else 0


def run() -> None:
    """The `hearth` command."""
    sys.exit(main())


@app.command()
def pages(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the pages are served.")] = 8501,
) -> int:
    """Opens the pages in the browser, as `streamlit run Home.py` does. Example: [bold]hearth pages[/bold]"""
    command = [sys.executable, "-m", "streamlit", "run", "Home.py", "--server.port", str(port)]
    return subprocess.run(command, cwd=APP, check=False).returncode


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask. Text from a pipe is put before it.")] = "",
    model: Model = "",
    image: Annotated[list[Path], typer.Option("--image", "-i", help="Picture to ask about.", exists=True)] = [],  # noqa: B006
    system: System = "",
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Longest answer.")] = 1024,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes sampling repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answers one question.

    Example: [bold]git diff | python -m llm ask "Write a commit message" -m qwen2.5-coder-1.5b-instruct-q4_k_m[/bold]
    """
    from llm.cli import terminal

    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    words = "\n\n".join(text for text in (piped.strip(), question.strip()) if text)
    handle = terminal.chat_model(model or config().starter_chat)
    settings = terminal.settings(handle, max_length=max_tokens, temperature=temperature, seed=seed)
    messages = [*terminal.opening(system), terminal.question(words, image)]
    answer = terminal.answer(handle, messages, settings, show=not as_json)
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), ensure_ascii=False))


@app.command()
def chat(
    model: Model = "",
    system: System = "",
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Longest answer.")] = 1024,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is repeatable.")] = None,
) -> None:
    """Talks with a model. Ctrl-C stops an answer; Ctrl-D or /quit ends the talk; /help lists the commands.

    Example: [bold]python -m llm chat -m smollm2-135m-instruct-q4_1 -s "Answer in one sentence."[/bold]
    """
    from llm.cli import chat as terminal_chat
    from llm.cli import terminal

    handle = terminal.chat_model(model or config().starter_chat)
    settings = terminal.settings(handle, max_length=max_tokens, temperature=temperature, seed=None)
    terminal_chat.Talk(handle, settings, system).run()


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Sound or video files.", exists=True, dir_okay=False)],
    to: Annotated[str, typer.Option(help="txt, srt, vtt, lrc, tsv or json.")] = "txt",
    out: Annotated[Path | None, typer.Option(help="Folder for one file each; else standard output.")] = None,
    language: Annotated[str, typer.Option(help="Code such as en or zh; else detected.")] = "",
    translate: Annotated[bool, typer.Option(help="To English.")] = False,
    model: Model = "",
) -> int:
    """Writes down what is said in recordings.

    Example: [bold]python -m llm transcribe talk.mp4 --to srt --out subtitles[/bold]
    """
    from llm.cli import speech as terminal_speech
    from llm.cli import terminal

    write = terminal_speech.format_of(to)
    handle = terminal.transcriber(model or config().starter_speech)
    failed, written = 0, set()
    for file in files:
        try:
            text = write(terminal_speech.transcription(handle, file, language, translate))
        except ModelError as error:  # one bad file must not cost the others their text
            if len(files) == 1:
                raise
            notes.print(f"[red]{escape(str(error))}[/red]")
            failed += 1
            continue
        if out is None:
            typer.echo(text, nl=False)
            continue
        out.mkdir(parents=True, exist_ok=True)
        names = [file.stem, file.name, *(f"{file.name} ({number})" for number in range(2, len(files) + 2))]
        target = next(place for name in names if (place := out / f"{name}.{to}") not in written)
        target.write_text(text, encoding="utf-8")
        written.add(target)
        notes.print(escape(str(target)))
    return EXIT_FAILED if failed else 0


@app.command()
def task(
    name: Annotated[
        str, typer.Argument(help="A hub's tag or the tutorials' name: ner, sentiment-analysis, translation ...")
    ],
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Texts (@file reads one), or files; a question and a text.")
    ] = None,
    model: Model = "",
    options: Annotated[list[str], typer.Option("--set", help="name=value of the job's own, such as top_k=3.")] = [],  # noqa: B006
    as_json: AsJson = False,
    file: Annotated[Path | None, typer.Option(help="A table (CSV in any encoding, .xlsx), done row by row.")] = None,
    columns: Annotated[
        list[str], typer.Option("--column", help="Which of the table; for question-answering question and text.")
    ] = [],  # noqa: B006
    gold: Annotated[str, typer.Option(help="Column with the right answers: accuracy and F1 are told.")] = "",
) -> int:
    """Does one job: labels, entities, answers, gaps, summaries, translations, pictures, sound.

    Example: [bold]python -m llm task ner "Anna lives in Rome." --json[/bold]
    Example: [bold]python -m llm task sentiment-analysis --file reviews.csv --column text --gold label[/bold]
    """
    from llm.cli import tasks as terminal_tasks
    from llm.tasks.registry import spec_of

    if file is not None:
        asked = {"columns": columns, "gold": gold, "options": terminal_tasks.options_of(options)}
        failed = terminal_tasks.run_table(spec_of(name), file, model, asked, as_json)
        return EXIT_FAILED if failed else 0
    if not inputs:
        raise typer.BadParameter("give a text or a file, or --file with a table")
    answers, failed = terminal_tasks.run_all(spec_of(name), inputs, model, terminal_tasks.options_of(options))
    if as_json:
        typer.echo(json.dumps(answers[0] if len(answers) == 1 else answers, ensure_ascii=False))
    else:
        for number, answer in enumerate(answers):
            if len(answers) > 1:
                notes.print(escape(inputs[number][:60]))
            for row in answer or ():
                typer.echo("\n".join(map(terminal_tasks.line_of, row if isinstance(row, list) else [row])))
    return EXIT_FAILED if failed else 0


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; other machines then need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8502,
) -> int:
    """Serves the HTTP API without the pages. `streamlit run Home.py` serves both.

    Example: [bold]python -m llm serve --port 8502[/bold]
    """
    import uvicorn

    from llm.access.addresses import is_loopback
    from llm.access.api_keys import Keys
    from llm.api.app import create_api
    from llm.api.connections import bound_connections

    bound_connections()
    server = uvicorn.Server(uvicorn.Config(create_api(host), host=host, port=port, access_log=False, log_level="info"))
    try:
        listening = server.config.bind_socket()
    except SystemExit:  # uvicorn has said why
        return EXIT_FAILED
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1"
    notes.print(f"API at {address}, its description at {address}/docs")
    if not is_loopback(host) and not Keys().listed() and not config().api_keys:
        notes.print("Other machines need a key, and there is none yet: python -m llm keys create NAME makes one.")
    server.run(sockets=[listening])
    return 0


@app.command()
def password() -> None:
    """Makes the hash of a password for HEARTH_LOGINS. Example: [bold]python -m llm password[/bold]"""
    from llm.access.logins import hashed

    typer.echo(hashed(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))


@app.command()
def doctor(as_json: AsJson = False) -> int:
    """Says whether this machine is ready. Example: [bold]python -m llm doctor[/bold]"""
    from llm.diagnostics.doctor import main as examine

    return examine(json=as_json)


def _groups() -> None:
    """The commands that have commands."""
    from llm.cli.finetune import finetune
    from llm.cli.keys import keys
    from llm.cli.knowledge import knowledge
    from llm.cli.models import models
    from llm.cli.servers import servers

    app.add_typer(models, name="models")
    app.add_typer(finetune, name="finetune")
    app.add_typer(keys, name="keys")
    app.add_typer(knowledge, name="knowledge")
    app.add_typer(servers, name="servers")


_groups()
