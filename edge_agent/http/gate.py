"""Who may talk to the daemon: checked before anything else, for every route, closed by default.

Against DNS rebinding the Host must be this machine's; against other sites' pages so must the Origin, and a body
must be `application/json`, which a page cannot send unasked. Paths are read from `scope["path"]`, never from a
URL put together with the Host header (CVE-2026-48710).
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_bridge.protocol.problems import InvalidRequest, NotAllowed, Problem
from edge_agent.http.problems import response_to
from edge_agent.token import Token

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/favicon.svg", "/app.js", "/style.css"})
MAX_BODY_BYTES = 16 * 1024 * 1024

_LOCAL = r"(?:localhost|127\.0\.0\.1|\[::1\])"
_PORT = r"(?::\d{1,5})?"
LOCAL_ORIGIN = rf"https?://{_LOCAL}{_PORT}"


class Gate:
    """ASGI middleware. `extra_host` is the address of a daemon that was told, twice, to serve the network."""

    def __init__(self, app: ASGIApp, *, token: Token | None, extra_host: str | None = None) -> None:
        self._app = app
        self._token = token
        also = f"|{re.escape(extra_host)}" if extra_host else ""
        self._host = re.compile(rf"(?:{_LOCAL}{also}){_PORT}", re.IGNORECASE)
        self._origin = re.compile(rf"https?://(?:{_LOCAL}{also}){_PORT}", re.IGNORECASE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the problem."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            await self._app(scope, _Limited(receive), send)
        except Problem as problem:
            await response_to(problem)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._host.fullmatch(headers.get(b"host", "")):
            raise NotAllowed(
                "This Host is not served here.", code="wrong_host", hint="Address the daemon as 127.0.0.1 or localhost."
            )
        # All of them: what stands in front of us may have read another one than the last.
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if not all(map(self._origin.fullmatch, origins)) or headers.get(b"sec-fetch-site", "").lower() == "cross-site":
            raise NotAllowed(
                "Pages from other sites may not use this daemon.",
                code="wrong_origin",
                hint="Call it from a page on localhost, or from a program.",
            )
        if scope["method"] == "OPTIONS":
            return  # a preflight carries no token; the routes behind it answer nothing to it
        if self._token is not None and scope["path"] not in OPEN_PATHS:
            self._token.check(headers.get(b"authorization"), headers.get(b"x-api-key"))
        self._check_body(scope["method"], headers)

    @staticmethod
    def _check_body(method: str, headers: dict[bytes, str]) -> None:
        if method not in {"POST", "PUT", "PATCH"}:
            return
        media_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise InvalidRequest(
                "The body must be application/json.",
                code="unsupported_media_type",
                hint="Send the header 'Content-Type: application/json'.",
            )
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise InvalidRequest(
                "Compressed bodies are not accepted.",
                code="unsupported_media_type",
                hint="Send the body without Content-Encoding.",
            )
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            raise _too_large()


class _Limited:
    """`receive`, refusing to read more than the limit when no Content-Length announced it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > MAX_BODY_BYTES:
            raise _too_large()
        return message


def _too_large() -> InvalidRequest:
    return InvalidRequest(
        f"The body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB.",
        code="payload_too_large",
        hint="Send less text at once.",
    )
