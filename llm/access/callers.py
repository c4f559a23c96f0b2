"""Where a request comes from, for pages and API alike: this machine, or somewhere else.

The one rule: a request is of this machine when the server listens to this machine only, both ends of the connection are
its own, the name by which the server was called is one of its own, and nothing says that a proxy passed it on. Whoever
cannot be told to be of this machine is not: the API then asks for a key, the pages for a login. A proxy that rewrites
the Host header and adds nothing cannot be told; docs/deploy.md says what to configure for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from llm.access.addresses import is_loopback
from llm.config import config

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
_PROXY_HEADERS = frozenset(
    (
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-host",
        "x-original-forwarded-for",
        "true-client-ip",
        "cf-connecting-ip",
        "cf-ray",
        "fly-client-ip",
        "fastly-client-ip",
        "x-envoy-external-address",
        "x-amzn-trace-id",
    )
)


def is_forwarded(headers: Iterable[str]) -> bool:
    """Whether any header's name says that a proxy passed the request on."""
    return any(name in _PROXY_HEADERS or name.startswith("x-forwarded") for name in map(str.lower, headers))


def own_names() -> frozenset[str]:
    """The names by which this server may be called: loopback's, and those of HEARTH_API_HOSTS."""
    return LOOPBACK_NAMES | listed(config().api_hosts)


def is_local(address: str | None, ends: Iterable[str], headers: Mapping[str, str]) -> bool:
    """Whether a request can only have come from this machine.

    Args:
        address: where the server listens; None is not known.
        ends: the connection's two addresses.
        headers: with names in lower case.
    """
    if address is not None and not is_loopback(address):
        return False
    return (
        all(map(is_loopback, ends)) and not is_forwarded(headers) and hostname(headers.get("host", "")) in own_names()
    )


def hostname(host: str) -> str:
    """The name in a Host header, without its port, in lower case; empty for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def listed(text: str) -> frozenset[str]:
    """The items of a setting that is written with commas, in lower case."""
    return frozenset(item.strip().rstrip("/").lower() for item in text.split(",") if item.strip())
