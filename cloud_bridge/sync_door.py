"""POST /bridge/v1/sync: a person's devices share their sessions, sealed for each other."""

from __future__ import annotations

import logging

import anyio.to_thread
from fastapi import Request, Response

from cloud_bridge.protocol.problems import NotAllowed
from cloud_bridge.protocol.sync import MAX_BODY_BYTES, Exchange, Exchanged, Found, Invite, Join, Leave, Remove
from cloud_bridge.protocol.sync_json import decode_request, encode_exchanged, encode_joined, encode_members
from cloud_bridge.service import Service
from cloud_bridge.signed_request import authenticate, read_body

log = logging.getLogger(__name__)


async def sync(request: Request) -> Response:
    """Answer one signed request of `protocol.sync`, with JSON."""
    service: Service = request.app.state.service
    body = await read_body(request, MAX_BODY_BYTES, hint="Send fewer segments at a time.")
    answer = await anyio.to_thread.run_sync(_answer, service, request, body)
    return Response(answer, media_type="application/json", headers={"Cache-Control": "no-store"})


def _answer(service: Service, request: Request, body: bytes) -> bytes:
    caller = authenticate(service, request, body)
    if not service.settings.sync.enabled:
        raise NotAllowed(
            "This bridge reconciles no devices.",
            code="sync_off",
            hint="Whoever runs the bridge can set enabled = true in the [sync] section of its config.toml.",
        )
    match wanted := decode_request(body):
        case Exchange():
            answer = service.segments.exchange(caller, wanted)
            _note(wanted, answer)
            return encode_exchanged(answer)
        case Join():
            return encode_joined(service.groups.join(caller, wanted))
        case Found():
            return encode_members(service.groups.found(caller, wanted))
        case Invite():
            return encode_members(service.groups.invite(caller, wanted))
        case Remove():
            return encode_members(service.groups.remove(caller, wanted))
        case Leave():
            return encode_members(service.groups.leave(caller, wanted))


def _note(brought: Exchange, answer: Exchanged) -> None:
    """How much, and nothing of whose: the bridge's log is no record of who shares with whom."""
    log.info(
        "reconciled: %d segments (%d bytes) came, %d (%d bytes) went",
        *(len(brought.segments), sum(len(segment.sealed) for segment in brought.segments)),
        *(len(answer.segments), sum(len(segment.sealed) for segment in answer.segments)),
    )
