"""How a device is reconciled with the others of its group, at a `cloud-bridge serve` elsewhere."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from cloud_bridge.client import SILENCE_S
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.link import BridgeLink, read_limited, unreachable, unreadable
from cloud_bridge.outbound import open_http
from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from cloud_bridge.protocol.sync import (
    PATH,
    Exchange,
    Exchanged,
    Found,
    Invite,
    Join,
    Joined,
    Leave,
    Member,
    Remove,
    Request,
)
from cloud_bridge.protocol.sync_json import decode_exchanged, decode_joined, decode_members, encode_request

Answer = TypeVar("Answer")

_MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Several times what a bridge gives at once."""


class SyncClient:
    """The bridge at `url`, which knows this device by `key`. The HTTP client is the caller's to close.

    Each method sends one signed request, which may be repeated where no answer came, with the same result. They raise
    Unavailable code "cloud_unreachable" where the bridge does not answer, "bridge_malformed" where it answers
    nonsense, "sync_unsupported" where it is too old; and what it refuses with, as `Groups` and `SegmentStore` say.
    """

    def __init__(
        self,
        url: str,
        key: DeviceKey,
        http: httpx.AsyncClient,
        *,
        now: Callable[[], float] = time.time,
        nonce: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._link = BridgeLink(url, key, http, now=now, nonce=nonce)
        self._http = http

    async def exchange(self, brought: Exchange) -> Exchanged:
        """Bring what is new here, and hear what the others told."""
        return await self._ask(brought, decode_exchanged)

    async def found(self, wanted: Found) -> tuple[Member, ...]:
        """Begin a group."""
        return await self._ask(wanted, decode_members)

    async def invite(self, wanted: Invite) -> tuple[Member, ...]:
        """Let one more device join."""
        return await self._ask(wanted, decode_members)

    async def join(self, wanted: Join) -> Joined:
        """Take up an invitation."""
        return await self._ask(wanted, decode_joined)

    async def remove(self, wanted: Remove) -> tuple[Member, ...]:
        """Put a member out; the others are told of new keys."""
        return await self._ask(wanted, decode_members)

    async def leave(self, wanted: Leave) -> tuple[Member, ...]:
        """Leave the group."""
        return await self._ask(wanted, decode_members)

    async def _ask(self, wanted: Request, decode: Callable[[bytes], Answer]) -> Answer:
        body = await self._send(wanted)
        try:
            return decode(body)
        except InvalidRequest as error:
            raise unreadable() from error

    async def _send(self, wanted: Request) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        request = self._link.signed(self._link.base + PATH, encode_request(wanted), headers)
        try:
            response = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                if response.status_code != 200:
                    problem = await self._link.refusal(response)
                    raise _too_old() if problem.code == "unknown_url" else problem
                return await read_limited(response, _MAX_ANSWER_BYTES)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        except ValueError as error:
            raise unreadable() from error


@asynccontextmanager
async def open_sync_client(url: str, key_path: Path) -> AsyncIterator[SyncClient]:
    """A client with its own HTTP client and this device's key, which is made where there is none."""
    key = DeviceKey.load_or_create(key_path)
    async with open_http(read_s=SILENCE_S) as http:
        yield SyncClient(url, key, http)


def _too_old() -> Unavailable:
    return Unavailable(
        "The bridge is of a version that reconciles no devices.", code="sync_unsupported", hint="Upgrade the bridge."
    )
