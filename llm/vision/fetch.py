"""Pictures from links, without letting a link reach into the network that this machine stands in.

The address is checked that is really connected to, for every redirect anew: a name may resolve to
something else the second time it is asked for.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from llm.errors import LinkFailed, LinkRefused, LinkTooLarge

MAX_BYTES = 10 << 20
TIMEOUT_S = 10.0
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK_BYTES = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What Python counts as public although clouds serve a machine's own secrets there (Azure's wire server, Oracle's).
_METADATA = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Allowed: TypeAlias = Callable[[Address], bool]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a link led to. `name`: the last part of its path."""

    data: bytes
    name: str


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet, also when it hides in an IPv6 address (RFC 4291, 6052, 3056)."""
    inner: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(inner)
    if any(address in network for network in _METADATA):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def fetch(
    url: str, allowed: Allowed = is_public, limit_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S
) -> Fetched:
    """The bytes behind a link. What they are is for the caller to find out: nothing is believed of the server.

    Args:
        allowed: which addresses may be connected to.
        limit_bytes, timeout_s: for everything together, redirects and waiting included.

    Raises:
        LinkRefused: not http or https, or it leads to an address that is not public.
        LinkTooLarge: more than `limit_bytes`.
        LinkFailed: no such name, no answer in time, or an error from the server.
    """
    deadline = time.monotonic() + timeout_s
    for _ in range(MAX_REDIRECTS + 1):
        target = _checked(url)
        answer = _request(target, allowed, limit_bytes, deadline)
        if isinstance(answer, bytes):
            return Fetched(answer, unquote(target.path.rsplit("/", 1)[-1]) or str(target.hostname))
        url = urljoin(url, answer)
    raise LinkFailed(host=str(urlsplit(url).hostname), detail="it redirects again and again")


def _checked(url: str) -> SplitResult:
    try:
        target = urlsplit(url.strip())
        port = target.port
    except ValueError as error:
        raise LinkRefused(link=url[:200], reason="address") from error
    if target.scheme not in ("http", "https"):
        raise LinkRefused(link=url[:200], reason="scheme")
    if not target.hostname or target.username is not None or port == 0:
        raise LinkRefused(link=url[:200], reason="address")
    return target


def _request(target: SplitResult, allowed: Allowed, limit_bytes: int, deadline: float) -> bytes | str:
    """The body, or where a redirect leads."""
    host = str(target.hostname)
    connection = _connected(target, allowed, deadline)
    # A timeout of the socket starts anew with every byte; this one doesn't.
    end = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, (connection.sock,))
    end.daemon = True
    end.start()
    try:
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        headers = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "Hearth"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status in _REDIRECTS and response.getheader("Location"):
            return str(response.getheader("Location"))
        if response.status != 200:
            raise LinkFailed(host=host, detail=f"HTTP {response.status}")
        return _body(response, host, limit_bytes, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        detail = "it took too long" if time.monotonic() >= deadline else f"{type(error).__name__}: {error}"
        raise LinkFailed(host=host, detail=detail) from error
    finally:
        end.cancel()
        connection.close()


def _body(response: http.client.HTTPResponse, host: str, limit_bytes: int, deadline: float) -> bytes:
    data = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        data += chunk
        if len(data) > limit_bytes:
            raise LinkTooLarge(host=host, limit=f"{limit_bytes / (1 << 20):g} MB")
    # A connection that was shut at the deadline reads like a body's end.
    if time.monotonic() >= deadline or (response.length or 0) > 0:
        raise OSError("the answer was cut off")
    return bytes(data)


def _connected(target: SplitResult, allowed: Allowed, deadline: float) -> http.client.HTTPConnection:
    """A connection to an address of the host that may be connected to; the first that answers."""
    host = str(target.hostname)
    port = target.port or (443 if target.scheme == "https" else 80)
    places = _resolved(host, port, deadline)
    for _, place in places:
        if not allowed(ipaddress.ip_address(place[0].split("%")[0])):
            raise LinkRefused(link=host, reason="private")
    trouble: Exception = OSError("no address")
    for family, place in places:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(max(0.1, deadline - time.monotonic()))
                sock.connect(place)
                if not allowed(ipaddress.ip_address(sock.getpeername()[0].split("%")[0])):
                    raise LinkRefused(link=host, reason="private")
                if target.scheme == "https":
                    sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            trouble = error
            continue
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        return connection
    raise LinkFailed(host=host, detail=str(trouble)) from trouble


def _resolved(host: str, port: int, deadline: float) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """The host's addresses, each as what `connect` takes."""
    pool = ThreadPoolExecutor(1)
    try:
        found = pool.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        rows = found.result(timeout=max(0.1, deadline - time.monotonic()))
    except FutureTimeout as error:
        raise LinkFailed(host=host, detail="it took too long") from error
    except (OSError, UnicodeError) as error:
        raise LinkFailed(host=host, detail=f"the name is not known ({error})") from error
    finally:
        pool.shutdown(wait=False)
    return [(row[0], row[4]) for row in rows]


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is closed already, which is as well
        return
