"""Devices of one person over real homes, and a bridge between them that a test can cut, duplicate and lose."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Unavailable
from cloud_bridge.protocol.sync import Exchange, Exchanged, KeyObject, Segment
from cloud_bridge.protocol.sync_json import decode_exchanged, decode_request, encode_exchanged, encode_request
from edge_agent.feed import Feed
from edge_agent.privacy.adopted import adoptable
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.privacy.spans import Span
from edge_agent.privacy.vault import Vault
from edge_agent.reconciliation import Parts, Synced
from edge_agent.sharing import Sharing
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.state.sync import membership
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.membership import Membership
from edge_agent.state.sync.replica import Replica
from edge_agent.sync_worker import SyncWorker

PEOPLE = re.compile(r"Ada Lovelace|Alan Turing|Grace Hopper|078-05-1120")


class Detector:
    """Finds a few names: what finds names is tested elsewhere."""

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        return [
            Span(found.start(), found.end(), "US_SSN" if found[0][0] == "0" else "PERSON", 1.0)
            for found in PEOPLE.finditer(text)
        ]


class MemoryBridge:
    """Keeps what it is given, as the service does; through the real encoding, both ways."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.keys: dict[str, KeyObject] = {}
        self.gone: set[str] = set()
        self.seen: list[bytes] = []
        self.is_cut = False
        self.loses_answers = 0
        self.is_full = False

    def have(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for segment in self.segments:
            found[segment.origin] = max(found.get(segment.origin, 0), segment.through)
        return found

    async def exchange(self, exchange: Exchange) -> Exchanged:
        if self.is_cut:
            raise Unavailable("cut", code="cloud_unreachable")
        if self.is_full and exchange.segments:
            raise Unavailable("full", code="sync_quota")
        body = encode_request(exchange)
        self.seen.append(body)
        answer = self._answer(decode_request(body))
        if self.loses_answers:
            self.loses_answers -= 1
            raise Unavailable("lost", code="cloud_unreachable")
        return decode_exchanged(encode_exchanged(answer))

    def _answer(self, exchange: Any) -> Exchanged:
        self.gone |= set(exchange.gone)
        for key in exchange.keys:
            if key.subject not in self.gone:
                self.keys.setdefault(key.name, key)
        self.keys = {name: key for name, key in self.keys.items() if key.subject not in self.gone}
        for segment in exchange.segments:
            if segment.after <= self.have().get(segment.origin, 0) < segment.through:
                self.segments.append(segment)
        lacking = [s for s in self.segments if s.through > exchange.have.get(s.origin, 0)]
        some, size = [], 0
        for segment in lacking:
            if some and size + len(segment.sealed) > exchange.max_bytes:
                break
            some.append(segment)
            size += len(segment.sealed)
        names = {name for segment in some for name in segment.keys}
        keys = tuple(key for name, key in self.keys.items() if name in names)
        return Exchanged(self.have(), tuple(some), keys, (), len(some) < len(lacking))


class Device:
    """One device: its state, and what reconciles it."""

    def __init__(
        self, home: Path, bridge: Any, keys: GroupKeys, *, clock: Any = None, never: Iterable[str] = ()
    ) -> None:
        self.home, self.bridge, self.never = home, bridge, frozenset(never)
        self.clock = clock
        self._open()
        membership.save(self.state.log, Membership(keys, "http://bridge"))

    def _open(self) -> None:
        options = {} if self.clock is None else {"now": self.clock}
        self.state = State.open(self.home / "state.db", HomeKey(self.home).open(), owner=True, **options)
        vault, detector = Vault(self.state), Detector()
        self.replica = Replica(self.state.log, adoptable)
        sharing = Sharing(
            state=self.state,
            detector=detector,  # type: ignore[arg-type]
            vault=vault,
            check=SecondCheck(),
            never_leave=self.never,
        )
        parts = Parts(self.state, self.replica, sharing, vault, Feed(), "http://bridge")
        self.worker = SyncWorker(parts, self._client, interval_s=1, trusts_clock=True)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        yield self.bridge

    async def sync(self) -> Synced:
        return await self.worker.once()

    def restart(self) -> None:
        self.state.close()
        self._open()

    def ask(
        self, session_id: str, *texts: str, answer: str | None = None, provisional: bool = False
    ) -> tuple[str, Any]:
        """One turn: the whole history as a client sends it, and what was answered."""
        messages = [
            {
                "role": "assistant" if index % 2 else "user",
                "name": None,
                "parts": [{"type": "text", "text": text}],
            }
            for index, text in enumerate(texts)
        ]
        request = self.state.accept_request(session_id, {"messages": messages, "tools": []})
        if answer is None:
            return request, None
        report = {
            "decision_id": self.state.new_id(),
            "session_id": session_id,
            "route": "local",
            "cost_usd": 0.0,
            "provisional": provisional,
        }
        return request, self.state.finish_request(request, answer, report)

    def shown(self) -> dict[str, Any]:
        """All sessions as a person sees them, but for what is each device's own."""
        return {
            summary.id: [
                (
                    turn.id,
                    turn.parent,
                    turn.branch,
                    [part["text"] for message in turn.messages for part in message["parts"]],
                    [(answer.id, answer.text, answer.provisional, answer.revises) for answer in turn.answers],
                )
                for turn in self.state.session(summary.id).turns
            ]
            for summary in self.state.sessions()
        }
