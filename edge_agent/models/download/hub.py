"""Files from the Hugging Face hub, or from a server that speaks its way, over HTTP with resume."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.download.addresses import Reach
from edge_agent.models.download.stream import SourceFailed, Stream
from edge_agent.models.manifest import HubSource

_TIMEOUT = httpx.Timeout(30, connect=3)
_MAX_REDIRECTS = 5
# Smaller than a local chunk: what has arrived before a cut is kept.
_CHUNK = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MAX_DESCRIPTION = 1 << 25
_CAUSES = {401: "refused", 403: "refused", 404: "not_found", 410: "not_found", 416: "bad_range"}
# What the hub says beside the status, which is 401 for whatever a stranger may not know to exist.
_HUB_CAUSES = {
    "RepoNotFound": "not_found",
    "EntryNotFound": "not_found",
    "RevisionNotFound": "no_revision",
    "GatedRepo": "gated",
}


class Hub:
    """One hub. `$HF_ENDPOINT`, `$HF_TOKEN` and `$HF_HUB_OFFLINE` mean what they mean to everyone else.

    Raises InvalidRequest code "bad_endpoint" | "bad_token" for what can be neither.
    """

    def __init__(self, default_endpoint: str, environ: Mapping[str, str]) -> None:
        chosen = environ.get("HF_ENDPOINT", "").strip().rstrip("/")
        self._endpoint = chosen or default_endpoint
        self._reach = Reach(_url(self._endpoint), chosen=bool(chosen))
        self._token = _token(environ)
        self._offline = environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}

    @contextmanager
    def open(self, source: HubSource, offset: int) -> Iterator[Stream]:
        """The file from `offset` on, or from 0 where the server cannot resume. Blocks. Raises SourceFailed."""
        with self._opened(f"{source.repo}/resolve/{source.revision}/{source.path}", offset) as stream:
            yield stream

    def describe(self, repo: str, revision: str) -> dict[str, Any]:
        """What the hub says of a repository: "sha", the commit, and "siblings", its files with sizes and digests.

        The answer is not checked beyond being an object of at most 32 MB. Blocks. Raises SourceFailed.
        """
        said = bytearray()
        with self._opened(f"api/models/{repo}/revision/{revision}?blobs=true", 0) as stream:
            for chunk in stream.chunks:
                said += chunk
                if len(said) > _MAX_DESCRIPTION:
                    raise SourceFailed("too_big")
        try:
            description = json.loads(said)
        except (ValueError, RecursionError) as error:
            raise SourceFailed("unreadable") from error
        if not isinstance(description, dict):
            raise SourceFailed("unreadable")
        return description

    @contextmanager
    def _opened(self, path: str, offset: int) -> Iterator[Stream]:
        if self._offline:
            raise SourceFailed("offline")
        url = httpx.URL(f"{self._endpoint}/{path}")
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as http:
            response = self._get(http, url, offset)
            try:
                yield Stream(_start(response, offset), _body(response))
            finally:
                response.close()

    def _get(self, http: httpx.Client, url: httpx.URL, offset: int) -> httpx.Response:
        for _ in range(_MAX_REDIRECTS):
            self._reach.check(url)
            headers = {"Accept-Encoding": "identity"}
            if offset:
                headers["Range"] = f"bytes={offset}-"
            if self._token and self._reach.is_endpoint(url):
                headers["Authorization"] = f"Bearer {self._token}"
            response = self._send(http, url, headers)
            if not response.is_redirect:
                return response
            response.close()
            try:
                url = url.join(response.headers["location"])
            except (httpx.InvalidURL, KeyError) as error:
                raise SourceFailed("bad_redirect") from error
        raise SourceFailed("bad_redirect")

    def _send(self, http: httpx.Client, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
        try:
            response = http.send(http.build_request("GET", url, headers=headers), stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise self._reach.gone(url) from error
        except httpx.HTTPError as error:
            raise SourceFailed("cut") from error
        try:
            self._reach.check_peer(url, response)
        except SourceFailed:
            response.close()
            raise
        return response


def _url(endpoint: str) -> httpx.URL:
    # It may hold a password: no message repeats it.
    try:
        url = httpx.URL(endpoint)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidRequest(
            "$HF_ENDPOINT is not the address of a hub.",
            code="bad_endpoint",
            hint="Set HF_ENDPOINT to an address like https://hub.example.org, or unset it.",
        )
    return url


def _token(environ: Mapping[str, str]) -> str:
    token = environ.get("HF_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise InvalidRequest(
            "$HF_TOKEN holds characters that no token has.",
            code="bad_token",
            hint="Copy the token again, without quotes or line breaks, or unset HF_TOKEN.",
        )
    return token


def _start(response: httpx.Response, offset: int) -> int:
    if response.status_code == 200:
        return 0
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if found is None or int(found[1]) != offset:
            raise SourceFailed("bad_range")
        return offset
    cause = _CAUSES.get(response.status_code, "server_error")
    raise SourceFailed(_HUB_CAUSES.get(response.headers.get("x-error-code", ""), cause))


def _body(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_raw(_CHUNK)
    except httpx.HTTPError as error:
        raise SourceFailed("cut") from error
