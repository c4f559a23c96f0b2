"""Knowledge in the terminal: files in, answers out, and a folder that is followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.cli.app import main
from llm.knowledge.library import Library


def test_files_are_added_searched_and_asked(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "手册.txt").write_text("故障代码 E-2099 表示温度过高。", encoding="utf-8")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    assert main(["knowledge", "add", "manuals", str(tmp_path / "手册.txt"), str(tmp_path / "broken.pdf")]) == 1
    assert "broken.pdf: failed" in capsys.readouterr().err
    assert main(["knowledge", "search", "manuals", "E-2099", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["document"] == "手册.txt"
    assert main(["knowledge", "ask", "manuals", "E-2099 是什么故障？", "--extractive"]) == 0
    said = capsys.readouterr()
    assert "温度过高。 [1]" in said.out and "[1] 手册.txt" in said.err
    assert main(["knowledge", "ask", "no-such-base", "?", "--extractive"]) == 1


def test_a_folder_is_followed_with_its_renames_and_without_its_links(data_folder: Path, tmp_path: Path) -> None:
    folder, outside = tmp_path / "notes", tmp_path / "outside.txt"
    folder.mkdir()
    outside.write_text("口令是剑鱼。")
    (folder / "a.txt").write_text("宠物叫福福。")
    (folder / "b.txt").write_text("宠物叫旺财。")
    (folder / "link.txt").symlink_to(outside)
    watch = ["knowledge", "watch", "pets", str(folder), "--once"]
    assert main(watch) == 0
    library = Library()
    base = library.bases()[0]
    first = {document.name: document.id for document in library.documents(base.id)}
    assert set(first) == {"a.txt", "b.txt"}
    (folder / "a.txt").rename(folder / "c.txt")
    (folder / "b.txt").write_text("宠物叫来福。")
    assert main(watch) == 0
    second = {document.name: document.id for document in library.documents(base.id)}
    assert set(second) == {"b.txt", "c.txt"} and second["c.txt"] == first["a.txt"] and second["b.txt"] != first["b.txt"]
    (folder / "c.txt").unlink()
    assert main(watch) == 0
    assert [document.name for document in library.documents(base.id)] == ["b.txt"]
