"""Streamlit's own words (uploads, menus, lost connections) in the visitor's language, and the page's `lang`.

Streamlit has no locales. A script in the page puts our sentence wherever a whole text or name is one of its own;
what models, documents and people write is left alone.
"""

from __future__ import annotations

import streamlit as st

from ui.shared.i18n import LANGUAGES, language, t, words

STREAMLITS = {
    "upload": "Upload",
    "upload_files": "Upload files",
    "file_upload": "file upload",
    "per_file": "{size} per file",
    "drop_file": "Drag and drop file here",
    "drop_files": "Drag and drop files here",
    "too_large": "File is larger than {size}",
    "remove": "Remove {name}",
    "add_files": "Add files",
    "choose_option": "Choose an option",
    "choose_options": "Choose options",
    "no_results": "No results",
    "select_all": "Select all",
    "clear_all": "Clear all",
    "clear_value": "Clear value",
    "open": "Open",
    "close": "Close",
    "search": "Search",
    "fullscreen": "Fullscreen",
    "close_fullscreen": "Close fullscreen",
    "columns": "Show/hide columns",
    "csv": "Download as CSV",
    "copy": "Copy to clipboard",
    "copied": "Copied",
    "record": "Record",
    "stop_recording": "Stop recording",
    "clear_recording": "Clear recording",
    "microphone": "This app would like to use your microphone.",
    "allow": "Learn how to allow access.",
    "take_photo": "Take Photo",
    "clear_photo": "Clear photo",
    "switch_camera": "Switch camera",
    "send": "Send message",
    "increment": "Increment",
    "decrement": "Decrement",
    "show_password": "Show password",
    "hide_password": "Hide password",
    "rerun": "Rerun",
    "print": "Print",
    "record_screen": "Record screen",
    "theme": "Theme",
    "system": "System",
    "light": "Light",
    "dark": "Dark",
    "stop": "Stop",
    "running": "Running...",
    "main_menu": "Main menu",
    "skip": "Skip to main content",
    "sidebar": "Sidebar",
    "pages": "App pages",
    "collapse_sidebar": "Collapse sidebar",
    "expand_sidebar": "Expand sidebar",
    "link_to_heading": "Link to heading",
    "version": "Copy version to clipboard",
    "connection": "Connection error",
    "not_responding": "Streamlit server is not responding. Are you connected to the internet?",
    "empty": "empty",
}
"""Key of the locale files' `streamlit` -> the words as Streamlit's pages say them."""
_SCRIPT = r"""
const NAMES = ["aria-label", "title", "placeholder", "alt"]
const OTHERS = "[data-testid=stMarkdownContainer], [data-testid=stText], [data-testid=stTable], [data-testid=stJson], \
code, pre, textarea, script, style, [data-testid=stIconMaterial]"
const THEIRS = "[data-testid=stFileUploaderDropzone]"  // a button of Streamlit's own whose label is Markdown, too
const whole = new Map()
let parts = []

const isOthers = element => element?.closest(OTHERS) && !element.closest(THEIRS)

function said(text) {
  const plain = text.trim()
  if (whole.has(plain)) return text.replace(plain, () => whole.get(plain))
  for (const [pattern, sentence] of parts) {
    const found = plain.match(pattern)
    if (found) return text.replace(plain, () => sentence.replace(/\{\w+\}/, () => found[1]))
  }
  return null
}

function put(node) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (!node.nodeValue.trim() || isOthers(node.parentElement)) return
    const ours = said(node.nodeValue)
    if (ours !== null && ours !== node.nodeValue) node.nodeValue = ours
  } else if (node.nodeType === Node.ELEMENT_NODE) {
    for (const name of isOthers(node) ? ["aria-label"] : NAMES) {
      const ours = node.hasAttribute(name) ? said(node.getAttribute(name)) : null
      if (ours !== null && ours !== node.getAttribute(name)) node.setAttribute(name, ours)
    }
    node.childNodes.forEach(put)
  }
}

const watch = new MutationObserver(changes => {
  for (const change of changes) {
    if (change.type === "childList") change.addedNodes.forEach(put)
    else put(change.target)
  }
})

export default function ({ data }) {
  document.documentElement.lang = data.language
  whole.clear()
  parts = []
  for (const [theirs, ours] of data.words) {
    if (!theirs.includes("{")) whole.set(theirs, ours)
    else {
      const plain = theirs.replace(/[.*+?^$()|[\]\\]/g, "\\$&")
      parts.push([new RegExp(`^${plain.replace(/\{\w+\}/, "(.+)")}$`), ours])
    }
  }
  put(document.body)
  watch.observe(document.body, { subtree: true, childList: true, characterData: true, attributeFilter: NAMES })
}
"""
_component = st.components.v2.component("hearth_words", js=_SCRIPT)


def speak() -> None:
    """Gives the whole page the visitor's language."""
    pairs = []
    for key, theirs in STREAMLITS.items():
        ours = t(f"streamlit.{key}")
        pairs.append([theirs, ours])
        # After a change of the language the page still says it in the one before.
        pairs += [[words(other)[f"streamlit.{key}"], ours] for other in LANGUAGES if other != language()]
    _component(key="words", data={"language": _CODES[language()], "words": pairs}, height=1)


_CODES = {"en": "en", "zh": "zh-CN"}
