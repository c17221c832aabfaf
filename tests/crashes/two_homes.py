"""Two devices of one person, their bridge and a provider in one process: each may be cut off, and killed in mid-call.

Homes, states, workers, the bridge's service and what they say to each other are the real ones; requests reach the
bridge through ASGI, by way of a transport that loses, repeats, delays and cuts them. The provider is an HTTP server.
A killed process is its files as they were at that moment, opened anew.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from cloud_bridge.database import BridgeDatabase
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.http import build_app
from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import Escalation, conversation_from_json, conversation_to_json
from cloud_bridge.protocol.problems import NotFound, Problem
from cloud_bridge.remote import RemoteBridge
from cloud_bridge.service import Service, running
from cloud_bridge.settings import BridgeSettings, ProviderSection
from cloud_bridge.sync_client import SyncClient
from edge_agent.answer_cache import AnswerCache, CacheRules
from edge_agent.escalate import Escalator, Rules
from edge_agent.feed import Feed
from edge_agent.group import Group
from edge_agent.outbox_worker import OutboxWorker
from edge_agent.privacy.mask import mask
from edge_agent.privacy.spans import Span
from edge_agent.state import projection
from edge_agent.state.session_view import TurnView
from tests.crashes.counting import CountingUpstream
from tests.state.two_devices import Device

URL = "http://bridge"
NAME = re.compile(r"Nora Quill\d+")


class Names:
    """Finds the planted names: what finds names is tested elsewhere."""

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        return [Span(found.start(), found.end(), "PERSON", 1.0) for found in NAME.finditer(text)]


class Files:
    """A database's files as they are at a moment; `put_back` is what a process finds that starts after a kill then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = {
            file: file.read_bytes() for file in path.parent.glob(f"{path.name}*") if not file.name.endswith("-shm")
        }

    def put_back(self) -> None:
        for file in self._path.parent.glob(f"{self._path.name}*"):
            file.unlink()
        for file, content in self._content.items():
            file.write_bytes(content)


class BridgeHome:
    """The bridge's service over its file. `dies_at_call`: in the middle of its next call of the provider."""

    def __init__(self, path: Path, upstream: CountingUpstream) -> None:
        self.path = path
        self._upstream = upstream
        self._stack = AsyncExitStack()
        self.app = build_app(lambda: self._stack)
        self.dies_at_call = False
        self.left: Files | None = None
        upstream.on_call = self._called

    @property
    def service(self) -> Service:
        found: Service = self.app.state.service
        return found

    async def start(self) -> None:
        self._stack = AsyncExitStack()
        provider = ProviderSection(name="first", base_url=self._upstream.url, api_key_env="KEY", model="big")
        self.database = BridgeDatabase(self.path)
        self._stack.callback(self.database.close)
        service = running(BridgeSettings(providers=(provider,)), self.database, environ={"KEY": "sk-0123456789"})
        self.app.state.service = await self._stack.enter_async_context(service)

    def kill(self) -> None:
        """Dead from now on; nothing that it still does is on record."""
        self.left = self.left or Files(self.path)

    async def restart(self) -> None:
        """As after a kill: of now, where it was not killed before."""
        self.kill()
        await self.stop()
        if self.left is not None:
            self.left.put_back()
        self.left, self.dies_at_call = None, False
        await self.start()

    async def stop(self) -> None:
        await self._stack.aclose()

    def _called(self) -> None:
        if self.dies_at_call:
            self.kill()


@dataclass(eq=False)
class Wire(httpx.AsyncBaseTransport):
    """Carries one device's requests, each to its fate: `fates` in turn, then all arrive."""

    bridge: BridgeHome
    is_cut: bool = False
    fates: list[str] = field(default_factory=list)
    late: list[httpx.Request] = field(default_factory=list)
    watch: Callable[[str], None] = lambda _: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        request = httpx.Request(request.method, request.url, headers=request.headers, content=content)
        fate = self.fates.pop(0) if self.fates else "arrives"
        self.watch("before")
        if self.is_cut or fate == "lost":
            raise httpx.ConnectError("lost")
        if fate == "late":
            self.late.append(request)
            raise httpx.ReadTimeout("late")
        answer = await self._carry(request)
        self.watch("after")
        if fate == "twice":
            await self._carry(request)
        if fate == "answer lost":
            raise httpx.ReadError("lost")
        if fate == "answer cut":
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content[:-7])
        return answer

    async def deliver_late(self) -> None:
        """What was held up arrives, in the wrong order, and nobody waits for the answers."""
        while self.late and not self.is_cut:
            with suppress(httpx.TransportError):
                await self._carry(self.late.pop())

    async def _carry(self, request: httpx.Request) -> httpx.Response:
        if self.bridge.left is not None:
            raise httpx.ConnectError("the bridge is dead")
        again = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        answer = await httpx.ASGITransport(self.bridge.app, raise_app_exceptions=False).handle_async_request(again)
        content = await answer.aread()
        if self.bridge.left is not None:
            raise httpx.ReadError("the bridge died")
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx.Response(answer.status_code, headers=headers, content=content)


