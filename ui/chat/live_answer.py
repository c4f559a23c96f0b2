"""A streaming answer drawn in the page at little cost.

Every redraw costs the server and the browser about as much as a few tokens cost the model, and they share
the processor. So the answer is redrawn a few times a second, whatever the speed of the model; what can no
longer change becomes an element of its own that is never sent again; and only the last part is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from llm.events import Event, Finished, Progress, TextDelta, ThinkingDelta
from llm.machine.hardware import hardware
from ui.shared.i18n import t
from ui.shared.markdown import as_markdown, settled_length

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

DRAW_EVERY_S = 0.25
DRAW_SHARED_EVERY_S = 0.65
FEW_CORES = 4
"""With so few, a browser on this machine takes its time from the model, so that it has to draw less often."""
LONG_CHARACTERS = 3000
"""A last part of this length (a long table, a long program) is redrawn half as often."""
PARTS_PER_GROUP = 16


class LiveAnswer:
    """Draws the events of one answer where it is made.

        live = LiveAnswer(key="live")
        for event in events:
            live.feed(event)
        live.flush()

    `text` and `thinking` hold what has come so far, also when the script is stopped in between.
    """

    def __init__(self, key: str) -> None:
        self.text = ""
        self.thinking = ""
        self._drawn_at = 0.0
        self._every_s = DRAW_SHARED_EVERY_S if hardware().usable_cores <= FEW_CORES else DRAW_EVERY_S
        self._pause_s = self._every_s
        self._drawn_length = 0
        self._key = key
        root = st.container(key=key)
        self._status = root.empty()
        self._thinking_slot = root.empty()
        self._answer_slot = root.empty()
        self._thinking_view: _GrowingMarkdown | None = None
        self._answer_view: _GrowingMarkdown | None = None

    def feed(self, event: Event) -> None:
        """Takes one event and redraws if it is time to."""
        match event:
            case TextDelta(text=text):
                self.text += text
            case ThinkingDelta(text=text):
                self.thinking += text
            case Progress(stage=stage, done=done) if not (self.text or self.thinking):
                self._status.caption(t(f"live.{stage}", count=int(done)))
                return
            case Finished():  # what the store does now must not keep the last words from being seen
                self.flush()
                return
        first = not self._drawn_length and (self.text or self.thinking)
        if first or time.monotonic() - self._drawn_at >= self._pause_s:
            self._draw()

    def flush(self) -> None:
        """Draws what has come since the last redraw: enough where the page runs again and shows its history."""
        if self._drawn_length < len(self.text) + len(self.thinking):
            self._draw()

    def _draw(self) -> None:
        if not self._drawn_length and (self.text or self.thinking):
            self._status.empty()
        if self.thinking and self._thinking_view is None:
            folded = self._thinking_slot.expander(t("live.thinking"), icon=":material/neurology:")
            self._thinking_view = _GrowingMarkdown(folded)
        if self.text and self._answer_view is None:
            self._answer_view = _GrowingMarkdown(self._answer_slot.container(key=f"{self._key}_text"))
        newest = self._answer_view or self._thinking_view
        for view, text in ((self._thinking_view, self.thinking), (self._answer_view, self.text)):
            if view is not None and (view is newest or view.length < len(text)):
                view.show(text)
        self._drawn_length = len(self.text) + len(self.thinking)
        self._drawn_at = time.monotonic()
        if newest is not None:
            long = min(1.0, newest.growing_length / LONG_CHARACTERS)
            self._pause_s = self._every_s * (1 + long)


class _GrowingMarkdown:
    """Markdown that grows at its end. Elements stand in groups, so that the browser walks over few of them.

    `length` is how many characters are drawn, `growing_length` how many of them in the part that still grows.
    """

    def __init__(self, place: DeltaGenerator) -> None:
        self._place = place
        self._group = place.container()
        self._parts = 0
        self._settled = 0
        self.length = 0
        self.growing_length = 0
        self._slot = self._group.empty()

    def show(self, text: str) -> None:
        tail = text[self._settled :]
        length = settled_length(tail)
        if length:
            self._slot.markdown(as_markdown(tail[:length]))
            self._settled += length
            self._next_slot()
        self._slot.markdown(as_markdown(tail[length:]))
        self.length, self.growing_length = len(text), len(tail) - length

    def _next_slot(self) -> None:
        self._parts += 1
        if self._parts % PARTS_PER_GROUP == 0:
            self._group = self._place.container()
        self._slot = self._group.empty()


def show_thinking(thinking: str) -> None:
    """What a model thought before it answered, folded."""
    with st.expander(t("live.thinking"), icon=":material/neurology:"):
        st.markdown(as_markdown(thinking))


def show_answer(text: str) -> None:
    """A finished answer: one element."""
    st.markdown(as_markdown(text))
