"""From an HTTP body to the agent's request: what all surfaces share."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args

import anyio
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from cloud_bridge.protocol.events import AnswerEvent
from cloud_bridge.protocol.fields import Fields
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.residency import MAX_REGIONS, Residency, regions
from edge_agent.agent import Agent
from edge_agent.composition import Daemon
from edge_agent.state.history import TURNS
from edge_agent.state.jobs import PRIORITIES, Priority
from edge_agent.turn import CacheUse, Defer, EdgeOptions, MemoryUse

T = TypeVar("T")

PAGE_ITEMS = 100
MAX_PAGE_ITEMS = 1000

MAX_EXPIRES_S = 366 * 86_400
"""A year."""


async def the_daemon(request: Request) -> Daemon:
    """The daemon behind this application. A coroutine, as all here: FastAPI wakes a thread for a plain function."""
    daemon: Daemon = request.app.state.daemon
    return daemon


async def the_agent(request: Request) -> Agent:
    """Its agent."""
    return (await the_daemon(request)).agent


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises InvalidRequest code "malformed_json" on anything else."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            "The body is not valid JSON.", code="malformed_json", hint="Check the quotes and commas of what you send."
        ) from error
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.", code="malformed_json", hint='Send {"key": value, ...}.')
    return body


def edge_options(edge: Mapping[str, Any], cache_control: str | None = None) -> EdgeOptions:
    """The contract's `edge` object. Raises InvalidRequest naming the field that is wrong.

    `cache_control`: the request's header.
    """
    fields = Fields(dict(edge), "edge")
    cache, cached_within_s = _cache_use(cache_control)
    defer = fields.choice("defer", get_args(Defer)) or "allow"
    return EdgeOptions(
        session_id=fields.text("session_id"),
        task=fields.text("task"),
        deadline_ms=fields.integer("deadline_ms", 1),
        max_cost_usd=fields.number("max_cost_usd", 0, 1e6),
        defer=cast("Defer", defer),
        priority=cast("Priority", fields.choice("priority", PRIORITIES) or "normal"),
        expires_s=fields.number("expires_s", 1, MAX_EXPIRES_S),
        residency=_residency(fields),
        revise=fields.flag("revise") or False,
        memory=cast("MemoryUse", fields.choice("memory", get_args(MemoryUse)) or "use"),
        cache="off" if fields.flag("cache") is False else cache,
        cached_within_s=cached_within_s,
    )


def _cache_use(cache_control: str | None) -> tuple[CacheUse, float | None]:
    """What a request's header asks for (RFC 9111, 5.2.1), and the seconds that a kept answer may be old.

    `no-cache` asks for a fresh answer, `no-store` that nothing of this is kept, either, `only-if-cached` for a kept
    answer or none, `max-age=N` for one that is at most so old. A number that is none counts as 0.
    """
    parts = [part.strip().casefold().partition("=") for part in (cache_control or "").split(",")]
    directives = {name.strip(): value.strip().strip('"') for name, _, value in parts}
    oldest_s = _seconds(directives["max-age"]) if "max-age" in directives else None
    if "only-if-cached" in directives:
        return "only", 0.0 if "no-cache" in directives else oldest_s
    if "no-store" in directives:
        return "off", None
    return ("refresh", None) if "no-cache" in directives or oldest_s == 0 else ("use", oldest_s)


def _seconds(text: str) -> float:
    """`delta-seconds`; a number that is too large counts as very long (RFC 9111, 1.2.2)."""
    return float(min(int(text[:11]), 1 << 31)) if text.isascii() and text.isdigit() else 0.0


def _residency(fields: Fields) -> Residency | None:
    """The regions named; None where the field is absent. Raises InvalidRequest where it names none."""
    if fields.raw("residency") is None:
        return None
    named = regions(fields.texts("residency", most=MAX_REGIONS))
    if not named:
        raise InvalidRequest(
            "'edge.residency' names no region.",
            code="invalid_value",
            hint='Name at least one, such as "eu", or leave the field out.',
            param="edge.residency",
        )
    return named


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted: at most `limit`, from the one after the id `before` on."""

    limit: int
    before: str | None


async def page(request: Request) -> Page:
    """The page in `?limit=&before=`. Raises InvalidRequest code "invalid_value"."""
    return _page(request, PAGE_ITEMS)


async def page_of_turns(request: Request) -> Page:
    """The same, of turns: where no limit is given, so few that a session opens at once."""
    return _page(request, TURNS)


def _page(request: Request, items: int) -> Page:
    given = request.query_params.get("limit", str(items))
    if not re.fullmatch(r"[0-9]{1,4}", given) or not 1 <= int(given) <= MAX_PAGE_ITEMS:
        raise InvalidRequest(
            f"'limit' must be a number from 1 to {MAX_PAGE_ITEMS}.",
            code="invalid_value",
            hint="Ask for what comes after with 'before' and the last id.",
            param="limit",
        )
    return Page(int(given), request.query_params.get("before"))


async def collect(answer: AsyncGenerator[AnswerEvent]) -> list[AnswerEvent]:
    """The whole answer."""
    async with aclosing(answer):
        return [event async for event in answer]


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """Await `work`, but cancel it when the client goes away, as a stream does by itself. Raises ClientDisconnect.

    By a cancel scope, not a task's `cancel`: that would abandon a thread in the middle of recording something.
    """
    watch = asyncio.ensure_future(_gone(request))
    with anyio.CancelScope() as scope:

        def leave(_: object) -> None:
            scope.cancel()

        watch.add_done_callback(leave)
        try:
            return await work
        finally:
            watch.remove_done_callback(leave)
            watch.cancel()
    raise ClientDisconnect


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


ThePage = Annotated[Page, Depends(page)]
ThePageOfTurns = Annotated[Page, Depends(page_of_turns)]
TheDaemon = Annotated[Daemon, Depends(the_daemon)]
TheAgent = Annotated[Agent, Depends(the_agent)]
JsonObject = Annotated[dict[str, Any], Depends(json_object)]
