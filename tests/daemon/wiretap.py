"""A man in the middle between devices and a real bridge: passes on, changes answers, or swallows them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Wiretap:
    """`lie`: what becomes of an answer's JSON. `swallow`: how many of the next answers never arrive."""

    port: int = 0
    url: str = ""
    lie: Callable[[dict[str, Any]], None] | None = None
    swallow: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)

    def passed_on(self, body: bytes, headers: list[tuple[str, str]]) -> tuple[int, bytes]:
        """The bridge's answer. The Host field stays, since it is signed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest("POST", "/bridge/v1/sync", skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def wiretap(port: int) -> Iterator[Wiretap]:
    """A wiretap before the bridge on `port`."""
    tap = Wiretap(port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            tap.requests.append(json.loads(body))
            status, answer = tap.passed_on(body, list(self.headers.items()))
            if tap.swallow:
                tap.swallow -= 1
                return
            if tap.lie is not None and status == 200:
                document = json.loads(answer)
                tap.lie(document)
                answer = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tap.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield tap
        finally:
            server.shutdown()
            thread.join()
