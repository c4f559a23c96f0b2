"""The look that Streamlit's theme settings cannot say, for light and dark alike."""

from __future__ import annotations

import streamlit as st

# Colours are translucent so that they sit on either background.
_CSS = """
<style>
[data-testid="stStatusWidget"] { display: none; }
.block-container { padding-top: 3.9rem; }
.st-key-actions button, [class*="st-key-actions_"] button { opacity: .85; min-height: 1.8rem; padding: 0 .4rem; }
[class*="st-key-actions_"] button:hover, [class*="st-key-actions_"] button:focus-visible { opacity: 1; }
[class*="st-key-remember_"], .st-key-draft, .st-key-words, .st-key-sidebar_closes { display: none; }
[class*="st-key-conversation_"] button { min-height: 2rem; height: 2rem; padding: 0 .5rem; }
[class*="st-key-conversation_"] button, [class*="st-key-conversation_"] button > div,
[class*="st-key-conversation_"] button span { justify-content: flex-start; text-align: left; }
[class*="st-key-conversation_"] button p { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] * { color: inherit; }
[data-testid="stCaptionContainer"] { opacity: .82; }
[data-testid="stSliderThumbValue"] { color: inherit; }
[data-selected="true"], [data-selected="true"] * { color: inherit !important; }
.hood { font-family: "Source Code Pro", ui-monospace, monospace; font-size: .8rem; line-height: 1.9;
        white-space: pre-wrap; overflow-wrap: anywhere; max-height: 24rem; overflow-y: auto; }
.hood span { border-radius: .25rem; padding: .1rem 0; }
.hood .control { background: rgba(219,39,119,.28); } .hood .template { background: rgba(120,113,108,.22); }
.hood .system { background: rgba(124,58,237,.22); }  .hood .user { background: rgba(37,99,235,.22); }
.hood .assistant { background: rgba(22,163,74,.22); } .hood .tool { background: rgba(202,138,4,.25); }
.hood .image { background: rgba(8,145,178,.28); }     .hood .audio { background: rgba(8,145,178,.28); }
.hood .token { box-shadow: inset -1px 0 0 rgba(128,128,128,.55); cursor: help; }
.hood-legend span { border-radius: .25rem; padding: .1rem .45rem; margin-right: .4rem; font-size: .75rem; }
[data-testid="stMarkdownContainer"] :is(p, li, td, th, blockquote, h1, h2, h3, h4, h5, h6) {
    unicode-bidi: plaintext; text-align: start; }
[data-testid="stChatMessage"] h1 { font-size: 1.35rem; } [data-testid="stChatMessage"] h2 { font-size: 1.2rem; }
[data-testid="stChatMessage"] h3 { font-size: 1.1rem; }
[data-testid="stChatMessage"] :is(h4, h5, h6) { font-size: 1rem; }
@media (max-width: 480px) { .block-container { padding-left: .8rem; padding-right: .8rem; } }
</style>
"""


def apply() -> None:
    """Adds the style to the page."""
    st.html(_CSS)
