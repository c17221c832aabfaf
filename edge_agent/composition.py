"""Where everything is built and wired: the one place that makes adapters, and the one that sees `Settings`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.client import BridgeClient, BridgeOff, embedded_bridge, remote_bridge
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.providers.config import ProviderConfig
from edge_agent.agent import Agent
from edge_agent.consider import Considerer, Policy
from edge_agent.escalate import Escalator
from edge_agent.feed import Feed
from edge_agent.local_models import LocalModels
from edge_agent.models.catalog import Catalog
from edge_agent.models.memory import default_budget_mb
from edge_agent.models.store import ModelStore
from edge_agent.outbox_worker import OutboxWorker
from edge_agent.privacy.detect import RAMPART_MODEL, SPACY_MODEL, Detector
from edge_agent.privacy.kinds import DEFAULT_TYPES
from edge_agent.privacy.vault import Vault
from edge_agent.record import Recorder
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.sizing import Wishes
from edge_agent.settings import BridgeSettings, Settings
from edge_agent.settings import Models as ModelSettings
from edge_agent.state.keys import KeyRing
from edge_agent.state.state import State
from edge_agent.tasks import Tasks
from edge_agent.text_models import TextModels
from edge_agent.token import Token


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon's parts, for the doors."""

    home: Path
    settings: Settings
    offline: bool
    token: Token
    agent: Agent
    tasks: Tasks
    outbox: OutboxWorker
    feed: Feed
    store: ModelStore
    models: LocalModels
    pool: Pool
    state: State
    bridge: BridgeClient
    detector: Detector
    started_at: float


def open_store(home: Path) -> ModelStore:
    """The home's models."""
    return ModelStore(home / "models", Catalog.load())


def open_state(home: Path, *, owner: bool = False) -> State:
    """The home's state. `owner` for the daemon alone: it recovers what a dead one left."""
    return State.open(home / "state.db", KeyRing.open(home), owner=owner)


def local_models(store: ModelStore, settings: ModelSettings) -> LocalModels:
    """The store's language models, run as the settings say."""
    return LocalModels(
        store,
        default=settings.default,
        ram_budget_mb=settings.ram_budget_mb or default_budget_mb(),
        wishes=Wishes(settings.context_length, settings.parallel, settings.threads, settings.max_waiting),
    )


@asynccontextmanager
async def running(home: Path, settings: Settings, *, offline: bool = False) -> AsyncIterator[Daemon]:
    """A daemon that works until the block ends; then everything it started is stopped and closed."""
    async with AsyncExitStack() as stack:
        state = stack.enter_context(open_state(home, owner=True))
        store = open_store(home)
        models = local_models(store, settings.models)
        models.check_default()
        pool = Pool(models.spec, models.ram_budget_mb, settings.models.keep_alive_s)
        stack.push_async_callback(pool.close)
        bridge = BridgeOff() if offline else await stack.enter_async_context(_bridge(home, settings.bridge))
        feed = Feed()
        # Not looked for until the first text: without its models the daemon serves, and nothing leaves.
        detector = Detector(store.root / SPACY_MODEL, store.root / RAMPART_MODEL)
        # One vault: its locks keep two requests of a session from numbering two people alike.
        vault = Vault(state)
        escalator = Escalator(detector=detector, vault=vault, bridge=bridge, state=state)
        text_models = TextModels()
        considerer = Considerer(
            text_models=text_models,
            models=models,
            bridge=bridge,
            state=state,
            policy=_policy(settings),
        )
        outbox = OutboxWorker(state=state, escalator=escalator, feed=feed)
        daemon = Daemon(
            home=home,
            settings=settings,
            offline=offline,
            token=Token.ensure(home),
            agent=Agent(considerer=considerer, pool=pool, escalator=escalator, recorder=Recorder(state, feed)),
            tasks=Tasks(
                text_models=text_models,
                models=models,
                pool=pool,
                detector=detector,
                vault=vault,
                new_id=state.new_id,
            ),
            outbox=outbox,
            feed=feed,
            store=store,
            models=models,
            pool=pool,
            state=state,
            bridge=bridge,
            detector=detector,
            started_at=time.time(),
        )
        if bridge.configured:
            await stack.enter_async_context(_background(outbox))
        yield daemon


@asynccontextmanager
async def _background(outbox: OutboxWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _bridge(home: Path, settings: BridgeSettings) -> AsyncIterator[BridgeClient]:
    if settings.mode == "remote":
        async with remote_bridge(settings.url, home / "keys" / "device.key") as bridge:
            yield bridge
    elif settings.mode == "embedded" and settings.providers:
        configs = [ProviderConfig(**provider.model_dump()) for provider in settings.providers]
        async with embedded_bridge(configs, home / "bridge.db") as embedded:
            yield embedded
    else:
        yield BridgeOff()


def _policy(settings: Settings) -> Policy:
    unknown = sorted(set(settings.privacy.never_leave) - DEFAULT_TYPES)
    if unknown:
        # Taken as it is, a slip of the pen would let out what was meant to stay.
        raise InvalidRequest(
            f"[privacy] never_leave names types that do not exist: {', '.join(unknown)}.",
            code="bad_config",
            hint=f"There are: {', '.join(sorted(DEFAULT_TYPES))}.",
            param="privacy.never_leave",
        )
    first = settings.bridge.providers[0] if settings.bridge.providers else None
    return Policy(
        cloud=settings.routing.cloud,
        never_leave=frozenset(settings.privacy.never_leave),
        usd_per_day=settings.budget.usd_per_day,
        usd_per_mtok_in=first.usd_per_mtok_in if first else 0.0,
        usd_per_mtok_out=first.usd_per_mtok_out if first else 0.0,
    )
