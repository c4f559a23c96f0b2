"""What a model is trained on: rows, kept as versioned sets that tell their hash.

A set is a folder `<home>/finetune/sets/<id>` with one folder for each version, never changed once it is written:
`rows.jsonl` in OpenAI's `messages` layout (or `{"text": ...}`), and `set.json`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llm.config import config
from llm.errors import NotFound
from llm.files import write_whole
from llm.messages import Message, assistant, system, user

HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 100
"""More held-out rows cost time at every look at them and say little more."""
FEWEST_FOR_HOLDING_OUT = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a conversation that ends with the answer to learn, or a text to go on with.

    number: where it stands in the source, counted from 1, as people are told of it. messages: empty for a text.
    rejected: the worse answer, where the row says which of two is better.
    """

    messages: tuple[Message, ...] = ()
    text: str = ""
    rejected: str = ""
    number: int = 0

    @classmethod
    def of(cls, prompt: str, response: str, system_text: str = "", history: Sequence[tuple[str, str]] = ()) -> Row:
        """A question and its answer, perhaps after others."""
        said = [system(system_text)] if system_text else []
        for question, answer in history:
            said += [user(question), assistant(answer)]
        return cls((*said, user(prompt), assistant(response)))

    @property
    def prompt(self) -> str:
        """The last question, in words; of a text nothing."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def response(self) -> str:
        """The answer to learn, in words; of a text the text."""
        last = self.messages[-1] if self.messages else None
        return last.text if last is not None and last.role == "assistant" else self.text

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's layouts for tuning: `{"messages": [...]}` with plain contents, or `{"text": ...}`."""
        if not self.messages:
            return {"text": self.text}
        values: dict[str, Any] = {"messages": [{"role": m.role, "content": m.text} for m in self.messages]}
        return values | ({"rejected": self.rejected} if self.rejected else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], number: int = 0) -> Row:
        """
        Raises:
            ValueError: a message has no known role.
        """
        messages = tuple(Message.of(message) for message in values.get("messages", ()))
        return cls(messages, str(values.get("text", "")), str(values.get("rejected", "")), number)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One version of a set.

    held_out: places (from 0) of the rows that are never trained, only asked. hash: sha256 of rows and held-out places,
    the same wherever the same rows are kept. owner: whose it is; empty on a machine without logins.
    """

    id: str
    name: str
    rows: tuple[Row, ...] = field(repr=False)
    held_out: frozenset[int] = field(default=frozenset(), repr=False)
    version: int = 1
    hash: str = ""
    owner: str = ""
    created_at: float = 0.0
    source: str = ""

    @property
    def training(self) -> list[Row]:
        return [row for place, row in enumerate(self.rows) if place not in self.held_out]

    @property
    def reserved(self) -> list[Row]:
        """The held-out rows."""
        return [row for place, row in enumerate(self.rows) if place in self.held_out]


@dataclass(frozen=True, slots=True)
class SetInfo:
    """What is listed of a set's version, without its rows."""

    id: str
    name: str
    version: int
    hash: str
    rows: int
    held_out: int
    owner: str = ""
    created_at: float = 0.0
    source: str = ""


def normal(text: str) -> str:
    """A text as it is compared: without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", text.casefold())


def hold_out(rows: Sequence[Row], share: float = HELD_OUT_SHARE, seed: int = 42) -> frozenset[int]:
    """Places of rows to keep apart, drawn by the seed; rows with the same question stay together.

    With fewer than ten rows each is needed for training, and none is held out.
    """
    wanted = min(MOST_HELD_OUT, round(len(rows) * share))
    if len(rows) < FEWEST_FOR_HOLDING_OUT or wanted < 1:
        return frozenset()
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(normal(row.prompt or row.text), []).append(place)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    taken: list[int] = []
    for group in order:
        if len(taken) + len(group) <= wanted:
            taken += group
    return frozenset(taken)


def rows_hash(rows: Iterable[Row], held_out: Iterable[int] = ()) -> str:
    """The sha256 of what is trained and of what is held out."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(_line(row).encode())
    digest.update(json.dumps(sorted(held_out)).encode())
    return digest.hexdigest()


