"""Real photos for the picture jobs: scikit-image's, taken as files out of its wheel, which is not installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from llm.catalogue.entry import ModelEntry, Source
from llm.sources import fetch
from tests.conftest import in_test_cache

_SHA256 = {
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "page.png": "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
}


def photo(name: str) -> Path:
    """One of: a cat's face (chelsea), a cup of coffee, an astronaut before a flag, a page of a book."""
    return _folder() / name


@cache
def _folder() -> Path:
    source = Source(
        "package_index",
        "scikit-image",
        packages=("scikit-image==0.26.0",),
        members={name: (f"skimage/data/{name}",) for name in _SHA256},
        sha256=_SHA256,
        package_bytes=(13_711_217,),
    )
    entry = ModelEntry(
        "test-photos", "Photos", "image-classification", "", "onnx", size_bytes=2 << 20, sources=(source,)
    )
    with in_test_cache():
        return fetch(entry)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder with all of them."""
    return _folder()
