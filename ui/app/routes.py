"""What the server has around and beside the pages: the API's routes, and the front door."""

from __future__ import annotations

import os

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

import llm.api
from llm.api.connections import bound_connections
from ui.app.front_door import FrontDoor


def routes() -> list[BaseRoute]:
    """All routes, in the order in which they are tried."""
    return llm.api.routes(address=_address(), base=st.get_option("server.baseUrlPath") or "")


def middleware() -> list[Middleware]:
    """What every request passes first. The port is told to the checks of this process, which do not know Streamlit."""
    os.environ["STREAMLIT_SERVER_PORT"] = str(st.get_option("server.port"))
    bound_connections()
    return [Middleware(FrontDoor, address=_address())]


def _address() -> str:
    return st.get_option("server.address") or "0.0.0.0"
