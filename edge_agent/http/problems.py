"""Problems as HTTP answers of this daemon: a status, an OpenAI error object, the headers that go with it."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from cloud_bridge.protocol.openai_chat import encode_error
from cloud_bridge.protocol.problem_json import http_status
from cloud_bridge.protocol.problems import (
    Broken,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    Problem,
    Unavailable,
)

log = logging.getLogger(__name__)

_STATUS_OF_CODE = {
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "method_not_allowed": 405,
    "not_in_cache": 504,
}


def status_of(problem: Problem) -> int:
    """The HTTP status for a problem."""
    return _STATUS_OF_CODE.get(problem.code) or http_status(problem)


def response_to(problem: Problem) -> JSONResponse:
    """A whole HTTP answer for a problem, with `Retry-After` where it may work later."""
    headers: dict[str, str] = {}
    if isinstance(problem, Unavailable) and problem.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after_s))
    if isinstance(problem, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(encode_error(problem), status_of(problem), headers)


def unexpected(error: Exception) -> Broken:
    """The problem shown for an error nobody foresaw; its text stays out, since it may quote a prompt."""
    log.error("unexpected %s", type(error).__name__, exc_info=error if log.isEnabledFor(logging.DEBUG) else None)
    return Broken(
        f"Something failed inside the daemon ({type(error).__name__}).",
        code="internal_error",
        hint="Run `edge-agent doctor`; start the daemon with --debug to see the traceback in its log.",
    )


def install(app: FastAPI) -> None:
    """Answer every failure in the contract's shape."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, problem: Problem) -> JSONResponse:
        return response_to(problem)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            wrong = InvalidRequest(
                f"{request.method} is not allowed here.", code="method_not_allowed", hint="See /openapi.json."
            )
            return response_to(wrong)
        return response_to(
            NotFound("There is nothing at this address.", code="unknown_url", hint="See /openapi.json for all.")
        )

    @app.exception_handler(ClientDisconnect)
    async def _gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> JSONResponse:
        return response_to(unexpected(error))
