"""Keeps this device and its group of one mind: tells the bridge what it lacks, and takes in what the others said.

One exchange carries a bounded batch each way and says what each side has, so it may be cut, repeated or lost
anywhere: the next one goes on from what is really there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import anyio.to_thread

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.protocol.sync import PATH, Exchange, Exchanged, KeyObject, Segment
from cloud_bridge.protocol.sync_json import encode_request
from edge_agent.feed import Feed
from edge_agent.privacy.vault import Vault
from edge_agent.sharing import Sharing
from edge_agent.state.state import State
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.membership import Membership
from edge_agent.state.sync.replica import Heard, Replica
from edge_agent.state.sync.standing import standing, untold
from edge_agent.state.times import iso

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""How often it is looked whether there is something new to tell, in seconds."""

LONGEST_WAIT_S = 300.0
BATCH_BYTES = 1024 * 1024
"""Of sealed bytes in one exchange, each way."""


class Client(Protocol):
    """The bridge, as it is spoken to about a group."""

    async def exchange(self, exchange: Exchange) -> Exchanged:
        """One exchange. Raises Problem."""


Clients = Callable[[], AbstractAsyncContextManager[Client]]
"""Opens the way to the bridge."""


@dataclass(slots=True)
class Synced:
    """What one reconciliation came to: events told, and taken in."""

    told: int = 0
    heard: int = 0
    exchanges: int = 0


