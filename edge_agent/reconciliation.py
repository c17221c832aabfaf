"""One reconciliation of this device with its group, until neither side lacks anything.

One exchange carries a bounded batch each way and says what each side has, so it may be cut, repeated or lost
anywhere: the next one goes on from what is really there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import anyio.to_thread

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.protocol.sync import MAX_KEYS, MAX_NUMBER, PATH, Exchange, Exchanged, KeyObject, Segment
from cloud_bridge.protocol.sync_json import encode_request
from edge_agent.feed import Feed
from edge_agent.group import ExchangingBridge
from edge_agent.privacy.vault import Vault
from edge_agent.sharing import Sharing
from edge_agent.state.log import SYNC
from edge_agent.state.state import State
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.exchanged import Heard
from edge_agent.state.sync.membership import Membership
from edge_agent.state.sync.replica import MAX_EVENTS, Replica

BATCH_BYTES = 1024 * 1024
"""Of sealed bytes in one exchange, each way."""

_PATIENCE = 2
"""How often a bridge may not take the same stretch before it is given up for now."""


@dataclass(slots=True)
class Synced:
    """What it came to: events told and taken in, and in how many exchanges."""

    told: int = 0
    heard: int = 0
    exchanges: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a reconciliation works with. `url`: the bridge's, for the ledger."""

    state: State
    replica: Replica
    sharing: Sharing
    vault: Vault
    feed: Feed
    url: str


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the bridge lacks: some of it."""

    segments: tuple[Segment, ...] = ()
    keys: tuple[KeyObject, ...] = ()
    events: int = 0


class Reconciliation:
    """Good for one `run`."""

    def __init__(self, parts: Parts, bridge: ExchangingBridge, group: Membership, *, tells: bool = True) -> None:
        """`tells` False: only what others said is taken in."""
        self._tells = tells
        self._parts = parts
        self._bridge = bridge
        self._group = group
        self._synced = Synced()
        self.bridge_has: Mapping[str, int] = {}
        """Up to which number the bridge has each origin's events, as of its newest answer."""
        self._failed: dict[str, Problem] = {}
        """Origins that nothing more is asked of in this run."""
        self._early: set[str] = set()
        """Origins whose next events need others' first."""
        self._certain = True
        self._moved = False
        self._refused: Problem | None = None
        self._not_taken: dict[tuple[str, int], int] = {}

    async def run(self) -> Synced:
        """Reconcile. Raises Problem where some of it cannot be now; what was exchanged by then stays.

        One device's events that cannot be taken in do not keep the others' out, nor this device's from being told.
        """
        replica = self._parts.replica
        await anyio.to_thread.run_sync(replica.erase)
        batch, is_first = _Batch(), True
        while True:
            through, gone = await anyio.to_thread.run_sync(replica.gone, self._group.keys)
            claims = await self._claims()
            answer = await self._exchange(claims, batch, gone)
            if answer is None:
                batch = _Batch()
                continue
            has_lost = is_first and answer.have.get(self._parts.state.device, 0) < claims[self._parts.state.device]
            is_first = False
            if has_lost or through:  # a bridge from a backup may have lost what was forgotten, too
                await anyio.to_thread.run_sync(replica.told_gone, 0 if has_lost else through)
            await self._take(answer)
            batch = await self._batch(answer.have) if self._tells and not self._refused else _Batch()
            is_going_on = batch.segments or gone or has_lost or (answer.more and await self._claims() != claims)
            if not is_going_on and not self._try_early():
                break
        problem = self._refused or next(iter(self._failed.values()), None)
        if problem is not None:
            raise problem
        return self._synced

    async def _claims(self) -> dict[str, int]:
        """What is said to be here: of origins that are passed over for now, everything."""
        claims = await anyio.to_thread.run_sync(self._parts.replica.claims)
        return claims | dict.fromkeys((*self._failed, *self._early), MAX_NUMBER)

    async def _exchange(self, claims: Mapping[str, int], batch: _Batch, gone: Iterable[str]) -> Exchanged | None:
        """One exchange; None where the bridge has no room for the batch: what others said is heard all the same."""
        exchange = Exchange(
            self._group.keys.id,
            self._parts.state.device,
            claims,
            segments=batch.segments,
            keys=batch.keys,
            gone=tuple(gone),
            max_bytes=BATCH_BYTES,
        )
        if batch.segments:
            await self._record(exchange)
        try:
            answer = await self._bridge.exchange(exchange)
        except Unavailable as problem:
            if problem.code != "sync_quota" or not batch.segments:
                raise
            self._refused = problem
            return None
        self._synced.exchanges += 1
        self.bridge_has = answer.have
        self._check_taken(batch)
        box = answer.box
        if box is not None and box.epoch > self._group.keys.epoch:
            opened = await anyio.to_thread.run_sync(memberships.take_box, self._parts.state.log, box.epoch, box.sealed)
            self._group = opened or self._group
        return answer

    async def _record(self, exchange: Exchange) -> None:
        """Enter what leaves into the ledger before it does.

        Without the key objects: this device has the group's key, and could read what was forgotten by them for ever.
        """
        body = encode_request(exchange)
        kept = encode_request(replace(exchange, keys=()))
        digest = hashlib.sha256(body).hexdigest()
        note = {"sha256": digest, "bytes": len(body), "left_out": [key.name for key in exchange.keys]}
        departure = Departure(
            "cloud-bridge", self._parts.url.rstrip("/") + PATH, json.dumps(note).encode() + b"\n" + kept
        )
        state = self._parts.state
        await anyio.to_thread.run_sync(state.record_departure, f"{SYNC}{exchange.group}", None, departure)
        own = [segment.through for segment in exchange.segments if segment.origin == state.device]
        if own:
            await anyio.to_thread.run_sync(self._parts.replica.tell, max(own))

    def _check_taken(self, batch: _Batch) -> None:
        """Raise Unavailable "sync_stuck" where the same stretch is sent again and again and is not there."""
        taken = True
        for segment in batch.segments:
            if self.bridge_has.get(segment.origin, 0) >= segment.through:
                continue
            taken = False
            stretch = (segment.origin, segment.after)
            self._not_taken[stretch] = self._not_taken.get(stretch, 0) + 1
            if self._not_taken[stretch] > _PATIENCE:
                raise Unavailable(
                    "The bridge does not take what it is told.",
                    code="sync_stuck",
                    hint="Look at the bridge's log; this device tries again later.",
                )
        if taken:
            self._synced.told += batch.events

    async def _batch(self, bridge_has: Mapping[str, int]) -> _Batch:
        """The next of what the bridge lacks: others' first, since this device's may continue them."""
        replica, own = self._parts.replica, self._parts.state.device
        have = await anyio.to_thread.run_sync(replica.have)
        if own in self._failed or bridge_has.get(own, 0) > (await self._claims())[own]:
            del have[own]  # this home is from a backup: what it had told comes back first
        segments: list[Segment] = []
        keys: dict[str, KeyObject] = {}
        events = size = 0
        for origin in sorted(have, key=lambda each: (each == own, each)):
            after = bridge_has.get(origin, 0)
            while size < BATCH_BYTES and len(keys) + MAX_EVENTS <= MAX_KEYS:
                stretch = await anyio.to_thread.run_sync(replica.stretch, origin, after)
                if stretch is None or not stretch.events:
                    break
                told = await self._parts.sharing.told(stretch)
                segment, objects = await anyio.to_thread.run_sync(replica.seal, self._group.keys, stretch, told)
                segments.append(segment)
                keys.update((each.name, each) for each in objects)
                events += len(stretch.events)
                size += len(segment.sealed) + sum(len(each.sealed) for each in objects)
                after = stretch.through
        return _Batch(tuple(segments), tuple(keys.values()), events)

    async def _take(self, answer: Exchanged) -> None:
        """Take in what came, as far as it can be."""
        keys = {found.name: found for found in answer.keys}
        for segment in answer.segments:
            if segment.origin in self._failed or segment.origin in self._early:
                continue
            try:
                await self._take_one(segment, keys)
            except Problem as problem:
                self._failed[segment.origin] = problem

    async def _take_one(self, segment: Segment, keys: Mapping[str, KeyObject]) -> None:
        replica, sharing = self._parts.replica, self._parts.sharing
        heard = await anyio.to_thread.run_sync(replica.open, self._group.keys, segment, keys)
        heard = await sharing.restored(heard)
        async with self._parts.vault.held(each.event.session_id for each in heard):
            outcome = await anyio.to_thread.run_sync(
                lambda: replica.take(segment.origin, segment.after, segment.through, heard, certain=self._certain)
            )
        if outcome == "early":
            self._early.add(segment.origin)
        elif outcome == "taken":
            self._moved = True
            self._synced.heard += len(heard)
            self._tell(heard)

    def _try_early(self) -> bool:
        """Whether what came too early is worth another try: others' have come since, or none will.

        In the end it is taken without what it needs, which the bridge has lost or keeps to itself.
        """
        if not self._early or not (self._moved or self._certain):
            return False
        self._certain = self._moved
        self._moved = False
        self._early.clear()
        return True

    def _tell(self, heard: list[Heard]) -> None:
        for session_id in dict.fromkeys(each.event.session_id for each in heard):
            self._parts.feed.publish("session", session_id=session_id)
