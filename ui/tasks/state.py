"""What the Tasks page remembers of a visitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

JOB = "tasks.job"
"""The job whose form is open; none shows the cards. Kept in the address as `?job=`."""
_DONE = "tasks.done"


@dataclass(frozen=True, slots=True)
class Done:
    """An answer, and what it answers: it is shown as long as the form still says the same."""

    asked: tuple[Any, ...]
    run: Any


def remember(place: str, asked: tuple[Any, ...], run: Any) -> None:
    """Keeps the answer of a place: a job, or one side of a comparison."""
    st.session_state.setdefault(_DONE, {})[place] = Done(asked, run)


def answer_to(place: str, asked: tuple[Any, ...]) -> Any:
    """The answer there, when it answers just this; else None."""
    done: Done | None = st.session_state.get(_DONE, {}).get(place)
    return done.run if done is not None and done.asked == asked else None


def chosen_job() -> str:
    """The open job's name, from the address."""
    return str(st.query_params.get("job", ""))


def open_job(name: str) -> None:
    """Callback: opens a form, or with an empty name the cards."""
    if name:
        st.query_params["job"] = name
    else:
        st.query_params.pop("job", None)
