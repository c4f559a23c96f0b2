"""'Under the hood': what the model was sent, token by token, and how sure it was of each word of its answer."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

import streamlit as st

from llm.events import Token
from llm.prompt import Piece
from llm.store import StoredMessage, Trace
from ui.shared.i18n import t
from ui.shared.state import kept

SHOWN_TOKENS = 4000
"""More spans than this make the browser slow; the rest is counted."""


def under_the_hood(stored: StoredMessage) -> None:
    """The folded panel below one answer."""
    if not stored.has_trace:
        return
    panel = st.expander(t("hood.title"), icon=":material/visibility:", key=f"hood_{stored.id}", on_change="rerun")
    if not panel.open:
        return  # its data is large: read when somebody looks
    trace = kept().trace(stored.id)
    if trace is None:
        return
    with panel:
        _context_meter(trace)
        _where_pictures_sit(trace.prompt.pieces)
        prompt, tokens, table = st.tabs([t("hood.prompt"), t("hood.tokens"), t("hood.probabilities")])
        with prompt:
            _legend({piece.kind for piece in trace.prompt.pieces})
            st.html(f'<div class="hood" tabindex="0">{_prompt_html(trace.prompt.pieces)}</div>')
        with tokens:
            st.caption(t("hood.tokens_help"))
            st.html(f'<div class="hood" tabindex="0">{_tokens_html(trace.prompt.pieces)}</div>')
        with table:
            _answer(trace.tokens)


def _context_meter(trace: Trace) -> None:
    used, context = len(trace.prompt.ids) + len(trace.tokens), trace.prompt.context_tokens
    values = {
        "prompt": len(trace.prompt.ids),
        "answer": len(trace.tokens),
        "used": used,
        "context": context,
        "percent": round(100 * used / context) if context else 0,
    }
    st.progress(min(1.0, used / context) if context else 0.0, t("hood.context", **values))


def _where_pictures_sit(pieces: Sequence[Piece]) -> None:
    lines = [
        t("hood.picture", number=number, count=last - first, first=first + 1, last=last)
        for number, (first, last) in enumerate(picture_places(pieces), start=1)
    ]
    if lines:
        st.caption("  \n".join(lines))


def picture_places(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """Where each picture's tokens begin and end among a prompt's, the end exclusive.

    Pictures that touch count as one, unless only the first token of each reads as something.
    """
    places: list[tuple[int, int]] = []
    for place, piece in enumerate(pieces):
        if piece.kind != "image":
            continue
        goes_on = bool(places) and places[-1][1] == place
        another = goes_on and bool(piece.text) and not pieces[place - 1].text
        if goes_on and not another:
            places[-1] = (places[-1][0], place + 1)
        else:
            places.append((place, place + 1))
    return places


def _legend(kinds: Iterable[str]) -> None:
    names = "".join(f'<span class="{kind}">{html.escape(t(f"hood.kind_{kind}"))}</span>' for kind in sorted(kinds))
    st.html(f'<div class="hood-legend hood">{names}</div>')


def _prompt_html(pieces: Iterable[Piece]) -> str:
    """Neighbouring tokens of a kind as one coloured stretch."""
    parts: list[str] = []
    run, kind = "", ""
    for piece in pieces:
        if piece.kind != kind and run:
            parts.append(f'<span class="{kind}">{html.escape(run)}</span>')
            run = ""
        run, kind = run + piece.text, piece.kind
    if run:
        parts.append(f'<span class="{kind}">{html.escape(run)}</span>')
    return "".join(parts)


def _tokens_html(pieces: tuple[Piece, ...]) -> str:
    shown = "".join(
        f'<span class="token {piece.kind}" title="id {piece.id}">{_visible(piece.text)}</span>'
        for piece in pieces[:SHOWN_TOKENS]
    )
    hidden = len(pieces) - SHOWN_TOKENS
    return shown + (f" … +{hidden}" if hidden > 0 else "")


def _visible(text: str) -> str:
    """A token's text with its line ends to be seen; an empty one is part of a character."""
    return html.escape(text).replace("\n", "↵\n") or "·"


def _answer(tokens: tuple[Token, ...]) -> None:
    """The answer coloured by how sure the model was, and a table of alternatives."""
    if all(token.logprob is None for token in tokens):
        st.caption(t("hood.not_recorded"))
        return
    st.caption(t("hood.probabilities_help"))
    st.html(f'<div class="hood" tabindex="0">{"".join(map(_sure, tokens[:SHOWN_TOKENS]))}</div>')
    width = max((len(token.alternatives) for token in tokens), default=0)
    columns: dict[str, list[object]] = {
        t("hood.token"): [repr(token.text)[1:-1] for token in tokens],
        "id": [token.id for token in tokens],
        "%": [_percent(token.logprob) for token in tokens],
    }
    for rank in range(width):
        columns[t("hood.alternative", rank=rank + 1)] = [
            f"{repr(token.alternatives[rank].text)[1:-1]}  {_percent(token.alternatives[rank].logprob)} %"
            if rank < len(token.alternatives)
            else ""
            for token in tokens
        ]
    st.dataframe(columns, height=280)


def _sure(token: Token) -> str:
    chance = math.exp(token.logprob) if token.logprob is not None else 1.0
    others = " · ".join(f"{a.text!r} {_percent(a.logprob)} %" for a in token.alternatives)
    title = html.escape(f"id {token.id} · {_percent(token.logprob)} % — {others}", quote=True)
    # Red grows as certainty falls, and stays pale enough to read through.
    style = f"background:rgba(220,38,38,{0.55 * (1 - chance):.2f})"
    return f'<span class="token" style="{style}" title="{title}">{_visible(token.text)}</span>'


def _percent(logprob: float | None) -> float:
    return round(100 * math.exp(logprob), 1) if logprob is not None else float("nan")
