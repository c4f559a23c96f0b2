"""multilingual-e5-small out of its wheel: repacked, loaded, and nearer to what means the same in another language."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from llm.catalogue.lookup import find
from llm.errors import CorruptModel
from llm.runtime import handles
from llm.runtime.embedding_model import prepared
from llm.sources.repacking import e5s1_to_gguf
from tests.conftest import fetched

E5 = "multilingual-e5-small-q4_0"


def test_a_chinese_passage_is_found_by_an_english_question(data_folder: Path) -> None:
    file = fetched(E5)
    folder = data_folder / "models" / E5
    folder.mkdir(parents=True)
    (folder / file.name).symlink_to(file)
    model = handles.embedder(E5)
    passages = ["保修期为两年，自购买之日起计算。", "请勿将设备放入水中清洗。", "总部位于上海市浦东新区。"]
    questions = ["How long is the warranty?", "Can I wash it under water?", "Where is the company?"]
    found, tokens = model.embed(prepared(model.entry, passages, "passage"))
    asked, _ = model.embed(prepared(model.entry, questions, "query"))
    assert tokens > len(passages)
    assert (np.array(asked) @ np.array(found).T).argmax(1).tolist() == [0, 1, 2]
    model.close()


def test_texts_are_prepared_once_and_only_when_asked() -> None:
    entry = find(E5)
    assert prepared(entry, ["ＡＢ１，好"], "passage") == ["passage: AB1,好"]
    assert prepared(entry, ["query: 好", [1, 2]], "passage") == ["query: 好", [1, 2]]
    assert prepared(entry, ["ＡＢ"], "none") == ["ＡＢ"]


def test_a_file_of_another_layout_leaves_nothing_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "weights.bin", tmp_path / "weights.gguf"
    for body in (b"GGUF" + bytes(100), b"E5S1" + struct.pack("<8i", 1, 384, 1, 12, 1536, 10, 512, 2), b"E5S1"):
        source.write_bytes(body)
        with pytest.raises(CorruptModel):
            e5s1_to_gguf(source, target)
        assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]
