"""A question that is being typed outlives reloads and page changes: it is kept in the visitor's own browser."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
const box = () => document.querySelector('[data-testid="stChatInputTextArea"]')
const name = scope => `hearth.draft.${scope}`
let scope = null
let brought = new WeakSet()

function keep(field, key) {
  field.value ? localStorage.setItem(key, field.value) : localStorage.removeItem(key)
}

// A box may be another page's, which stands a moment longer, so that each new one is looked at.
function bring() {
  const field = box()
  if (!field || scope === null || brought.has(field)) return
  brought.add(field)
  const kept = localStorage.getItem(name(scope)) || ""
  if (kept && !field.value) {  // React hears of a value only through its own setter and an event
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(field, kept)
    field.dispatchEvent(new Event("input", { bubbles: true }))
  }
}

// Only typing and sending change what is kept: a box that a page change empties says nothing of the draft.
document.addEventListener("input", event => {
  if (scope !== null && event.target === box()) keep(event.target, name(scope))
}, true)
for (const event of ["keydown", "click"]) document.addEventListener(event, ({ target }) => {
  const field = box()
  if (!field || scope === null || !target.closest?.('[data-testid="stChatInput"]')) return
  const key = name(scope)  // the page that follows a question has another scope
  for (const delay of [0, 300]) setTimeout(() => keep(field, key), delay)
}, true)

export default function ({ data }) {
  if (data.scope !== scope) {
    scope = data.scope
    brought = new WeakSet()
  }
  const timer = setInterval(bring, 100)
  return () => clearInterval(timer)
}
"""
_component = st.components.v2.component("hearth_draft", js=_SCRIPT)


def keep_draft(scope: str) -> None:
    """Keeps what stands in the page's question box, one draft a scope (a conversation, a page's new one)."""
    _component(key="draft", data={"scope": scope}, height=1)
