"""Where models are fetched from: which source first, mirrors, and access tokens."""

from __future__ import annotations

import streamlit as st

from llm.config import config, keep
from ui.shared.i18n import t

_KINDS = ("package_index", "modelscope", "huggingface")


def source_settings() -> None:
    now = config()
    st.markdown(t("models.sources_text"))
    with st.form("sources", border=False):
        order = [kind.strip() for kind in now.source_order.split(",")]
        first = st.selectbox(
            t("models.first_source"),
            _KINDS,
            index=_KINDS.index(order[0]) if order[0] in _KINDS else 0,
            format_func=lambda kind: t(f"models.source_{kind}"),
        )
        hf = st.text_input(t("models.hf_endpoint"), now.hf_endpoint, placeholder="https://hf-mirror.com")
        ms = st.text_input(t("models.ms_endpoint"), now.modelscope_endpoint, placeholder="https://www.modelscope.cn")
        index = st.text_input(t("models.pip_index"), now.pip_index_url, placeholder=t("models.pip_index_example"))
        hf_token = _token(t("models.hf_token"), now.hf_token)
        ms_token = _token(t("models.ms_token"), now.modelscope_token)
        saved = st.form_submit_button(t("models.save"), icon=":material/save:", type="primary")
    if not saved:
        return
    wrong = [url for url in (hf, ms, index) if url.strip() and not url.strip().startswith(("https://", "http://"))]
    if wrong:
        st.error(t("models.bad_address", address=wrong[0]), icon=":material/error:")
        return
    rest = [kind for kind in _KINDS if kind != first]
    values = {
        "hf_endpoint": hf.strip(),
        "modelscope_endpoint": ms.strip(),
        "pip_index_url": index.strip(),
        "source_order": ",".join([first, *rest]),
    }
    keep({**values, **_changed("hf_token", hf_token), **_changed("modelscope_token", ms_token)})
    st.success(t("models.saved"), icon=":material/check:")


def _token(label: str, current: str) -> str:
    """A field that never sends the kept token to the browser; a single dash takes it out."""
    return st.text_input(
        label,
        type="password",
        placeholder=t("models.token_kept" if current else "models.token_none"),
        help=t("models.token_help"),
    )


def _changed(name: str, typed: str) -> dict[str, str]:
    typed = typed.strip()
    return {name: "" if typed == "-" else typed} if typed else {}
