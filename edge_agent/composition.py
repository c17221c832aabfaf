"""Where everything is built and wired: the one place that makes adapters, and the one that sees `Settings`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path

from cloud_bridge.client import BridgeClient, BridgeOff, embedded_bridge, remote_bridge
from cloud_bridge.protocol.residency import regions
from cloud_bridge.providers.config import ProviderConfig
from edge_agent.agent import Agent
from edge_agent.consider import Considerer, Policy
from edge_agent.escalate import Escalator, Rules
from edge_agent.feed import Feed
from edge_agent.local_models import LocalModels
from edge_agent.models.catalog import Catalog
from edge_agent.models.memory import default_budget_mb
from edge_agent.models.store import ModelStore
from edge_agent.outbox_worker import OutboxWorker
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.kinds import CUSTOM
from edge_agent.privacy.own_patterns import OwnPattern
from edge_agent.privacy.preferences import Preferences
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.privacy.vault import Style, Vault
from edge_agent.record import Recorder
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.sizing import Wishes
from edge_agent.settings import BridgeSettings, Settings
from edge_agent.settings import Models as ModelSettings
from edge_agent.settings import Privacy as PrivacySettings
from edge_agent.settings import Vault as VaultSettings
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.master_key.keyring_place import KeyringPlace
from edge_agent.state.master_key.passphrase import VARIABLE, Passphrase
from edge_agent.state.master_key.passphrase_place import PassphrasePlace
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


def open_state(home: Path, *, owner: bool = False, key: HomeKey | None = None) -> State:
    """The home's state, opened by `key`, or by the key that the settings lead to.

    `owner` for the daemon, and for commands that must be alone: it recovers what a dead one left.
    """
    key = key or home_key(home, Settings.load(home, os.environ).vault)
    state = State.open(home / "state.db", key.open(), owner=owner)
    if owner:
        try:
            key.settle(state)
        except BaseException:
            state.close()
            raise
    return state


def home_key(home: Path, vault: VaultSettings) -> HomeKey:
    """The home's master key. Where a passphrase is needed and nobody told it, the person at the terminal is asked."""
    is_somebody_there = sys.stdin is not None and sys.stdin.isatty()
    passphrase = Passphrase(os.environ, getpass if is_somebody_there else None)
    return HomeKey(home, choice=vault.key, keyring=KeyringPlace(), passphrase=PassphrasePlace(passphrase))


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
        state = stack.enter_context(open_state(home, owner=True, key=home_key(home, settings.vault)))
        os.environ.pop(VARIABLE, None)  # the processes that run models have no need of it
        store = open_store(home)
        models = local_models(store, settings.models)
        models.check_default()
        pool = Pool(models.spec, models.ram_budget_mb, settings.models.keep_alive_s)
        stack.push_async_callback(pool.close)
        bridge = BridgeOff() if offline else await stack.enter_async_context(_bridge(home, settings.bridge))
        feed = Feed()
        policy = _policy(settings)
        # Its models are not looked for until the first text: without them the daemon serves, and nothing leaves.
        wanted = preferences(settings.privacy)
        detector = open_detector(store, settings.privacy, wanted=wanted)
        # One vault: its locks keep two requests of a session from numbering two people alike.
        vault = Vault(state, Style(settings.privacy.surrogate_types, state.surrogate_seed))
        rules = _rules(policy, settings, wanted)
        escalator = Escalator(detector=detector, vault=vault, bridge=bridge, state=state, rules=rules)
        text_models = TextModels()
        considerer = Considerer(
            text_models=text_models,
            models=models,
            bridge=bridge,
            state=state,
            policy=policy,
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
                timeout_s=settings.privacy.timeout_s,
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
    first = settings.bridge.providers[0] if settings.bridge.providers else None
    return Policy(
        cloud=settings.routing.cloud,
        never_leave=frozenset(settings.privacy.never_leave),
        implicit=settings.privacy.implicit,
        residency=regions(settings.privacy.residency) or None,
        trusts_clock=settings.privacy.clock == "trusted",
        usd_per_day=settings.budget.usd_per_day,
        usd_per_mtok_in=first.usd_per_mtok_in if first else 0.0,
        usd_per_mtok_out=first.usd_per_mtok_out if first else 0.0,
    )


def open_detector(
    store: ModelStore,
    settings: PrivacySettings,
    folder_of: Callable[[str], Path] | None = None,
    *,
    wanted: Preferences | None = None,
) -> Detector:
    """What looks for values, as the settings say, on the store's models. Raises InvalidRequest as `preferences`.

    `wanted`: the settings' preferences, where they are made already.
    """
    wanted = wanted or preferences(settings)
    always = frozenset(settings.never_leave)
    return Detector(folder_of or store.path, settings.models, preferences=wanted, always=always)


def preferences(settings: PrivacySettings) -> Preferences:
    """The user's say in what is masked. Raises InvalidRequest that names the key."""
    return Preferences.of(
        allow=settings.allow,
        deny=[(entry, CUSTOM) if isinstance(entry, str) else (entry.text, entry.type) for entry in settings.deny],
        thresholds=settings.thresholds,
        types=settings.types,
        not_masked=settings.not_masked,
        never_leave=settings.never_leave,
        patterns=[
            OwnPattern(own.type, own.pattern, f"recognizers.{index}", own.score, own.context, own.checksum)
            for index, own in enumerate(settings.recognizers)
        ],
    )


def _rules(policy: Policy, settings: Settings, wanted: Preferences) -> Rules:
    return Rules(
        second_check=SecondCheck(wanted.wanted),
        never_leave=policy.never_leave,
        residency=policy.residency,
        timeout_s=settings.privacy.timeout_s,
        trusts_clock=policy.trusts_clock,
    )
