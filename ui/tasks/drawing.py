"""Answers of the jobs as HTML and pictures: bars, marked text, boxes, masks, a time line. Pure: no widgets in here.

Everything that comes from people or models is escaped. Boxes and their list light up together by CSS alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from llm.tasks.encoding import Piece
from llm.vision.draw import colour
from llm.vision.picture import fitted

SHOWN_SIDE = 1280
"""Pixels of the longer side of a picture as it is sent to the page."""

STYLE = """
<style>
.task-bars { display: grid; grid-template-columns: minmax(5rem, auto) 1fr auto; gap: .35rem .7rem; align-items: center;
             margin: .3rem 0 .8rem; }
.task-bars .name { overflow-wrap: anywhere; max-width: 16rem; }
.task-bars .track { background: rgba(128,128,128,.18); border-radius: .3rem; height: .9rem; overflow: hidden; }
.task-bars .fill { height: 100%; border-radius: .3rem; background: #0072b2; min-width: 2px; }
.task-bars .value { font-variant-numeric: tabular-nums; text-align: right; }
.task-bars .first { font-weight: 600; }
.task-text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2.1; max-height: 30rem; overflow-y: auto; }
.task-text mark { color: inherit; border-radius: .3rem; padding: .15rem .3rem; box-decoration-break: clone;
                  -webkit-box-decoration-break: clone; }
.task-text mark b { font-size: .68rem; font-weight: 600; margin-inline-start: .35rem; opacity: .85;
                    white-space: nowrap; }
.task-picture { position: relative; display: inline-block; max-width: 100%; line-height: 0; }
.task-picture img { max-width: 100%; max-height: 34rem; border-radius: .3rem; }
.task-picture .box { position: absolute; border: 2px solid; border-radius: 2px; }
.task-picture .box span { position: absolute; left: -2px; top: -1.25rem; color: #fff; font-size: .72rem;
                          line-height: 1.2rem; padding: 0 .3rem; white-space: nowrap; border-radius: 2px; }
.task-picture .box.low span { top: 0; }
.task-list { display: flex; flex-wrap: wrap; gap: .35rem; margin: .6rem 0; }
.task-list .item { border: 1px solid rgba(128,128,128,.35); border-radius: .4rem; padding: .15rem .5rem;
                   cursor: default; font-size: .88rem; }
.task-list .item i { display: inline-block; width: .75rem; height: .75rem; border-radius: .2rem; margin-right: .4rem;
                     vertical-align: -1px; }
.task-line { display: grid; grid-template-columns: minmax(4rem, auto) 1fr; gap: .3rem .7rem; align-items: center; }
.task-line .name { overflow-wrap: anywhere; max-width: 12rem; font-size: .88rem; }
.task-line .row { position: relative; height: 1.5rem; background: rgba(128,128,128,.12); border-radius: .3rem;
                  overflow: hidden; }
.task-line .row i { position: absolute; top: 0; bottom: 0; }
.task-line .axis { display: flex; justify-content: space-between; font-size: .75rem; opacity: .75;
                   font-variant-numeric: tabular-nums; }
.task-pieces { display: flex; flex-wrap: wrap; gap: .25rem; margin: .3rem 0 .8rem; max-height: 22rem;
               overflow-y: auto; }
.task-pieces .piece { border: 1px solid rgba(128,128,128,.35); border-radius: .3rem; padding: 0 .3rem;
                      font-size: .85rem; overflow-wrap: anywhere; }
