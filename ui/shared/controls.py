"""The one drawer of what people can turn: `llm.controls` declares it, this shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import streamlit as st

from llm.controls import Control
from ui.shared.i18n import language, t
from ui.shared.i18n import words as every_word


def draw_controls(
    controls: Iterable[Control],
    values: Mapping[str, Any],
    words: str,
    scope: str,
    changed: Callable[[str, Any], None] | None = None,
) -> dict[str, Any]:
    """Draws controls, the advanced ones folded away, and returns the value of each.

    Args:
        values: what is set; everything else stands at its default.
        words: the beginning of their keys in the locale files, such as `settings.` or `tasks.ner_`: a control's label
            is `<words><name>`, its help `<words><name>_help`, a choice `<words><name>_<choice>`.
        scope: tells the widgets of one place from another's; a new scope forgets what was moved.
        changed: called with name and value when somebody moves one.
    """
    drawn = list(controls)
    plain = [control for control in drawn if not control.advanced]
    more = [control for control in drawn if control.advanced]
    found = {control.name: _draw(control, values, words, scope, changed) for control in plain}
    if more:
        with st.expander(t("settings.more")):
            found |= {control.name: _draw(control, values, words, scope, changed) for control in more}
    return found


def _draw(
    control: Control,
    values: Mapping[str, Any],
    words: str,
    scope: str,
    changed: Callable[[str, Any], None] | None,
) -> Any:
    key = f"{scope}_{control.name}"
    label, value = t(f"{words}{control.name}"), values.get(control.name, control.default)
    left_open = every_word(language()).get(f"{words}{control.name}_none", t("settings.automatic"))

    def moved() -> None:
        if changed is not None:
            changed(control.name, _read(control, st.session_state[key]))

    common: dict[str, Any] = {"key": key, "help": t(f"{words}{control.name}_help"), "on_change": moved}
    match control.kind:
        case "integer" | "number":
            return _number(control, label, value, left_open, common)
        case "toggle":
            return st.toggle(label, bool(value), **common)
        case "choice":
            options: list[str | None] = [*([None] if control.optional else []), *control.choices]
            named: dict[str | None, str] = {None: left_open}
            named |= {choice: t(f"{words}{control.name}_{choice}") for choice in control.choices}
            index = options.index(value) if value in options else 0
            return st.selectbox(label, options, index, named.__getitem__, **common)
        case "text":
            return st.text_input(label, value or "", **common) or (None if control.optional else "")
        case "lines":
            return _read(control, st.text_area(label, "\n".join(value or ()), height=68, **common))


def _number(control: Control, label: str, value: Any, left_open: str, common: dict[str, Any]) -> Any:
    """A slider where both bounds are there; a field for what may be left open or has no bounds."""
    kind = int if control.kind == "integer" else float
    low, high = (None if bound is None else kind(bound) for bound in (control.minimum, control.maximum))
    step = kind(control.step or (1 if kind is int else 0.01))
    if value is not None:  # kept from when the bounds were wider, such as another model's context
        value = kind(min(max(value, value if low is None else low), value if high is None else high))
    if control.optional or low is None or high is None:
        form = "%d" if kind is int else "%g"
        return st.number_input(label, low, high, value, step, form, placeholder=left_open, **common)
    return st.slider(label, low, high, value, step, **common)


def _read(control: Control, value: Any) -> Any:
    """A widget's value as the control's kind."""
    if control.kind == "lines":
        return tuple(line for line in value.splitlines() if line)
    return value