class Home(Device):
    """A device with an outbox, and a clock of its own for what it records, `ahead_s` of the true one.

    It signs by the true one: a bridge refuses signatures of another time, and nothing more would happen.
    """

    def __init__(self, home: Path, name: str, bridge: BridgeHome) -> None:
        self.home, self.name, self.never = home, name, frozenset()
        self.ahead_s = 0.0
        self.clock = lambda: time.time() + self.ahead_s
        self.wire = Wire(bridge)
        self._ticks = count()
        self.key = DeviceKey.load_or_create(home / "keys" / "device.key")
        bridge.service.devices.enroll(name, self.key.public_id)
        self._open()

    def _open(self) -> None:
        super()._open()
        detector: Any = Names()
        self.detector = self.worker._parts.sharing._detector = detector
        self.vault = self.worker._parts.vault
        http = httpx.AsyncClient(transport=self.wire)
        self.client = SyncClient(URL, self.key, http)
        self.remote = RemoteBridge(URL, self.key, http, clock=lambda: 10.0 * next(self._ticks))
        escalator = Escalator(
            detector=detector,
            vault=self.vault,
            bridge=self.remote,
            state=self.state,
            cache=AnswerCache(self.state, CacheRules(exact=False)),
            rules=Rules(trusts_clock=True),
        )
        self.outbox = OutboxWorker(state=self.state, escalator=escalator, feed=Feed(), now=self.clock)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        yield self.client

    @property
    def group(self) -> Group:
        return Group(self.state.log, self.client, URL)

    def kill(self, left: Files | None = None) -> None:
        """End as if killed when its files were `left` (now), and start again."""
        left = left or Files(self.home / "state.db")
        self.state.close()
        left.put_back()
        self._open()

    async def killed_in(self, moment: str, work: Callable[[], Any]) -> None:
        """Do it, be killed at its first request, `before` or `after` the bridge had it, and start again."""
        found: list[Files] = []

        def watch(now: str) -> None:
            if now == moment and not found:
                found.append(Files(self.home / "state.db"))

        self.wire.watch = watch
        with suppress(Problem):
            await work()
        self.wire.watch = lambda _: None
        self.kill(found[0] if found else None)

    def forgotten_at(self, session_id: str) -> str:
        """Which forgetting of the session it knows of: an event's id, or ""."""
        with self.state.log.reading() as tx:
            return projection.forgotten_at(tx.db, session_id)

    def accept(self, session_id: str, history: list[Any], question: str) -> tuple[str, Conversation]:
        """Take a request that continues `history`."""
        message = {"role": "user", "name": None, "parts": [{"type": "text", "text": question}]}
        conversation = {**conversation_to_json(Conversation(())), "messages": [*history, message]}
        return self.state.accept_request(session_id, conversation), conversation_from_json(conversation)

    def answer_here(self, request_id: str, session_id: str, text: str, decision_id: str, *, provisional: bool) -> None:
        """Record a local answer."""
        report = {"decision_id": decision_id, "session_id": session_id, "route": "local", "provisional": provisional}
        self.state.finish_request(request_id, text, {**report, "cost_usd": 0.0})

    async def queue(self, request_id: str, session_id: str, conversation: Conversation, decision_id: str) -> str:
        """Mask and queue the request, as an agent does; returns the job's id. `release` lets it go."""
        masked = await mask(conversation, detector=self.detector, vault=self.vault, session_id=session_id)
        escalation = Escalation(masked.masked, decision_id, session_id, "")
        job = self.state.enqueue(
            escalation, "cloud_unreachable", request_id=request_id, decision_id=decision_id, sending=True
        )
        return job.id

    def turns(self, session_id: str) -> Sequence[TurnView]:
        """The session's turns; none where it is not there."""
        try:
            return self.state.session(session_id).turns
        except NotFound:
            return ()

    def history_to(self, session_id: str, number: int) -> list[Any]:
        """The messages up to the newest answer of one of the session's turns, as a client has them; [] for none."""
        turns = self.turns(session_id)
        answered = [turn for turn in turns if turn.answers]
        if not answered:
            return []
        by_answer = {answer.id: (turn, answer) for turn in turns for answer in turn.answers}
        turn = answered[number % len(answered)]
        answer = turn.answers[-1]
        messages: list[Any] = []
        while True:
            messages = [*turn.messages, answer.message, *messages]
            if turn.parent is None or turn.parent not in by_answer:
                return messages
            turn, answer = by_answer[turn.parent]


@asynccontextmanager
async def two_homes(folder: Path) -> AsyncIterator[tuple[Home, Home, BridgeHome, CountingUpstream]]:
    """Two devices in one group, each enrolled at the bridge."""
    shutil.rmtree(folder, ignore_errors=True)
    async with CountingUpstream() as upstream:
        (folder / "bridge").mkdir(parents=True)
        bridge = BridgeHome(folder / "bridge" / "bridge.db", upstream)
        await bridge.start()
        one, other = (Home(folder / name, name, bridge) for name in ("laptop", "phone"))
        try:
            await one.group.start()
            await other.group.join(await one.group.invite(1))
            yield one, other, bridge, upstream
        finally:
            for device in (one, other):
                device.state.close()
            await bridge.stop()
