"""Keeps this device and its group of one mind: tells the bridge what it lacks, and takes in what the others said.

One exchange carries a bounded batch each way and says what each side has, so it may be cut, repeated or lost
anywhere: the next one goes on from what is really there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import anyio.to_thread

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.group import ExchangingBridge
from edge_agent.reconciliation import Parts, Reconciliation, Synced
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.membership import Membership
from edge_agent.state.sync.standing import standing, untold
from edge_agent.state.times import iso

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""How often it is looked whether there is something new to tell, in seconds."""

LONGEST_WAIT_S = 300.0
FULL_S = 3600.0
"""How long nothing is told to a bridge that had no room, in seconds; what others said is taken in."""

Clients = Callable[[], AbstractAsyncContextManager[ExchangingBridge]]
"""Opens the way to the bridge."""


class SyncWorker:
    """Runs as a task of the daemon; `once` is the same work, for someone who waits for it."""

    def __init__(
        self,
        parts: Parts,
        clients: Clients,
        *,
        interval_s: float,
        trusts_clock: bool = False,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._clients = clients
        self._interval_s = interval_s
        self._trusts_clock = trusts_clock
        self._now = now
        self._sleep = sleep
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._full: tuple[Unavailable, float] | None = None
        self._told: int | None = None
        """Up to which number the bridge is known to have this device's own events."""

    async def run(self) -> None:
        """Reconcile soon after something was said here, and every `interval_s`, until cancelled."""
        failures, due = 0, 0.0
        while True:
            try:
                if self._clock() >= due or (not failures and await self._is_news()):
                    await self.once()
                    failures, due = 0, self._clock() + self._interval_s
            except Exception as error:  # noqa: BLE001 it is tried again, and said in the status
                log.warning("not reconciled: %s", getattr(error, "code", type(error).__name__))
                failures += 1
                # Full jitter, so that devices that lost the same bridge do not come back all at once.
                longest_s = min(LONGEST_WAIT_S, LOOK_S * 2 ** min(failures, 16))
                due = self._clock() + random.uniform(LOOK_S, longest_s)  # noqa: S311
            await self._sleep(LOOK_S)

    async def once(self) -> Synced:
        """Reconcile until neither side lacks anything. Nothing where this device is in no group.

        Raises Problem where that cannot be now; what was exchanged by then stays.
        """
        async with self._one_at_a_time:
            group = await anyio.to_thread.run_sync(memberships.load, self._parts.state.log)
            if group is None:
                return Synced()
            try:
                if not self._trusts_clock:
                    await anyio.to_thread.run_sync(self._parts.state.check_clock)
                async with self._clients() as bridge:
                    synced = await self._reconciled(bridge, group)
            except Exception as error:
                await self._note(getattr(error, "code", type(error).__name__))
                raise
            await self._note(None)
            return synced

    async def _reconciled(self, bridge: ExchangingBridge, group: Membership) -> Synced:
        # A batch that the bridge has no room for would be in the ledger once more each time.
        is_full = self._full is not None and self._clock() < self._full[1]
        reconciliation = Reconciliation(self._parts, bridge, group, tells=not is_full)
        try:
            synced = await reconciliation.run()
            if is_full and self._full is not None:
                raise self._full[0]
            self._full = None
            return synced
        except Unavailable as problem:
            if problem.code == "sync_quota" and not is_full:
                self._full = (problem, self._clock() + FULL_S)
            raise
        finally:
            # Also where something failed: what is said here is told no later for it.
            self._told = reconciliation.bridge_has.get(self._parts.state.device, self._told or 0)

    async def status(self) -> dict[str, str | int | None] | None:
        """How far this device has come with its group; None where it is in none. `waiting` None: not known yet."""
        group = await anyio.to_thread.run_sync(memberships.load, self._parts.state.log)
        if group is None:
            return None
        found = await anyio.to_thread.run_sync(standing, self._parts.state.log)
        told = self._told
        return {
            "group": group.keys.id,
            "last_ok_at": None if found.last_ok_ms is None else iso(found.last_ok_ms),
            "last_error": found.last_error,
            "left_out": found.left_out,
            "waiting": None if told is None else await anyio.to_thread.run_sync(untold, self._parts.state.log, told),
        }

    async def _is_news(self) -> bool:
        """Whether something was said here that the bridge has not."""
        told = self._told
        return told is not None and await anyio.to_thread.run_sync(untold, self._parts.state.log, told) > 0

    async def _note(self, error: str | None) -> None:
        """Keep for `edge-agent sync status` what it came to."""
        values = {"last_error": error or ""}
        if error is None:
            values["last_ok_ms"] = str(int(self._now() * 1000))
        await anyio.to_thread.run_sync(self._parts.replica.note, values)
