"""How commands talk to the running daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cloud_bridge.protocol.problem_json import kind_of_status
from cloud_bridge.protocol.problems import (
    Problem,
    Unavailable,
)
from cloud_bridge.protocol.sse import SseDecoder
from edge_agent.settings import Settings
from edge_agent.token import Token


def address_file(home: Path) -> Path:
    """Where a running daemon writes its URL, since `--port` may differ from the configuration."""
    return home / "daemon.json"


@dataclass(frozen=True, slots=True)
class DaemonClient:
    """Requests to the daemon of one home. Raises Unavailable code "daemon_not_running" where there is none."""

    url: str
    token: Token

    @classmethod
    def from_home(cls, home: Path) -> DaemonClient:
        """The daemon of `home`, running or not."""
        try:
            url = str(json.loads(address_file(home).read_text(encoding="utf-8"))["url"])
        except (OSError, ValueError, KeyError, TypeError):
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
        try:
            with self._http().stream("POST", path, json=body, headers=self._headers()) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _problem(response)
                for piece in response.iter_bytes():
                    for event in decoder.feed(piece):
                        if event.data == "[DONE]":
                            return
                        chunk = json.loads(event.data)
                        if "error" in chunk:
                            raise _from_error(chunk["error"], Unavailable)
                        yield chunk
        except httpx.TransportError as error:
            raise self._not_running() from error

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            with self._http() as http:
                response = http.request(method, path, json=body, headers=self._headers())
        except httpx.TransportError as error:
            raise self._not_running() from error
        if response.status_code >= 400:
            raise _problem(response)
        return response.json()

    def _http(self) -> httpx.Client:
        # A proxy has no business between this machine and itself.
        return httpx.Client(base_url=self.url, timeout=httpx.Timeout(600, connect=3), trust_env=False)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token.value()}"}

    def _not_running(self) -> Unavailable:
        return Unavailable(
            f"No daemon answers at {self.url}.", code="daemon_not_running", hint="Start it with `edge-agent serve`."
        )


def _problem(response: httpx.Response) -> Problem:
    kind = kind_of_status(response.status_code)
    try:
        return _from_error(response.json()["error"], kind)
    except (ValueError, KeyError, TypeError):
        return kind(f"The daemon answered with status {response.status_code}.", code="unexpected_answer")


def _from_error(error: dict[str, Any], kind: type[Problem]) -> Problem:
    return kind(str(error["message"]), code=str(error["code"]), param=error.get("param"))
