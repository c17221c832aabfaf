"""How commands talk to the running daemon."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cloud_bridge.protocol.problem_json import kind_of_status
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.protocol.sse import SseDecoder
from edge_agent.cli.address import read_address
from edge_agent.token import Token

CONNECT_S = 3
ANSWER_S = 600
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class DaemonClient:
    """Requests to the daemon of one home. Raises Unavailable code "daemon_not_running" where there is none."""

    url: str
    token: Token

    @classmethod
    def from_home(cls, home: Path) -> DaemonClient:
        """The daemon of `home`, running or not."""
        url = read_address(home)
        if url is None:
            from edge_agent.settings import Settings  # noqa: PLC0415 slow, and a running daemon has said where it is

            server = Settings.load(home, os.environ).server
            host = f"[{server.host}]" if ":" in server.host else server.host
            url = f"http://{host}:{server.port}"
        return cls(url, Token(home / "token"))

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON that `path` answers to `body`."""
        return self._call("POST", path, body)

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The JSON chunks of a server-sent stream. An error in its midst is raised as a Problem."""
        decoder = SseDecoder()
        with self._answer("POST", path, body) as response:
            while piece := response.read1(_READ_BYTES):
                for event in decoder.feed(piece):
                    if event.data == "[DONE]":
                        return
                    chunk = json.loads(event.data)
                    if "error" in chunk:
                        raise _from_error(chunk["error"], Unavailable)
                    yield chunk

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with self._answer(method, path, body) as response:
            return json.loads(response.read())

    @contextmanager
    def _answer(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[http.client.HTTPResponse]:
        """An answer that is no problem, its body unread.

        By the standard library's client: most commands are over before another one would be loaded.
        """
        url = urlsplit(self.url)
        headers = {"Authorization": f"Bearer {self.token.value()}", "Content-Type": "application/json"}
        try:
            with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=CONNECT_S)) as connection:
                connection.connect()
                connection.sock.settimeout(ANSWER_S)
                connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
                response = connection.getresponse()
                if response.status >= 400:
                    raise _problem(response.status, response.read())
                yield response
        except (OSError, http.client.HTTPException) as error:
            raise self._not_running() from error

    def _not_running(self) -> Unavailable:
        return Unavailable(
            f"No daemon answers at {self.url}.", code="daemon_not_running", hint="Start it with `edge-agent serve`."
        )


def _problem(status: int, body: bytes) -> Problem:
    kind = kind_of_status(status)
    try:
        return _from_error(json.loads(body)["error"], kind)
    except (ValueError, KeyError, TypeError):
        return kind(f"The daemon answered with status {status}.", code="unexpected_answer")


def _from_error(error: dict[str, Any], kind: type[Problem]) -> Problem:
    return kind(str(error["message"]), code=str(error["code"]), param=error.get("param"))
