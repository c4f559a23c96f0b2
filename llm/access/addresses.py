"""Network addresses, as far as who may call depends on them."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]").split("%")[0]).is_loopback
    except ValueError:
        return False
