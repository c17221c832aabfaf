"""The HTTP client that everything leaves through."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

CONNECT_S = 5.0
READ_S = 120.0

_LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")


def open_http(*, connect_s: float = CONNECT_S, read_s: float = READ_S) -> httpx.AsyncClient:
    """A client for the caller to close. `read_s`: the longest silence that is borne, in seconds.

    It follows no redirects and keeps no cookies. The system's proxy settings hold, but not for this machine:
    what is meant for it must not leave it.
    """
    return httpx.AsyncClient(
        timeout=httpx.Timeout(connect=connect_s, read=read_s, write=read_s, pool=connect_s),
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        mounts=dict.fromkeys(_LOOPBACK),
    )
