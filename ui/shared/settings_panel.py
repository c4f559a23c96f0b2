"""The panel of generation settings: drawn from what `llm.settings` declares, so none can be shown and not reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from llm.catalogue.entry import ModelEntry
from llm.controls import Control
from llm.settings import CONTROLS, GenerationSettings
from llm.store import Conversation
from ui.shared.controls import draw_controls
from ui.shared.i18n import t
from ui.shared.state import CHAT_NEW_SETTINGS, UNDER_HOOD, kept

ALTERNATIVES = 5
"""How many alternatives are kept with each answer token while 'Under the hood' is on: they cost 7 % of the speed."""
Change = Callable[[dict[str, Any]], None]


_RESET = "settings_reset_"
"""How often the settings of a scope were put back."""


def settings_panel(
    defaults: Mapping[str, Any],
    values: Mapping[str, Any],
    context_tokens: int,
    scope: str,
    save: Change,
    adapted: bool = False,
) -> None:
    """Draws all controls.

    Args:
        defaults: the model family's published values.
        values: what the person has changed.
        context_tokens: the model's context, which bounds the longest reply; 0 is unknown.
        scope: separates the widgets of one conversation from another's.
        save: called with all changed values after each change.
        adapted: whether the model has an adapter, whose strength can be turned.
    """
    start = {**{control.name: control.default for control in CONTROLS}, **defaults}
    times = st.session_state.get(f"{_RESET}{scope}", 0)
    keys = f"{scope}_{times}" if times else scope  # a browser keeps what a widget of the same key was moved to

    def changed(name: str, value: Any) -> None:
        save({**{k: v for k, v in values.items() if k != name}, **({} if value == start[name] else {name: value})})

    draw_controls(_bounded(context_tokens, adapted), {**start, **values}, "settings.", f"setting_{keys}", changed)
    if values:
        st.button(
            t("settings.reset"), icon=":material/undo:", key=f"reset_{scope}", on_click=_reset, args=(scope, save)
        )


def conversation_settings(conversation: Conversation | None, entry: ModelEntry) -> None:
    """The panel for a conversation; for one that is still to begin, what is changed waits in the session."""

    def save(values: dict[str, Any]) -> None:
        if conversation is not None:
            kept().update(conversation.id, settings=values)
        else:
            st.session_state[CHAT_NEW_SETTINGS] = values

    scope = f"{conversation.id if conversation else 'new'}_{entry.id}"
    changed, adapted = changed_settings(conversation), entry.adapter is not None
    settings_panel(entry.sampling, changed, entry.context_tokens, scope, save, adapted)


def changed_settings(conversation: Conversation | None) -> dict[str, Any]:
    """What the person has set; everything else stays the model family's own."""
    values = conversation.settings if conversation else st.session_state.get(CHAT_NEW_SETTINGS, {})
    return {name: tuple(value) if name == "stop" else value for name, value in values.items()}


def answer_settings(conversation: Conversation | None, entry: ModelEntry) -> GenerationSettings:
    """What an answer is written with: the family's values, what the person changed, and what Under the hood shows."""
    looking = st.session_state.get(UNDER_HOOD)
    values = {**entry.sampling, **changed_settings(conversation), "logprobs": ALTERNATIVES if looking else None}
    return GenerationSettings().with_values(values)


def _reset(scope: str, save: Change) -> None:
    """Callback: the model's own values again, in widgets of other keys."""
    st.session_state[f"{_RESET}{scope}"] = st.session_state.get(f"{_RESET}{scope}", 0) + 1
    save({})


def _bounded(context_tokens: int, adapted: bool) -> Iterator[Control]:
    """What can be turned, with replies no longer than the context."""
    for control in CONTROLS:
        if control.name == "strength" and not adapted:
            continue
        longest = control.name == "max_length" and context_tokens
        yield replace(control, maximum=min(control.maximum or longest, longest)) if longest else control
