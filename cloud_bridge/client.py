"""How a device reaches the cloud: through its own bridge, through one elsewhere, or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cloud_bridge.protocol.envelope import Departure, Escalation
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.problems import Unavailable
from cloud_bridge.protocol.residency import Residency, allows
from cloud_bridge.reachability import Reachability, any_of

if TYPE_CHECKING:
    from cloud_bridge.bridge import Bridge
    from cloud_bridge.providers.config import ProviderConfig
    from cloud_bridge.providers.provider import OnDeparture
    from cloud_bridge.remote import RemoteBridge


SILENCE_S = 35.0
"""A bridge that lives is heard every ten seconds."""


class BridgeClient(Protocol):
    """What the device's agent speaks to. `configured`: escalating could ever work."""

    @property
    def configured(self) -> bool:
        """Whether there is anybody to ask, reachable or not."""

    def escalate(self, escalation: Escalation, on_departure: OnDeparture | None = None) -> AsyncGenerator[Event]:
        """`Served`, then the answer's events, `Finish` last. `on_departure` is awaited before any bytes leave.

        Raises Unavailable: "cloud_unreachable" where nobody answers, "provider_cut" or "bridge_cut" where the
        answer stops half-way. Closing the iterator early is allowed.
        """

    def preview(self, escalation: Escalation) -> Departure:
        """Exactly what would leave the device. Sends nothing. Raises Unavailable where there is nobody."""

    def serves(self, residency: Residency | None) -> bool:
        """Whether somebody may be asked under `residency`, as far as this device knows."""

    async def reachable(self) -> bool:
        """Whether a call could work now, as of a few seconds ago at most."""

    async def close(self) -> None:
        """Give up the calls that run."""


class EmbeddedBridge:
    """The bridge's own code inside the device."""

    def __init__(self, bridge: Bridge, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bridge = bridge
        self._reachability = Reachability(self._probe, clock=clock)

    @property
    def configured(self) -> bool:
        """Whether a provider is configured."""
        return bool(self._bridge.providers)

    def escalate(self, escalation: Escalation, on_departure: OnDeparture | None = None) -> AsyncGenerator[Event]:
        """Through the providers. Closing the iterator cancels the call."""
        return self._bridge.escalate(escalation, on_departure)

    def preview(self, escalation: Escalation) -> Departure:
        """What the first provider would get."""
        return self._bridge.preview(escalation)

    def serves(self, residency: Residency | None) -> bool:
        """Whether a provider is in one of these regions."""
        return any(allows(residency, provider.config.region) for provider in self._bridge.providers)

    async def reachable(self) -> bool:
        """Whether one provider's address answers and there is a key for it."""
        return await self._reachability.now()

    async def close(self) -> None:
        """Cancel what runs. The store and the HTTP client stay whoever's they are."""
        await self._bridge.close()

    async def _probe(self) -> bool:
        return await any_of([provider.reachable() for provider in self._bridge.providers])


class BridgeOff:
    """A device that never escalates."""

    configured = False

    async def escalate(
        self,
        escalation: Escalation,  # noqa: ARG002 - the protocol's signature
        on_departure: OnDeparture | None = None,  # noqa: ARG002 - the protocol's signature
    ) -> AsyncGenerator[Event]:
        """Raises Unavailable code "cloud_unreachable"."""
        raise _off()
        yield  # makes this a generator

    def preview(self, escalation: Escalation) -> Departure:  # noqa: ARG002 - the protocol's signature
        """Raises Unavailable code "cloud_unreachable"."""
        raise _off()

    def serves(self, residency: Residency | None) -> bool:  # noqa: ARG002 - the protocol's signature
        """Nobody."""
        return False

    async def reachable(self) -> bool:
        """Never."""
        return False

    async def close(self) -> None:
        """Nothing runs."""


@asynccontextmanager
async def embedded_bridge(
    configs: Iterable[ProviderConfig], store_path: Path, *, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[EmbeddedBridge]:
    """An embedded bridge with its HTTP client and its store of masked answers, all closed at the end."""
    # Slow, and a device without a cloud needs none of it.
    from cloud_bridge.bridge import Bridge  # noqa: PLC0415
    from cloud_bridge.outbound import open_http  # noqa: PLC0415
    from cloud_bridge.providers.provider import Provider  # noqa: PLC0415
    from cloud_bridge.store import CallStore  # noqa: PLC0415

    with closing(CallStore.open(store_path)) as store:
        async with open_http() as http:
            bridge = EmbeddedBridge(Bridge([Provider(config, http, environ=environ) for config in configs], store))
            try:
                yield bridge
            finally:
                await bridge.close()


@asynccontextmanager
async def remote_bridge(url: str, key_path: Path) -> AsyncIterator[RemoteBridge]:
    """A bridge elsewhere, with its HTTP client and this device's key, which is made where there is none."""
    from cloud_bridge.device_key import DeviceKey  # noqa: PLC0415 as above
    from cloud_bridge.outbound import open_http  # noqa: PLC0415
    from cloud_bridge.remote import RemoteBridge  # noqa: PLC0415

    key = DeviceKey.load_or_create(key_path)
    async with open_http(read_s=SILENCE_S) as http:
        yield RemoteBridge(url, key, http)


def _off() -> Unavailable:
    return Unavailable(
        "This device never asks the cloud.",
        code="cloud_unreachable",
        hint='Set mode = "embedded" or "remote" in the [bridge] section of config.toml.',
    )
