"""Which hosts a download may reach: the hub's own, and none on this machine's networks unless the user named it."""

from __future__ import annotations

import ipaddress
import socket
import threading
import urllib.request
from dataclasses import dataclass, field

import httpx

from edge_agent.models.download.stream import SourceFailed

_RESOLVE_S = 3.0

_STORAGE = ("huggingface.co", "hf.co")
"""Where the hub, and who mirrors it, sends those that ask for a large file."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Reach:
    """The rule for one endpoint. `chosen`: the user set it himself, so that private addresses are his own."""

    endpoint: httpx.URL
    chosen: bool
    unreachable: set[str] = field(default_factory=set)

    def check(self, url: httpx.URL) -> None:
        """Refuse `url` before connecting. Raises SourceFailed."""
        if url.scheme != "https" and not (url.scheme == "http" and self.endpoint.scheme == "http"):
            raise SourceFailed("bad_redirect")
        if not 0 < (url.port or 80) < 1 << 16:
            raise SourceFailed("bad_redirect")
        if not any(url.host == host or url.host.endswith(f".{host}") for host in (self.endpoint.host, *_STORAGE)):
            raise SourceFailed("other_host")
        if url.host in self.unreachable:
            raise SourceFailed("unreachable")
        if _proxied(url):  # the proxy resolves names; only literal addresses can be judged here
            self._check_address(url, url.host)
            return
        for address in self._resolve(url):
            self._check_address(url, address)

    def check_peer(self, url: httpx.URL, response: httpx.Response) -> None:
        """Refuse an answer that came from a forbidden address after all (a name that changed its mind)."""
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if peer and not _proxied(url):
            self._check_address(url, str(peer[0]))

    def is_endpoint(self, url: httpx.URL) -> bool:
        """Whether `url` is on the endpoint's own origin, which alone gets the token."""
        return (url.scheme, url.host, url.port) == (self.endpoint.scheme, self.endpoint.host, self.endpoint.port)

    def gone(self, url: httpx.URL) -> SourceFailed:
        """Remember that nobody answers there, so that the next file does not wait for it again."""
        self.unreachable.add(url.host)
        return SourceFailed("unreachable")

    def _check_address(self, url: httpx.URL, text: str) -> None:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return
        if isinstance(address, ipaddress.IPv6Address):
            address = _carried(address) or address
        if address.is_global and not address.is_multicast:
            return
        # Link-local is where clouds keep their credentials: no redirect leads there, whoever chose the endpoint.
        if self.chosen and (self.is_endpoint(url) or not address.is_link_local):
            return
        raise SourceFailed("private_address")

    def _resolve(self, url: httpx.URL) -> list[str]:
        found: list[str] = []
        port = url.port or (443 if url.scheme == "https" else 80)

        def look_up() -> None:
            try:
                answers = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
            except OSError:
                return
            found.extend(str(answer[4][0]) for answer in answers)

        # A resolver without a network can block for a minute, and cannot be told not to.
        looking = threading.Thread(target=look_up, daemon=True)
        looking.start()
        looking.join(_RESOLVE_S)
        if not found:
            raise self.gone(url)
        return list(found)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway would make of it."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _proxied(url: httpx.URL) -> bool:
    proxies = urllib.request.getproxies()
    return bool(proxies.get(url.scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(url.host)
