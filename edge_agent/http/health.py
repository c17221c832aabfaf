"""Is it up, can it answer, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from edge_agent.http.requests import TheDaemon
from edge_agent.readiness import readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is up. Needs no token and touches nothing."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(daemon: TheDaemon) -> JSONResponse:
    """Everything an answer needs is there; otherwise 503 and what is missing."""
    parts = readiness(daemon)
    ready = all(parts.values())
    return JSONResponse({"status": "ready" if ready else "not_ready", "parts": parts}, 200 if ready else 503)


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Prometheus text. Counts and times only; never text."""
    return Response(request.app.state.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