.task-pieces .piece sub { opacity: .65; font-size: .62rem; margin-inline-start: .2rem; }
.task-pieces .control { background: rgba(128,128,128,.18); }
@media (max-width: 480px) { .task-bars .name { max-width: 8.5rem; } .task-line .name { max-width: 6rem; } }
</style>
"""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text, in characters, and what it is."""

    start: int
    end: int
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box in pixels of the picture, and what is in it."""

    label: str
    score: float | None
    left: float
    top: float
    right: float
    bottom: float


def percent(score: float) -> str:
    """A score as people read it: `97.3 %`, and never `100 %` or `0 %` for what only nearly is."""
    if 0 < score < 0.001:
        return "<0.1 %"
    if 0.999 < score < 1:
        return ">99.9 %"
    return f"{score * 100:.1f} %"


def bars(rows: Sequence[tuple[str, float]], largest: float = 1.0) -> str:
    """Labels with their scores, as bars over 0 to `largest`."""
    cells = []
    for at, (label, score) in enumerate(rows):
        width = max(0.0, min(1.0, score / largest if largest else 0.0)) * 100
        first = " first" if at == 0 else ""
        cells.append(
            f'<div class="name{first}">{escape(label)}</div>'
            f'<div class="track"><div class="fill" style="width:{width:.2f}%"></div></div>'
            f'<div class="value{first}">{percent(score)}</div>'
        )
    return f'<div class="task-bars">{"".join(cells)}</div>'


def pieces_html(pieces: Sequence[Piece]) -> str:
    """Tokens as small boxes in their order, a window a row; pointing at one tells its number and its characters."""
    rows: dict[int, list[str]] = {}
    for piece in pieces:
        place = f" · {piece.start}–{piece.end}" if piece.end else ""
        kind = "" if piece.end else " control"
        rows.setdefault(piece.window, []).append(
            f'<span class="piece{kind}" title="{piece.id}{place}">{escape(piece.text)}<sub>{piece.id}</sub></span>'
        )
    return "".join(f'<div class="task-pieces">{"".join(row)}</div>' for row in rows.values())


def colours_by_label(labels: Sequence[str]) -> Mapping[str, tuple[int, int, int]]:
    """A colour for each label, in the order in which they come."""
    return {label: colour(at) for at, label in enumerate(dict.fromkeys(labels))}


def marked_text(text: str, spans: Sequence[Span]) -> str:
    """A text with stretches marked, each in the colour of its label. Where two overlap, the earlier one is marked."""
    shades = colours_by_label([span.label for span in spans])
    parts, at = [], 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.start < at or span.end <= span.start:
            continue
        red, green, blue = shades[span.label]
        note = f' title="{escape(span.note, quote=True)}"' if span.note else ""
        name = f"<b>{escape(span.label)}</b>" if span.label else ""
        parts.append(escape(text[at : span.start]))
        parts.append(
            f'<mark style="background:rgba({red},{green},{blue},.26)"{note}>'
            f"{escape(text[span.start : span.end])}{name}</mark>"
        )
        at = span.end
    parts.append(escape(text[at:]))
    return f'<div class="task-text" dir="auto">{"".join(parts)}</div>'


def boxed_picture(image: Any, boxes: Sequence[Rectangle], key: str) -> str:
    """A picture with boxes over it and a list below; pointing at one of either lights up the other."""
    shades = colours_by_label([box.label for box in boxes])
    drawn, listed, lit = [], [], []
    for at, box in enumerate(boxes):
        shade = "rgb({},{},{})".format(*shades[box.label])
        name = escape(box.label) + ("" if box.score is None else f" {percent(box.score)}")
        left, top = box.left / image.width * 100, box.top / image.height * 100
        width, height = (box.right - box.left) / image.width * 100, (box.bottom - box.top) / image.height * 100
        low = " low" if top < 6 else ""
        drawn.append(
            f'<div class="box b{at}{low}" style="left:{left:.3f}%;top:{top:.3f}%;width:{width:.3f}%;'
            f'height:{height:.3f}%;border-color:{shade}"><span style="background:{shade}">{name}</span></div>'
        )
        listed.append(f'<span class="item b{at}"><i style="background:{shade}"></i>{name}</span>')
        lit.append(
            f".{key}:has(.b{at}:hover) .box:not(.b{at}) {{ opacity: .12; }}"
            f".{key}:has(.b{at}:hover) .box.b{at} {{ background: rgba(255,255,255,.25); }}"
            f".{key}:has(.b{at}:hover) .item.b{at} {{ background: rgba(128,128,128,.3); }}"
        )
    return (
        f'<div class="{key}"><style>{"".join(lit)}</style><div class="task-picture"><img alt="" src="{as_url(image)}">'
        f'{"".join(drawn)}</div><div class="task-list">{"".join(listed)}</div></div>'
    )


def overlaid(image: Any, masks: Sequence[tuple[str, np.ndarray]], opacity: float) -> Any:
    """A `PIL.Image` of the picture with masks of its size laid over it, each in the colour of its label."""
    from PIL import Image

    shades = colours_by_label([label for label, _ in masks])
    pixels = np.asarray(image.convert("RGB"), np.float32).copy()
    for label, mask in masks:
        pixels[mask] = pixels[mask] * (1 - opacity) + np.array(shades[label], np.float32) * opacity
    return Image.fromarray(pixels.round().astype(np.uint8))


def cut_out(image: Any, mask: np.ndarray) -> bytes:
    """A PNG of what a mask of shares or bools covers; the rest is transparent."""
    from PIL import Image

    layer = image.convert("RGBA")
    layer.putalpha(Image.fromarray((np.clip(mask.astype(np.float32), 0, 1) * 255).round().astype(np.uint8)))
    stream = io.BytesIO()
    layer.save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def colour_list(rows: Sequence[tuple[str, str]]) -> str:
    """Labels with what is told of each, beside the colours that they are drawn in."""
    shades = colours_by_label([label for label, _ in rows])
    items = []
    for label, note in rows:
        shade = "rgb({},{},{})".format(*shades[label])
        items.append(f'<span class="item"><i style="background:{shade}"></i>{escape(label)} {escape(note)}</span>')
    return f'<div class="task-list">{"".join(items)}</div>'


def time_line(
    labels: Sequence[str], spans_s: Sequence[tuple[float, float]], scores: np.ndarray, least: float = 0.0
) -> str:
    """What sounds when: a row for each label, darker where its score is higher. scores: (windows, labels)."""
    if not spans_s:
        return ""
    length = max(end for _, end in spans_s) or 1.0
    rows = []
    for column, label in enumerate(labels):
        red, green, blue = colour(column)
        pieces = []
        for (start, end), score in zip(spans_s, scores[:, column], strict=True):
            if score < max(least, 0.01):
                continue
            pieces.append(
                f'<i style="left:{start / length * 100:.3f}%;width:{(end - start) / length * 100:.3f}%;'
                f'background:rgba({red},{green},{blue},{min(1.0, float(score)):.2f})" '
                f'title="{clock(start)}–{clock(end)} · {percent(float(score))}"></i>'
            )
        rows.append(f'<div class="name">{escape(label)}</div><div class="row">{"".join(pieces)}</div>')
    ticks = "".join(f"<span>{clock(length * share / 4)}</span>" for share in range(5))
    return f'<div class="task-line">{"".join(rows)}<div></div><div class="axis">{ticks}</div></div>'


def clock(seconds: float) -> str:
    """`0:07.3`, `12:05`."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    return f"{int(minutes)}:{rest:04.1f}" if minutes < 10 else f"{int(minutes)}:{int(rest):02d}"


def as_url(image: Any, side: int = SHOWN_SIDE) -> str:
    """A picture as an address that holds it, small enough for a page."""
    small = image if max(image.size) <= side else image.resize(fitted(image.size, side), reducing_gap=3.0)
    stream = io.BytesIO()
    small.convert("RGB").save(stream, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
