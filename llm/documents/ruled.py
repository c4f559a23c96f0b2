"""Tables whose cells are ruled off: the lines that are drawn say where rows and columns are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llm.documents.document import Box

_NEAR = 3.0
"""Points within which two lines count as touching, or as one."""
_MOST_RULES = 4_000


@dataclass(frozen=True, slots=True)
class Grid:
    """A ruled table. xs, ys: where its columns and rows part, edges included. rules: the lines themselves, as boxes."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    rules: tuple[Box, ...]

    @property
    def box(self) -> Box:
        return self.xs[0], self.ys[0], self.xs[-1], self.ys[-1]

    def cell(self, box: Box) -> tuple[int, int] | None:
        """The (row, column) in which the middle of a box lies; None if outside."""
        column = _between(self.xs, (box[0] + box[2]) / 2)
        row = _between(self.ys, (box[1] + box[3]) / 2)
        return None if row is None or column is None else (row, column)

    def open_below(self, row: int, column: int) -> bool:
        """Whether no line parts a cell from the one below it: they are one."""
        x, y = (self.xs[column] + self.xs[column + 1]) / 2, self.ys[row + 1]
        return not any(rule[0] <= x <= rule[2] and abs(rule[1] - y) <= _NEAR for rule in self.rules if _flat(rule))

    def open_right(self, row: int, column: int) -> bool:
        """Whether no line parts a cell from the one to the right."""
        x, y = self.xs[column + 1], (self.ys[row] + self.ys[row + 1]) / 2
        return not any(rule[1] <= y <= rule[3] and abs(rule[0] - x) <= _NEAR for rule in self.rules if not _flat(rule))

    def rows(self, texts: dict[tuple[int, int], str]) -> list[list[str]]:
        """The cells' texts; what stands in a cell over several rows or columns stands in each of them."""
        height, width = len(self.ys) - 1, len(self.xs) - 1
        whole = [[texts.get((row, column), "") for column in range(width)] for row in range(height)]
        for row in range(height):
            for begin, end in _runs(range(width), lambda column: self.open_right(row, column)):  # noqa: B023
                whole[row][begin:end] = [" ".join(filter(None, whole[row][begin:end]))] * (end - begin)
        for column in range(width):
            for begin, end in _runs(range(height), lambda row: self.open_below(row, column)):  # noqa: B023
                text = " ".join(dict.fromkeys(filter(None, (whole[row][column] for row in range(begin, end)))))
                for row in range(begin, end):
                    whole[row][column] = text
        return whole


def grids(rules: Sequence[Box]) -> Iterator[Grid]:
    """The tables that lines make: groups that touch, with at least two columns and two rows."""
    if len(rules) > _MOST_RULES:  # a drawing
        return
    for group in _touching(rules):
        xs = _places(rule[0] for rule in group if not _flat(rule))
        ys = _places(rule[1] for rule in group if _flat(rule))
        if len(xs) >= 2 and len(ys) >= 2:
            flat = [rule for rule in group if _flat(rule)]
            # Tables without lines at the sides: the rows' lines reach further than the outermost column's.
            xs = _places([*xs, min(rule[0] for rule in flat), max(rule[2] for rule in flat)])
        if len(xs) >= 3 and len(ys) >= 3:
            yield Grid(tuple(xs), tuple(ys), tuple(group))


def _flat(rule: Box) -> bool:
    return rule[2] - rule[0] >= rule[3] - rule[1]


def _places(values: Iterable[float]) -> list[float]:
    """Different places, those within `_NEAR` of each other as one."""
    places: list[float] = []
    for value in sorted(values):
        if not places or value - places[-1] > _NEAR:
            places.append(value)
    return places


def _between(places: Sequence[float], value: float) -> int | None:
    return next((at for at, (low, high) in enumerate(pairwise(places)) if low <= value < high), None)


def _touching(rules: Sequence[Box]) -> list[list[Box]]:
    """Rules in groups that hang together; from top to bottom, so that few groups are open at a time."""
    done: list[list[Box]] = []
    growing: list[tuple[Box, list[Box]]] = []
    for rule in sorted(rules, key=lambda rule: rule[1]):
        done += [group for box, group in growing if box[3] + _NEAR < rule[1]]
        growing = [(box, group) for box, group in growing if box[3] + _NEAR >= rule[1]]
        mine = [(box, group) for box, group in growing if _meet(box, rule)]
        growing = [(box, group) for box, group in growing if not _meet(box, rule)]
        box = around([rule, *(box for box, _ in mine)])
        growing.append((box, [rule, *(each for _, group in mine for each in group)]))
    return [*done, *(group for _, group in growing)]


def _meet(one: Box, other: Box) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across >= -_NEAR and down >= -_NEAR


def _runs(places: range, joins: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """Stretches (begin, end) of more than one place whose neighbours are joined."""
    begin = 0
    for at in places:
        if at == places[-1] or not joins(at):
            if at > begin:
                yield begin, at + 1
            begin = at + 1


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box around others."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