class SyncWorker:
    """Runs as a task of the daemon; `once` is the same work, for someone who waits for it."""

    def __init__(
        self,
        *,
        state: State,
        replica: Replica,
        sharing: Sharing,
        vault: Vault,
        clients: Clients,
        url: str,
        feed: Feed,
        interval_s: float,
        trusts_clock: bool = False,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._state = state
        self._replica = replica
        self._sharing = sharing
        self._vault = vault
        self._clients = clients
        self._url = url.rstrip("/")
        self._feed = feed
        self._interval_s = interval_s
        self._trusts_clock = trusts_clock
        self._now = now
        self._sleep = sleep
        self._one_at_a_time = asyncio.Lock()
        self._told: int | None = None
        """Up to which number the bridge is known to have this device's own events."""

    async def run(self) -> None:
        """Reconcile soon after something was said here, and every `interval_s`, until cancelled."""
        failures, due = 0, 0.0
        while True:
            if time.monotonic() >= due or (not failures and await self._is_news()):
                wait_s = self._interval_s
                try:
                    await self.once()
                    failures = 0
                except Exception as error:  # noqa: BLE001 it is tried again, and said in the status
                    log.warning("not reconciled: %s", getattr(error, "code", type(error).__name__))
                    failures += 1
                    # Full jitter, so that devices that lost the same bridge do not come back all at once.
                    wait_s = random.uniform(LOOK_S, min(LONGEST_WAIT_S, LOOK_S * 2 ** min(failures, 16)))  # noqa: S311
                due = time.monotonic() + wait_s
            await self._sleep(LOOK_S)

    async def once(self) -> Synced:
        """Reconcile until neither side lacks anything. Nothing where this device is in no group.

        Raises Problem where that cannot be now; what was exchanged by then stays.
        """
        async with self._one_at_a_time:
            group = await anyio.to_thread.run_sync(memberships.load, self._state.log)
            if group is None:
                return Synced()
            try:
                if not self._trusts_clock:
                    await anyio.to_thread.run_sync(self._state.check_clock)
                async with self._clients() as client:
                    synced = await self._until_quiet(client, group)
            except Exception as error:
                await self._note(getattr(error, "code", type(error).__name__))
                raise
            await self._note(None)
            return synced

    async def status(self) -> dict[str, str | int | None] | None:
        """How far this device has come with its group; None where it is in none. `waiting` None: not known yet."""
        group = await anyio.to_thread.run_sync(memberships.load, self._state.log)
        if group is None:
            return None
        found = await anyio.to_thread.run_sync(standing, self._state.log)
        told = self._told
        return {
            "group": group.keys.id,
            "last_ok_at": None if found.last_ok_ms is None else iso(found.last_ok_ms),
            "last_error": found.last_error,
            "waiting": None if told is None else await anyio.to_thread.run_sync(untold, self._state.log, told),
        }

    async def _until_quiet(self, client: Client, group: Membership) -> Synced:
        synced, told = Synced(), _Telling()
        await anyio.to_thread.run_sync(self._replica.erase)
        through, gone = await anyio.to_thread.run_sync(self._replica.gone, group.keys)
        have = await anyio.to_thread.run_sync(self._replica.have)
        exchange = Exchange(group.keys.id, self._state.device, have, gone=tuple(gone), max_bytes=BATCH_BYTES)
        refused: Problem | None = None
        while True:
            try:
                answer = await self._exchange(client, exchange)
            except Unavailable as problem:
                if problem.code != "sync_quota" or not exchange.segments:
                    raise
                # Nothing was taken: what the others said is heard all the same.
                refused, exchange = problem, replace(exchange, segments=(), keys=())
                continue
            synced.exchanges += 1
            if answer.box is not None:
                group = await self._rekeyed(group, answer)
            heard, failure = await self._take(group, answer)
            synced.heard += heard
            told.check(answer.have, exchange.segments)
            before = exchange.have
            exchange, events = await self._next(group, answer, tells=refused is None)
            synced.told += events
            if not exchange.segments and (not answer.more or exchange.have == before):
                break
        refused = refused or failure
        if refused is not None:
            raise refused
        if through:
            await anyio.to_thread.run_sync(self._replica.told_gone, through)
        self._told = answer.have.get(self._state.device, 0)
        return synced

    async def _exchange(self, client: Client, exchange: Exchange) -> Exchanged:
        """One exchange. What leaves is in the ledger before it does."""
        if exchange.segments:
            departure = Departure("cloud-bridge", f"{self._url}{PATH}", encode_request(exchange))
            session_id = f"sync/{exchange.group}"
            await anyio.to_thread.run_sync(self._state.record_departure, session_id, None, departure)
        return await client.exchange(exchange)

    async def _next(self, group: Membership, answer: Exchanged, *, tells: bool) -> tuple[Exchange, int]:
        """The next batch of what the bridge lacks: others' first, since this device's may continue them."""
        have = await anyio.to_thread.run_sync(self._replica.have)
        segments: list[Segment] = []
        keys: dict[str, KeyObject] = {}
        events = size = 0
        own = self._state.device
        for origin in sorted(have, key=lambda each: (each == own, each)) if tells else ():
            after = answer.have.get(origin, 0)
            while size < BATCH_BYTES:
                stretch = await anyio.to_thread.run_sync(self._replica.stretch, origin, after)
                if stretch is None or not stretch.events:
                    break
                told = await self._sharing.told(stretch)
                segment, objects = await anyio.to_thread.run_sync(self._replica.seal, group.keys, stretch, told)
                segments.append(segment)
                keys.update((found.name, found) for found in objects)
                events += len(stretch.events)
                size += len(segment.sealed)
                after = stretch.through
        return (
            Exchange(
                group.keys.id,
                own,
                have,
                segments=tuple(segments),
                keys=tuple(keys.values()),
                max_bytes=BATCH_BYTES,
            ),
            events,
        )

    async def _take(self, group: Membership, answer: Exchanged) -> tuple[int, Problem | None]:
        """Take in what came; how much, and what kept some out. One device's events do not keep the others' out."""
        keys = {found.name: found for found in answer.keys}
        failed: dict[str, Problem] = {}
        taken = 0
        for segment in answer.segments:
            if segment.origin in failed:
                continue
            try:
                taken += await self._take_one(group, segment, keys)
            except Problem as problem:
                failed[segment.origin] = problem
        return taken, next(iter(failed.values()), None)

    async def _take_one(self, group: Membership, segment: Segment, keys: Mapping[str, KeyObject]) -> int:
        heard = await anyio.to_thread.run_sync(self._replica.open, group.keys, segment, keys)
        heard = await self._sharing.restored(heard)
        async with self._vault.held(each.event.session_id for each in heard):
            taken = await anyio.to_thread.run_sync(
                self._replica.take, segment.origin, segment.after, segment.through, heard
            )
        if not taken:
            return 0
        self._tell(heard)
        return len(heard)

    def _tell(self, heard: list[Heard]) -> None:
        for session_id in dict.fromkeys(each.event.session_id for each in heard):
            self._feed.publish("session", session_id=session_id)

    async def _rekeyed(self, group: Membership, answer: Exchanged) -> Membership:
        """With the newer group key that another device has sealed to this one."""
        box = answer.box
        if box is None:
            return group
        opened = await anyio.to_thread.run_sync(memberships.take_box, self._state.log, box.epoch, box.sealed)
        return opened or group

    async def _is_news(self) -> bool:
        """Whether something was said here that the bridge has not."""
        if self._told is None:
            return False
        try:
            stretch = await anyio.to_thread.run_sync(self._replica.stretch, self._state.device, self._told)
        except Problem:
            return False
        if stretch is not None and not stretch.events:
            self._told = stretch.through
        return stretch is not None and bool(stretch.events)

    async def _note(self, error: str | None) -> None:
        """Keep for `edge-agent sync status` what it came to."""
        values = {"last_error": error or ""}
        if error is None:
            values["last_ok_ms"] = str(int(self._now() * 1000))
        await anyio.to_thread.run_sync(self._replica.note, values)


class _Telling:
    """Notices a bridge that takes nothing of what it is told: to go on would never end."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, int], int] = {}

    def check(self, have: Mapping[str, int], segments: tuple[Segment, ...]) -> None:
        """Raise Unavailable "sync_stuck" where the same stretch was sent several times and is not there."""
        for segment in segments:
            if have.get(segment.origin, 0) >= segment.through:
                continue
            stretch = (segment.origin, segment.after)
            self._sent[stretch] = self._sent.get(stretch, 0) + 1
            if self._sent[stretch] > 2:
                raise Unavailable(
                    "The bridge does not take what it is told.",
                    code="sync_stuck",
                    hint="Look at the bridge's log; this device tries again later.",
                )
