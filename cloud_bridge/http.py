"""The bridge's door: who signed this, was it seen before, and then the answer as it streams."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress

import anyio
import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from cloud_bridge.protocol.envelope import Departure, Escalation, decode_escalation, event_to_json
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.problem_json import http_status, problem_to_json
from cloud_bridge.protocol.problems import (
    Broken,
    InvalidRequest,
    NotFound,
    Problem,
    Unavailable,
)
from cloud_bridge.protocol.sse import encode_sse
from cloud_bridge.protocol.sync import PATH as SYNC_PATH
from cloud_bridge.providers.provider import OnDeparture
from cloud_bridge.service import Service
from cloud_bridge.signed_request import authenticate, read_body
from cloud_bridge.sync_door import sync

log = logging.getLogger(__name__)

PATH = "/bridge/v1/escalations"
MAX_BODY_BYTES = 8 * 1024 * 1024
HEARTBEAT_S = 10.0
"""While a provider thinks, the device hears that often from the bridge, in seconds."""

_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def build_app(
    open_service: Callable[[], AbstractAsyncContextManager[Service]], *, heartbeat_s: float = HEARTBEAT_S
) -> FastAPI:
    """The ASGI application of one bridge; the service lives as long as the application runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service() as service:
            app.state.service = service
            yield

    app = FastAPI(title="cloud-bridge", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.heartbeat_s = heartbeat_s
    app.add_api_route(PATH, _escalations, methods=["POST"], response_class=StreamingResponse)
    app.add_api_route(SYNC_PATH, sync, methods=["POST"])
    app.add_api_route("/healthz", _healthz, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/readyz", _readyz, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _not_here)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _escalations(request: Request) -> StreamingResponse:
    """Answer a signed escalation with server-sent events: one JSON event each, the last `finish` or `error`."""
    service: Service = request.app.state.service
    body = await read_body(request, MAX_BODY_BYTES, hint="Send less context.")
    device = await anyio.to_thread.run_sync(authenticate, service, request, body)
    escalation = decode_escalation(body)
    if request.headers.get("idempotency-key") != escalation.idempotency_key:
        raise InvalidRequest(
            "The Idempotency-Key field and the envelope name different keys.",
            code="idempotency_key_mismatch",
            hint="Send the envelope's key in the field.",
        )
    if not _KEY.fullmatch(escalation.idempotency_key):
        raise InvalidRequest(
            "An idempotency key must have 1 to 128 printable ASCII characters.",
            code="bad_idempotency_key",
            hint="Use a ULID or a UUID.",
        )
    # A second check of what is masked belongs here, before anything is passed on.
    events = service.bridge.escalate(escalation, _auditor(service, device, escalation), caller=device)
    return StreamingResponse(
        _frames(events, request.app.state.heartbeat_s),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _auditor(service: Service, device: str, escalation: Escalation) -> OnDeparture:
    key = escalation.idempotency_key

    def record(departure: Departure) -> None:
        call = service.store.call(device, key)
        service.audit.record(device, key, departure, repeated=call is not None and call.repeated)

    async def on_departure(departure: Departure) -> None:
        await anyio.to_thread.run_sync(record, departure)

    return on_departure


async def _frames(events: AsyncGenerator[Event], heartbeat_s: float) -> AsyncGenerator[bytes]:
    """Events as server-sent events, a comment in each silence, and a failure as the last event."""
    try:
        async with aclosing(_with_heartbeats(events, heartbeat_s)) as beats:
            async for event in beats:
                yield b":\n\n" if event is None else _frame(event_to_json(event))
    except Problem as problem:
        yield _frame({"error": problem_to_json(problem)})
    except Exception as error:  # noqa: BLE001 - the device must hear of it
        yield _frame({"error": problem_to_json(_internal(error))})


async def _with_heartbeats(events: AsyncGenerator[Event], heartbeat_s: float) -> AsyncGenerator[Event | None]:
    """The events, and None for each `heartbeat_s` without one."""
    pending = asyncio.ensure_future(_next(events))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=heartbeat_s)
            if not done:
                yield None
                continue
            event = pending.result()
            if event is None:
                return
            yield event
            pending = asyncio.ensure_future(_next(events))
    finally:
        pending.cancel()
        # Shielded: a device that goes away cancels this, too, and a generator that still runs cannot be closed.
        with anyio.CancelScope(shield=True):
            with suppress(asyncio.CancelledError, Exception):
                await pending
            await events.aclose()


async def _next(events: AsyncGenerator[Event]) -> Event | None:
    return await anext(events, None)


def _frame(document: object) -> bytes:
    return encode_sse(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


async def _healthz() -> JSONResponse:
    """The process lives."""
    return JSONResponse({"status": "ok"})


async def _readyz(request: Request) -> JSONResponse:
    """The database answers, and there is a provider to ask."""
    service: Service = request.app.state.service
    devices = await anyio.to_thread.run_sync(service.devices.list)
    providers = sum(provider.has_key for provider in service.bridge.providers)
    ready = providers > 0
    document = {"ready": ready, "providers": providers, "devices": len([d for d in devices if d.revoked_at is None])}
    return JSONResponse(document, 200 if ready else 503)


def _answer(problem: Problem) -> JSONResponse:
    status = http_status(problem)
    headers: dict[str, str] = {}
    if isinstance(problem, Unavailable) and problem.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after_s))
    if problem.code == "payload_too_large":
        status = 413
    return JSONResponse({"error": problem_to_json(problem)}, status, headers)


async def _problem(_: Request, error: Exception) -> Response:
    return _answer(error if isinstance(error, Problem) else _internal(error))


async def _not_here(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    problem = NotFound("There is nothing at this address.", code="unknown_url", hint=f"Escalations go to POST {PATH}.")
    response = _answer(problem)
    response.status_code = status
    return response


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


async def _unexpected(_: Request, error: Exception) -> Response:
    return _answer(_internal(error))


def _internal(error: Exception) -> Broken:
    """For an error nobody foresaw; its text stays out, since it may quote a prompt."""
    log.error("unexpected %s", type(error).__name__, exc_info=error if log.isEnabledFor(logging.DEBUG) else None)
    return Broken(
        f"Something failed inside the bridge ({type(error).__name__}).",
        code="internal_error",
        hint="Start the bridge with --debug to see the traceback in its log.",
    )
