"""Upstreams, bridges and devices, all real, all on loopback."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from cloud_bridge.bridge import Bridge
from cloud_bridge.database import BridgeDatabase
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.http import build_app
from cloud_bridge.outbound import open_http
from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text
from cloud_bridge.protocol.envelope import Departure, Escalation
from cloud_bridge.protocol.events import Event, EventStream, Served, TextDelta
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.providers.config import ProviderConfig
from cloud_bridge.providers.provider import Provider
from cloud_bridge.remote import RemoteBridge
from cloud_bridge.service import Service, running
from cloud_bridge.settings import BridgeSettings, ProviderSection
from cloud_bridge.store import CallStore
from tests.upstream import RecordingUpstream

KEY = "sk-test-0123456789"
ENVIRON = {"TEST_KEY": KEY, "OTHER_KEY": "sk-other-9876543210"}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PROMPT = "Write to <PERSON_1> about the delay."


def escalation(text: str = PROMPT, key: str | None = None, *, n: int = 1, **fields: Any) -> Escalation:
    """A masked conversation of one message, to which `n` answers are wanted."""
    conversation = Conversation((Message("user", (Text(text),)),), sampling=Sampling(n=n))
    return Escalation(
        Masked(conversation, {"PERSON": 1}),
        idempotency_key=key or f"key-{uuid.uuid4()}",
        session_id="session",
        traceparent=TRACEPARENT,
        **fields,
    )


def provider_config(upstream: RecordingUpstream | str, name: str = "first", **fields: Any) -> ProviderConfig:
    url = upstream if isinstance(upstream, str) else upstream.url
    given = {"kind": "openai", "api_key_env": "TEST_KEY", "model": f"{name}-model", **fields}
    return ProviderConfig(name=name, base_url=url, **given)


async def collect(events: EventStream) -> list[Event]:
    return [event async for event in events]


async def collect_until_problem(events: EventStream) -> tuple[list[Event], Problem]:
    """The events that came, and how it ended."""
    came: list[Event] = []
    try:
        async for event in events:
            came.append(event)  # noqa: PERF401 - those before the problem are wanted, too
    except Problem as problem:
        return came, problem
    raise AssertionError("there was no problem")


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def served(events: list[Event]) -> Served:
    first = events[0]
    assert isinstance(first, Served)
    return first


class Departures:
    """Records what leaves, as a device's ledger does."""

    def __init__(self) -> None:
        self.seen: list[Departure] = []

    async def __call__(self, departure: Departure) -> None:
        self.seen.append(departure)


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


@pytest.fixture
async def second() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


@pytest.fixture
def departures() -> Departures:
    return Departures()


MakeBridge = Callable[..., Awaitable[Bridge]]


@pytest.fixture
async def make_bridge(tmp_path: Path) -> AsyncIterator[MakeBridge]:
    """Bridges over a store on disk; the same store for each, as after a restart."""
    async with AsyncExitStack() as stack:

        async def make(*configs: ProviderConfig, read_s: float = 10, **options: Any) -> Bridge:
            http = await stack.enter_async_context(open_http(connect_s=2, read_s=read_s))
            store = CallStore.open(tmp_path / "calls.db")
            stack.callback(store.close)
            environ = options.pop("environ", ENVIRON)
            bridge = Bridge([Provider(config, http, environ=environ) for config in configs], store, **options)
            stack.push_async_callback(bridge.close)
            return bridge

        yield make


@dataclass(eq=False)
class RunningService:
    """A bridge that serves on loopback. `skew_s`: how far the devices' clocks are ahead of it."""

    url: str
    service: Service
    database: BridgeDatabase
    http: httpx.AsyncClient
    keys: Path
    skew_s: float = 0.0

    def key(self, name: str) -> DeviceKey:
        return DeviceKey.load_or_create(self.keys / f"{name}.pem")

    def enroll(self, name: str = "laptop") -> DeviceKey:
        key = self.key(name)
        self.service.devices.enroll(name, key.public_id)
        return key

    def device(self, name: str = "laptop", **options: Any) -> RemoteBridge:
        given = {"now": lambda: time.time() + self.skew_s, **options}
        return RemoteBridge(self.url, self.key(name), self.http, **given)


Serve = Callable[..., Awaitable[RunningService]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Real bridges on uvicorn, in this process."""
    async with AsyncExitStack() as stack:

        async def start(*sections: ProviderSection, **options: Any) -> RunningService:
            settings = BridgeSettings(providers=sections)
            database = BridgeDatabase(tmp_path / "bridge.db")
            stack.callback(database.close)
            app = build_app(lambda: running(settings, database, environ=ENVIRON), **options)
            listener = socket.create_server(("127.0.0.1", 0))
            config = uvicorn.Config(app, log_config=None, lifespan="on", ws="none", timeout_graceful_shutdown=2)
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve(sockets=[listener]))

            async def stop() -> None:
                server.should_exit = True
                await task
                listener.close()

            stack.push_async_callback(stop)
            http = await stack.enter_async_context(open_http())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            await http.get(f"{url}/healthz")
            return RunningService(url, app.state.service, database, http, tmp_path / "keys")

        yield start


def section(upstream: RecordingUpstream, name: str = "first", **fields: Any) -> ProviderSection:
    given = {"api_key_env": "TEST_KEY", "model": f"{name}-model", **fields}
    return ProviderSection(name=name, base_url=upstream.url, **given)
