"""Sets of rows: kept as they were, told apart by their hash, split without leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.errors import NotFound
from llm.finetune.data import Row, all_sets, hold_out, load_set, normal, remove_set, save_set


def rows(count: int) -> list[Row]:
    return [Row.of(f"What is {n}?", f"It is {n}, 是 {n}。") for n in range(count)]


def test_a_set_comes_back_as_it_was_and_says_so_by_its_hash(data_folder: Path) -> None:
    first = save_set("小镇 town", [*rows(20), Row(text="第一行\n\u2028第二行")], source="表.xlsx")
    again = load_set(first.id)
    assert again.rows == first.rows and again.held_out == first.held_out and again.hash == first.hash
    assert [row.number for row in again.rows] == list(range(1, 22))
    assert save_set("小镇 town", first.rows).version == 1, "nothing has changed"
    second = save_set("小镇 town", rows(19))
    assert (second.id, second.version) == (first.id, 2) and second.hash != first.hash
    assert load_set(first.id, 1).rows == first.rows, "an earlier version stays"
    assert [info.rows for info in all_sets()] == [19]


def test_sets_of_others_are_not_there(data_folder: Path) -> None:
    mine = save_set("town", rows(12), owner="ada")
    assert save_set("town", rows(3), owner="bob").id != mine.id
    assert [info.owner for info in all_sets("bob")] == ["bob"]
    for owner, name in (("bob", mine.id), ("ada", "../runs"), ("ada", "0" * 16)):
        with pytest.raises(NotFound):
            load_set(name, owner=owner)
    remove_set(mine.id, "bob")
    assert load_set(mine.id, owner="ada").rows
    remove_set(mine.id, "ada")
    assert not all_sets("ada")


def test_one_question_is_never_on_both_sides() -> None:
    asked = [Row.of(f"Where is {n % 8}?" + " !" * (n % 3), str(n)) for n in range(40)]
    held = hold_out(asked, 0.3)
    assert held and len(held) <= 12
    trained = {normal(row.prompt) for place, row in enumerate(asked) if place not in held}
    assert not trained & {normal(asked[place].prompt) for place in held}
    assert hold_out(asked, 0.3) == held and hold_out(asked, 0.3, seed=1) != held
    assert not hold_out(rows(9)), "each is needed"
