"""A real hub on loopback, real wheels, and small catalogs for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_agent.models.catalog import Catalog
from edge_agent.models.manifest import parse
from edge_agent.models.store import ModelStore
from tests.models.toys import CONTENT, LoopbackHub, WheelFolder, handler_of, manifest_of


@pytest.fixture
def start_hub() -> Iterator[Callable[[], LoopbackHub]]:
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start() -> LoopbackHub:
        hub = LoopbackHub()
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
        server.daemon_threads = True
        hub.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return hub

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(start_hub: Callable[[], LoopbackHub]) -> LoopbackHub:
    return start_hub()


@pytest.fixture
def store_of(tmp_path: Path) -> Callable[..., ModelStore]:
    """A store of one toy model with these sources."""

    def build(sources: list[dict[str, Any]], environ: dict[str, str] | None = None, **options: Any) -> ModelStore:
        content = options.pop("content", CONTENT)
        hub = options.pop("hub", "https://hub.invalid")
        manifest = parse(manifest_of(content, sources), "toy")
        catalog = Catalog((manifest,), hub, tmp_path / "data")
        return ModelStore(tmp_path / "models", catalog, environ={**os.environ, **(environ or {})}, **options)

    return build


@pytest.fixture
def wheels(tmp_path: Path) -> WheelFolder:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return WheelFolder(folder)
