"""The daemon's ASGI application: the gate, the routes, the problems."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from edge_agent import __version__
from edge_agent.composition import Daemon
from edge_agent.http import documents, edge, embeddings, health, openai, problems, tasks, web
from edge_agent.http.gate import LOCAL_ORIGIN, Gate
from edge_agent.http.metrics import Metrics


def build_app(daemon: Daemon) -> FastAPI:
    """All doors of one running daemon."""
    app = FastAPI(
        title="edge-agent",
        version=__version__,
        description="Answers what it can on the device, and escalates the rest without the person's data.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.daemon = daemon
    app.state.metrics = Metrics(daemon)
    problems.install(app)
    for routes in (
        openai.router,
        embeddings.router,
        edge.router,
        documents.router,
        tasks.router,
        health.router,
        web.router,
    ):
        app.include_router(routes)
    server = daemon.settings.server
    app.add_middleware(
        Gate,
        token=None if server.auth == "off" else daemon.token,
        extra_host=server.host if server.allow_remote else None,
    )
    # Outermost, so that a refusal can be read by a page on localhost, too.
    app.add_middleware(
        CORSMiddleware,
        allow_origin_regex=LOCAL_ORIGIN,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["authorization", "content-type", "x-api-key"],
    )
    return app
