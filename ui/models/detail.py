"""One model of the catalogue: what it is, what it needs here, how to get it, how to load it."""

from __future__ import annotations

import streamlit as st

from llm.catalogue.entry import ModelEntry, SourceKind
from llm.catalogue.lookup import where
from llm.errors import ModelError
from llm.plan import LoadPlan
from llm.runtime import handles
from llm.sources import downloads, usable_sources
from ui.models.facts import Needs, languages_text, needs_of, parameters_text, size_text, source_names
from ui.shared.i18n import explain, t
from ui.shared.units import readable_bytes


def detail(entry: ModelEntry) -> None:
    with st.container(border=True, key="model_detail"):
        st.subheader(entry.name, anchor=False)
        facts = [parameters_text(entry.parameters), size_text(entry.size_bytes), languages_text(entry), entry.licence]
        if entry.context_tokens:
            facts.append(t("models.context_of", count=f"{entry.context_tokens:,}"))
        st.caption(" · ".join(fact for fact in facts if fact))
        needs = needs_of(entry.id)
        _needs(needs)
        if where(entry) is None:
            _get(entry)
        else:
            st.markdown(":material/check_circle: " + t("models.is_on_machine"))
            _load(entry, needs)
        st.caption(t("models.id_is", id=entry.id))
        if entry.citation:
            st.caption(t("models.documented", citation=entry.citation))


def _needs(needs: Needs) -> None:
    """Each precision in which it can be loaded, with what it takes and what there is."""
    if not needs.found:
        st.caption(t("models.needs_unknown"))
        return
    rows = []
    for choice in needs.found:
        fit = choice.fit
        mark = ":material/check:" if fit.ok else ":material/close:"
        word = t("models.fit_yes") if fit.ok else t("models.fit_short", short=readable_bytes(fit.short_bytes))
        rows.append(
            f"| {t('models.plan_' + choice.plan.precision)} | {readable_bytes(fit.needed_bytes)} "
            f"| {readable_bytes(fit.available_bytes)} ({fit.device}) | {mark} {word} |"
        )
    head = f"| {t('models.precision')} | {t('models.needs')} | {t('models.free')} | {t('models.fit')} |"
    st.markdown("\n".join([head, "|---|---|---|---|", *rows]))


def _get(entry: ModelEntry) -> None:
    job = downloads.get(entry.id)
    if job is not None and job.state not in ("done", "cancelled"):
        st.caption(t("models.under_way"))
        return
    found = usable_sources(entry)
    if not found:
        st.warning(t("picker.no_source", model=entry.name))
        return
    st.caption(t("models.from", sources=source_names(entry)))
    if any(source.gated for source in found):
        st.caption(t("models.gated"))
    kinds = [source.kind for source in found]
    kind = kinds[0]
    if len(kinds) > 1:
        kind = st.segmented_control(
            t("models.source"),
            kinds,
            default=kinds[0],
            format_func=lambda name: t(f"models.source_{name}"),
            key=f"source_{entry.id}",
            required=True,
        )
    label = t("picker.get", size=readable_bytes(entry.size_bytes)) if entry.size_bytes else t("picker.get_unsized")
    st.button(label, icon=":material/download:", type="primary", on_click=_start, args=(entry.id, kind), key="get")


def _start(model_id: str, kind: SourceKind) -> None:
    downloads.start(model_id, kind)


def _load(entry: ModelEntry, needs: Needs) -> None:
    """Loads with a chosen precision and context; a loaded one can be loaded again with another."""
    precisions = [choice.plan.precision for choice in needs.found] or ["auto"]
    fitting = [choice.plan.precision for choice in needs.found if choice.fit.ok]
    left, right = st.columns(2)
    precision = left.selectbox(
        t("models.precision"),
        precisions,
        index=precisions.index(fitting[0]) if fitting else 0,
        format_func=lambda name: t(f"models.plan_{name}"),
        key=f"precision_{entry.id}",
    )
    context = 0
    if entry.converses:
        context = right.number_input(
            t("models.context_tokens"),
            min_value=0,
            max_value=entry.context_tokens or 1 << 20,
            value=0,
            step=1024,
            help=t("models.context_help"),
            key=f"context_{entry.id}",
        )
    if st.button(t("models.load"), icon=":material/memory:", key="load"):
        _load_now(entry, LoadPlan(precision=precision, context_tokens=int(context), reason=t("models.chosen_here")))


def _load_now(entry: ModelEntry, plan: LoadPlan) -> None:
    bar = st.progress(0.0, t("models.loading", model=entry.name))

    def progress(stage: str, done: float, total: float) -> None:
        bar.progress(min(1.0, done / total) if total else 0.0, t("models.loading", model=entry.name))

    try:
        for row in handles.loaded():
            if row.entry.id == entry.id and row.plan != plan and not row.active:
                handles.unload(row.key)  # the same model in another precision or context takes its place
        handles.load(entry, plan, progress)
    except ModelError as error:
        bar.empty()
        st.error(explain(error), icon=":material/error:")
        return
    bar.empty()
    needs_of.clear()
    st.success(t("models.loaded_now", model=entry.name), icon=":material/check:")
