"""A question that is being typed outlives reloads and page changes: it is kept in the visitor's own browser."""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
const box = () => document.querySelector('[data-testid="stChatInputTextArea"]')
const name = scope => `hearth.draft.${scope}`
let scope = null
let seen = ""

function keep() {
  const field = box()
  if (!field || scope === null || field.value === seen) return
  seen = field.value
  seen ? localStorage.setItem(name(scope), seen) : localStorage.removeItem(name(scope))
}

function bring() {
  const field = box()
  const kept = localStorage.getItem(name(scope)) || ""
  if (!field) return false
  if (kept && !field.value) {  // React hears of a value only through its own setter and an event
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(field, kept)
    field.dispatchEvent(new Event("input", { bubbles: true }))
  }
  seen = field.value
  return true
}

// A question that is sent empties the box before the page that follows it comes with another scope.
for (const event of ["keydown", "click"]) document.addEventListener(event, () => setTimeout(keep), true)

export default function ({ data }) {
  if (data.scope !== scope) {
    scope = data.scope
    let tries = 0
    const wait = setInterval(() => { if (bring() || ++tries > 50) clearInterval(wait) }, 100)
  }
  const timer = setInterval(keep, 300)
  return () => clearInterval(timer)
}
"""
_component = st.components.v2.component("hearth_draft", js=_SCRIPT)


def keep_draft(scope: str) -> None:
    """Keeps what stands in the page's question box, one draft a scope (a conversation, a page's new one)."""
    _component(key="draft", data={"scope": scope}, height=1)
