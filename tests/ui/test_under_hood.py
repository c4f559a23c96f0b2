"""What 'Under the hood' says of pictures."""

from __future__ import annotations

from llm.prompt import Piece
from ui.chat.prompt_inspector import picture_places


def test_each_pictures_place_is_found() -> None:
    tagged = [Piece(1, "<start>", "control"), *[Piece(2, "<pad>", "image")] * 3, Piece(3, "<end>", "control")]
    assert picture_places([*tagged, Piece(9, "hi", "user"), *tagged]) == [(1, 4), (7, 10)]
    touching = [Piece(-1, "<image>", "image"), Piece(-1, "", "image"), Piece(-1, "", "image")]
    assert picture_places([Piece(9, "hi", "user"), *touching, *touching]) == [(1, 4), (4, 7)]
    assert picture_places([Piece(9, "hi", "user")]) == []
