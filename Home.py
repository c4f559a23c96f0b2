"""Hearth's entry. `streamlit run Home.py` finds `app` below; each visitor's session runs the navigation."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

if get_script_run_ctx(suppress_warning=True):  # a visitor's session runs this script
    from ui.shell import navigation

    navigation().run()
else:  # the server imports it
    from llm.runtime.logs import setup_logging
    from ui.routes import routes
    from ui.shell import own_navigation
    from ui.warm_up import warm_up

    setup_logging()
    own_navigation()
    warm_up()
    app = st.App(__file__, routes=routes())
