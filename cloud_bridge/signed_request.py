"""What all doors of the bridge do first: read a request, within limits, and see which device signed it."""

from __future__ import annotations

import asyncio

from fastapi import Request

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from cloud_bridge.protocol.signatures import HttpRequest, verify_request
from cloud_bridge.service import Service

BODY_TIMEOUT_S = 30.0


async def read_body(request: Request, max_bytes: int, *, hint: str) -> bytes:
    """The whole body. Raises InvalidRequest with `hint` where it is larger, Unavailable where it comes too slowly."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise InvalidRequest(
                        f"The request is larger than {max_bytes} bytes.", code="payload_too_large", hint=hint
                    )
    except TimeoutError as error:
        raise Unavailable(
            "The request did not arrive in time.", code="request_timeout", hint="Send it again, or send less at once."
        ) from error
    return bytes(body)


def authenticate(service: Service, request: Request, body: bytes) -> str:
    """The name of the device that signed the request. Blocks. Raises NotAuthenticated or NotAllowed."""
    public = service.settings.server.public_url.rstrip("/")
    signed = HttpRequest(
        method=request.method,
        url=f"{public}{request.url.path}" if public else str(request.url),
        headers=tuple(request.headers.items()),
        body=body,
    )
    signature = verify_request(signed, verify=service.devices.check_signature, now=service.now())
    return service.devices.accept_once(signature)