def save_set(
    name: str, rows: Sequence[Row], held_out: Iterable[int] | None = None, owner: str = "", source: str = ""
) -> Dataset:
    """Keeps rows as a set of that name: its next version, or the newest one where nothing has changed.

    held_out: places to hold out; None draws them.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    places = hold_out(rows) if held_out is None else frozenset(held_out)
    numbered = tuple(replace(row, number=place) for place, row in enumerate(rows, start=1))
    set_id = _set_id(name, owner)
    newest = _versions(set_id)[-1] if _versions(set_id) else 0
    data = Dataset(
        id=set_id,
        name=name,
        rows=numbered,
        held_out=places,
        version=newest + 1,
        hash=rows_hash(numbered, places),
        owner=owner,
        created_at=time.time(),
        source=source,
    )
    if newest and _info(set_id, newest).hash == data.hash:
        return load_set(set_id, newest, owner)
    folder = _folder(set_id) / f"v{data.version}"
    write_whole(folder / "rows.jsonl", "".join(map(_line, numbered)))
    values = asdict(info_of(data)) | {"held_out_places": sorted(places)}
    write_whole(folder / "set.json", json.dumps(values, ensure_ascii=False))
    return data


def load_set(set_id: str, version: int | None = None, owner: str = "") -> Dataset:
    """A set's version; None: the newest.

    Raises:
        NotFound: it is not there, or somebody else's.
    """
    versions = _versions(set_id)
    wanted = version or (versions[-1] if versions else 0)
    folder = _folder(set_id) / f"v{wanted}"
    if wanted not in versions or _info(set_id, wanted).owner != owner:
        raise NotFound(what="training data", id=set_id)
    values = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").split("\n")
    rows = tuple(Row.from_dict(json.loads(line), number) for number, line in enumerate(filter(None, lines), start=1))
    return Dataset(
        id=set_id,
        name=values["name"],
        rows=rows,
        held_out=frozenset(values["held_out_places"]),
        version=wanted,
        hash=values["hash"],
        owner=values["owner"],
        created_at=values["created_at"],
        source=values["source"],
    )


def all_sets(owner: str = "") -> list[SetInfo]:
    """That owner's sets in their newest version, the newest first."""
    folders = sorted(_sets().glob("*")) if _sets().is_dir() else []
    newest = [_info(folder.name, versions[-1]) for folder in folders if (versions := _versions(folder.name))]
    return sorted((info for info in newest if info.owner == owner), key=lambda info: info.created_at, reverse=True)


def remove_set(set_id: str, owner: str = "") -> None:
    """Forgets a set with all its versions. Runs keep what they were trained on in their own folders."""
    if any(info.id == set_id for info in all_sets(owner)):
        shutil.rmtree(_folder(set_id), ignore_errors=True)


def info_of(data: Dataset) -> SetInfo:
    return SetInfo(
        data.id,
        data.name,
        data.version,
        data.hash,
        len(data.rows),
        len(data.held_out),
        data.owner,
        data.created_at,
        data.source,
    )


def _line(row: Row) -> str:
    return json.dumps(row.to_dict(), ensure_ascii=False, sort_keys=True) + "\n"


def _sets() -> Path:
    return config().home / "finetune" / "sets"


def _folder(set_id: str) -> Path:
    """Raises NotFound for an id that is no plain name: it would lead out of the folder."""
    if not re.fullmatch(r"[0-9a-f]{16}", set_id):
        raise NotFound(what="training data", id=set_id)
    return _sets() / set_id


def _set_id(name: str, owner: str) -> str:
    return hashlib.sha256(f"{owner}\n{name}".encode()).hexdigest()[:16]


def _versions(set_id: str) -> list[int]:
    """The versions that are whole, in order."""
    found = _folder(set_id).glob("v*/set.json")
    return sorted(int(path.parent.name[1:]) for path in found if path.parent.name[1:].isdigit())


def _info(set_id: str, version: int) -> SetInfo:
    values = json.loads((_folder(set_id) / f"v{version}" / "set.json").read_text(encoding="utf-8"))
    values.pop("held_out_places")
    return SetInfo(**values)
