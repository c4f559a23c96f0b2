"""The run of an answer step by step: as asked, as searched, the lists, what was left out, how long it took; the map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from llm.errors import ModelError
from llm.knowledge import vectors
from llm.knowledge.values import Passage
from llm.store import StoredMessage
from ui.knowledge.map import MOST, plane
from ui.knowledge.state import library
from ui.shared.i18n import t

_BEGINNING = 60


def steps(stored: StoredMessage, run: Mapping[str, Any], passages: Mapping[int, Passage]) -> None:
    """The folded panel below an answer."""
    panel = st.expander(
        t("knowledge.steps"), icon=":material/account_tree:", key=f"steps_{stored.id}", on_change="rerun"
    )
    if not panel.open:
        return
    with panel:
        st.caption(" · ".join(t("knowledge.step_seconds", name=t(f"knowledge.time_{name}"), seconds=f"{spent:.2f}")
                              for name, spent in run.get("seconds", {}).items()))  # fmt: skip
        st.markdown(f"**{t('knowledge.step_question')}**")
        st.text(run["question"])
        if run["searched"] != [run["question"]]:
            st.markdown(f"**{t('knowledge.step_searched')}**")
            st.text("\n".join(run["searched"]))
        st.markdown(f"**{t('knowledge.step_words')}**")
        weights = run["weights"]
        st.dataframe(
            {t("knowledge.step_word"): list(weights), t("knowledge.step_weight"): list(weights.values())}, height=180
        )
        by_words, by_meaning, fused = st.tabs(
            [t("knowledge.step_by_words"), t("knowledge.step_by_meaning"), t("knowledge.step_fused")]
        )
        for place, name in ((by_words, "by_words"), (by_meaning, "by_meaning"), (fused, "score")):
            with place:
                _list(run, passages, name)
        _left_out(run)
        _map(run)


def _list(run: Mapping[str, Any], passages: Mapping[int, Passage], name: str) -> None:
    rows = [one for one in run["found"] if one[name] is not None and one["id"] in passages]
    rows.sort(key=lambda one: -one[name] if name == "score" else one[name])
    sent = set(run["sent"])
    st.dataframe(
        {
            t("knowledge.place"): [at if name == "score" else one[name] for at, one in enumerate(rows, start=1)],
            t("knowledge.where"): [f"{passages[one['id']].document} · {passages[one['id']].label}" for one in rows],
            t("knowledge.text"): [passages[one["id"]].text[:_BEGINNING] for one in rows],
            t("knowledge.similarity"): [one["similarity"] for one in rows],
            t("knowledge.map_taken"): [one["id"] in sent for one in rows],
        },
        hide_index=True,
    )


def _left_out(run: Mapping[str, Any]) -> None:
    st.markdown(f"**{t('knowledge.step_left_out')}**")
    sent = set(run["sent"])
    rows = [(one_id, reason) for one_id, reason in run["left_out"]]
    rows += [(one["id"], "budget") for one in run["found"] if sent and one["id"] not in sent]
    texts = library().passages([one_id for one_id, _ in rows])
    shown = [(texts[one_id], reason) for one_id, reason in rows if one_id in texts]
    if not shown:
        st.caption(t("knowledge.step_left_out_none"))
        return
    st.dataframe(
        {
            t("knowledge.where"): [f"{passage.document} · {passage.label}" for passage, _ in shown],
            t("knowledge.text"): [passage.text[:_BEGINNING] for passage, _ in shown],
            t("knowledge.step_reason"): [t(f"knowledge.reason_{reason}") for _, reason in shown],
        },
        hide_index=True,
    )


def _map(run: Mapping[str, Any]) -> None:
    """All passages of the base and the question in the two directions in which they differ most."""
    st.markdown(f"**{t('knowledge.map')}**")
    try:
        matrix = vectors.matrix(library(), run["base"])
        base = library().base(run["base"])
        asked = vectors.embedded_question(base.indexed_by or base.embedder, run["question"]) if matrix else None
    except ModelError:
        matrix = asked = None
    if matrix is None or asked is None or len(matrix.ids) < 3:
        st.caption(t("knowledge.map_none"))
        return
    step = max(1, len(matrix.ids) // MOST)
    ids, kept = matrix.ids[::step], matrix.vectors[::step]
    points, share, mean, directions = plane(kept)
    question = directions @ (asked - mean)
    taken = set(run["sent"])
    kinds = [t("knowledge.map_taken") if int(one) in taken else t("knowledge.map_passage") for one in ids]
    st.scatter_chart(
        {
            "x": [*points[:, 0].tolist(), float(question[0])],
            "y": [*points[:, 1].tolist(), float(question[1])],
            " ": [*kinds, t("knowledge.map_question")],
        },
        x="x",
        y="y",
        color=" ",
        x_label="",
        y_label="",
        height=360,
    )
    st.caption(t("knowledge.map_help", share=f"{np.clip(share, 0, 1):.0%}"))
