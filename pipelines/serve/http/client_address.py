"""The address of a client, behind proxies or not.

1. The peer of a connection is known; what a header says is believed only from a peer in `serve.trusted_proxies`.
2. Each proxy adds the address of its own peer at the end of `X-Forwarded-For`. So the client is the last address in it
   that is no trusted proxy: what stands before it, the client wrote itself.
3. `X-Forwarded-Proto` counts likewise. `Forwarded` and `X-Real-IP` are not read: a proxy that adds one header passes on
   the others as its client sent them.
4. All addresses of an IPv6 network of 64 bits are one client: a household has 2**64 of them.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from starlette.datastructures import Headers

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
UNKNOWN = "unknown"
FORWARDING = ("x-forwarded-for", "x-real-ip", "forwarded")


class TrustedProxies:
    """The networks of `serve.trusted_proxies`."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def __contains__(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str | None, headers: Headers) -> str:
        """The client's address as one text; UNKNOWN for a connection without one."""
        hops = [peer or UNKNOWN, *reversed(_forwarded(headers))]
        for here, before in pairwise(hops):
            if here not in self or _parse(before) is None:
                return _name(here)
        return _name(hops[-1])

    def is_https(self, peer: str | None, scheme: str, headers: Headers) -> bool:
        """Whether the client uses TLS, as far as a trusted peer knows."""
        if peer is not None and peer in self:
            return headers.get("x-forwarded-proto", scheme).rpartition(",")[2].strip() == "https"
        return scheme == "https"


def comes_from_elsewhere(headers: Headers) -> bool:
    """Whether a header names a client on another machine. Even a false one is believed: it can only deny access."""
    values = ",".join(value for name in FORWARDING for value in headers.getlist(name))
    named = re.findall(r'for="?([^";,]+)', values, re.IGNORECASE) or [one.strip() for one in values.split(",")]
    addresses = [_parse(one.strip()) for one in named if one.strip()]
    return not all(address is not None and address.is_loopback for address in addresses)


def _forwarded(headers: Headers) -> Sequence[str]:
    return [one.strip() for one in ",".join(headers.getlist("x-forwarded-for")).split(",") if one.strip()]


def _parse(text: str) -> Address | None:
    """An address, with or without a port: 10.0.0.7, 10.0.0.7:99, fe80::1, [fe80::1]:99."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    host = host.partition(":")[0] if host.count(":") == 1 else host
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _name(text: str) -> str:
    address = _parse(text)
    if isinstance(address, ipaddress.IPv6Address) and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return UNKNOWN if address is None else str(address)
