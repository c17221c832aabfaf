"""Everything that one serving bridge is made of. The only place that builds it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio.to_thread

from cloud_bridge.audit import AuditLog
from cloud_bridge.bridge import Bridge
from cloud_bridge.database import BridgeDatabase
from cloud_bridge.devices import DeviceRegistry
from cloud_bridge.groups import Groups
from cloud_bridge.outbound import open_http
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.providers.provider import Provider
from cloud_bridge.segments import SegmentStore
from cloud_bridge.settings import BridgeSettings
from cloud_bridge.store import CallStore

log = logging.getLogger(__name__)

PURGE_EVERY_S = 600.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running bridge. `now` is Unix time in seconds."""

    settings: BridgeSettings
    bridge: Bridge
    store: CallStore
    devices: DeviceRegistry
    audit: AuditLog
    groups: Groups
    segments: SegmentStore
    now: Callable[[], float]


@asynccontextmanager
async def running(
    settings: BridgeSettings,
    database: BridgeDatabase,
    *,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[Service]:
    """A service over an open database, which the caller closes."""
    store = CallStore(database, retention_hours=settings.store.retention_hours, now=now)
    groups = Groups(database, now=now)
    async with open_http() as http:
        providers = [Provider(config, http, environ=environ) for config in settings.provider_configs()]
        bridge = Bridge(providers, store, keeps_calls=True)
        purging = asyncio.create_task(_purge(store))
        try:
            yield Service(
                settings,
                bridge,
                store,
                DeviceRegistry(database, now=now),
                AuditLog(database, now=now),
                groups,
                SegmentStore(database, groups, quota_bytes=settings.sync.quota_bytes),
                now,
            )
        finally:
            purging.cancel()
            with suppress(asyncio.CancelledError):
                await purging
            await bridge.close()


async def _purge(store: CallStore) -> None:
    """Retention holds also where nobody calls."""
    while True:
        await asyncio.sleep(PURGE_EVERY_S)
        try:
            await anyio.to_thread.run_sync(store.purge)
        except Problem as problem:
            log.error("old answers could not be deleted: %s", problem.code)
