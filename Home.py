"""Hearth's entry. `streamlit run Home.py` finds `app` below; each visitor's session runs the navigation."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

if get_script_run_ctx(suppress_warning=True):  # a visitor's session runs this script
    from ui.app.shell import run_page

    run_page()
else:  # the server imports it
    from llm.diagnostics.logs import setup_logging
    from ui.app.page_error import on_script_error
    from ui.app.routes import middleware, routes
    from ui.app.shell import own_navigation
    from ui.app.warm_up import warm_up

    setup_logging()
    own_navigation()
    warm_up()
    app = st.App(__file__, routes=routes(), middleware=middleware(), on_script_error=on_script_error)
