"""Where everything is built and wired: the one place that makes adapters, and the one that sees `Settings`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.client import BridgeClient, BridgeOff, embedded_bridge, remote_bridge
from cloud_bridge.providers.config import ProviderConfig
from edge_agent.agent import Agent
from edge_agent.answer_cache import AnswerCache
from edge_agent.configured import cache_rules, escalation_rules, policy, preferences
from edge_agent.consider import Considerer, Policy
from edge_agent.deciding import Decider
from edge_agent.device import Device
from edge_agent.escalate import Escalator, Rules
from edge_agent.feed import Feed
from edge_agent.home import device_key_path
from edge_agent.judging import LocalJudge
from edge_agent.local_models import LocalModels
from edge_agent.models.catalog import Catalog
from edge_agent.models.memory import default_budget_mb
from edge_agent.models.store import ModelStore
from edge_agent.outbox_gate import Gate, OutboxRules
from edge_agent.outbox_worker import OutboxWorker
from edge_agent.privacy.adopted import adoptable
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.preferences import Preferences
from edge_agent.privacy.vault import Style, Vault
from edge_agent.promises import Promises
from edge_agent.recall import Library, MemoryRules, Recall
from edge_agent.reconciliation import Parts
from edge_agent.record import Recorder
from edge_agent.retention import Retention
from edge_agent.routing.calibration.store import Calibrations
from edge_agent.routing.intents_file import IntentsFile, OwnIntents
from edge_agent.routing_settings import own_intents
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.sizing import Wishes
from edge_agent.settings import BridgeSettings, Settings
from edge_agent.settings import Models as ModelSettings
from edge_agent.settings import Privacy as PrivacySettings
from edge_agent.settings import Routing as RoutingSettings
from edge_agent.settings import Vault as VaultSettings
from edge_agent.shadow import Judge, Shadow
from edge_agent.sharing import Sharing
from edge_agent.speeds import Speeds
from edge_agent.state.documents import Documents
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.master_key.keyring_place import KeyringPlace
from edge_agent.state.master_key.passphrase import VARIABLE, Passphrase
from edge_agent.state.master_key.passphrase_place import PassphrasePlace
from edge_agent.state.state import State
from edge_agent.state.sync.replica import Replica
from edge_agent.sync_worker import SyncWorker
from edge_agent.tasks import Tasks
from edge_agent.text_models import TextModels
from edge_agent.token import Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cloud_bridge.sync_client import SyncClient


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon's parts, for the doors."""

    home: Path
    settings: Settings
    offline: bool
    token: Token
    agent: Agent
    tasks: Tasks
    promises: Promises
    outbox: OutboxWorker
    feed: Feed
    store: ModelStore
    models: LocalModels
    pool: Pool
    state: State
    bridge: BridgeClient
    detector: Detector
    library: Library
    sync: SyncWorker
    started_at: float = field(default_factory=time.time)


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


def _models(home: Path, settings: ModelSettings) -> tuple[ModelStore, LocalModels]:
    """The home's models; a slip of the pen in the settings is told at once."""
    store = open_store(home)
    models = local_models(store, settings)
    models.check_default()
    return store, models


@asynccontextmanager
async def running(home: Path, settings: Settings, *, offline: bool = False) -> AsyncIterator[Daemon]:
    """A daemon that works until the block ends; then everything it started is stopped and closed."""
    async with AsyncExitStack() as stack:
        state = stack.enter_context(open_state(home, owner=True, key=home_key(home, settings.vault)))
        os.environ.pop(VARIABLE, None)  # the processes that run models have no need of it
        store, models = _models(home, settings.models)
        pool = Pool(models.spec, models.ram_budget_mb, settings.models.keep_alive_s)
        stack.push_async_callback(pool.close)
        bridge = BridgeOff() if offline else await stack.enter_async_context(_bridge(home, settings.bridge))
        feed, wanted = Feed(), preferences(settings.privacy)
        told = policy(settings, wanted)
        detector = open_detector(store, settings.privacy, wanted=wanted)
        # One vault: its locks keep two requests of a session from numbering two people alike.
        vault = Vault(state, Style(settings.privacy.surrogate_types, state.surrogate_seed))
        own = OwnIntents(own_intents(settings.intents), IntentsFile(home))
        text_models = TextModels(own)
        cache = _answer_cache(state, settings, text_models)
        rules = escalation_rules(told, settings, wanted)
        escalator = Escalator(
            detector=detector, vault=vault, bridge=bridge, state=state, cache=cache, rules=rules, feed=feed
        )
        promises = Promises(Calibrations(home), state)
        judge = LocalJudge(promises)
        considerer = _considerer(told, pool, own, text_models, models=models, bridge=bridge, state=state, judge=judge)
        decider = Decider(considerer=considerer, judge=judge, escalator=escalator)
        shadow = _shadow(settings.routing, pool, models, promises, text_models)
        tasks = _tasks(settings.privacy, text_models, models, pool, detector=detector, vault=vault, state=state)
        library = Library(Documents(state.log))
        outbox = _outbox(settings, state, escalator, feed, considerer)
        record, recall = Recorder(state, feed), _recall(library, state, settings)
        agent = Agent(
            decider=decider, pool=pool, tasks=tasks, escalator=escalator, recorder=record, shadow=shadow, recall=recall
        )
        sync = _sync(home, state, feed, detector=detector, vault=vault, rules=rules, settings=settings)
        for worker in (
            *((outbox, shadow) if bridge.configured else ()),
            *((sync,) if settings.bridge.mode == "remote" and not offline else ()),
            Retention(state.log, settings.state.retention_days),
        ):
            await stack.enter_async_context(_background(worker))
        yield Daemon(
            home=home,
            settings=settings,
            offline=offline,
            token=Token.ensure(home),
            agent=agent,
            tasks=tasks,
            promises=promises,
            outbox=outbox,
            feed=feed,
            store=store,
            models=models,
            pool=pool,
            state=state,
            bridge=bridge,
            detector=detector,
            library=library,
            sync=sync,
        )


def _recall(library: Library, state: State, settings: Settings) -> Recall:
    return Recall(library, state.log, MemoryRules(**settings.memory.model_dump()))


def _considerer(
    policy: Policy,
    pool: Pool,
    own: OwnIntents,
    text_models: TextModels,
    *,
    models: LocalModels,
    bridge: BridgeClient,
    state: State,
    judge: LocalJudge,
) -> Considerer:
    return Considerer(
        text_models=text_models,
        models=models,
        bridge=bridge,
        state=state,
        judge=judge,
        own_intents=own,
        device=Device(),
        speeds=Speeds(),
        loaded=pool.loaded,
        policy=policy,
    )


def _outbox(settings: Settings, state: State, escalator: Escalator, feed: Feed, considerer: Considerer) -> OutboxWorker:
    gate = Gate(
        OutboxRules(settings.outbox.metered, settings.budget.usd_per_day),
        spent=state.spent_since,
        network=lambda: considerer.device.state().network,
        estimate=considerer.cost_estimate,
        check_clock=(lambda: None) if settings.privacy.clock == "trusted" else state.check_clock,
        now=time.time,
    )
    return OutboxWorker(
        state=state,
        escalator=escalator,
        feed=feed,
        gate=gate,
        outcomes=escalator.outcomes,
        parallel=settings.outbox.parallel,
    )


def _sync(
    home: Path, state: State, feed: Feed, *, detector: Detector, vault: Vault, rules: Rules, settings: Settings
) -> SyncWorker:
    """What reconciles this device with its group; it does nothing where it is in none."""

    def client() -> AbstractAsyncContextManager[SyncClient]:
        # Slow, and most devices are in no group.
        from cloud_bridge.sync_client import open_sync_client  # noqa: PLC0415

        return open_sync_client(settings.bridge.url, device_key_path(home))

    sharing = Sharing(
        state=state,
        detector=detector,
        vault=vault,
        check=rules.second_check,
        never_leave=rules.never_leave,
        timeout_s=rules.timeout_s,
    )
    return SyncWorker(
        Parts(state, Replica(state.log, adoptable), sharing, vault, feed, settings.bridge.url),
        client,
        interval_s=settings.sync.interval_s,
        trusts_clock=rules.trusts_clock,
    )


def _shadow(
    settings: RoutingSettings, pool: Pool, models: LocalModels, promises: Promises, text_models: TextModels
) -> Shadow:
    judge = Judge(settings.judge, text_models)
    return Shadow(pool=pool, models=models, promises=promises, judge=judge, share=settings.shadow_share)


def _tasks(
    settings: PrivacySettings,
    text_models: TextModels,
    models: LocalModels,
    pool: Pool,
    *,
    detector: Detector,
    vault: Vault,
    state: State,
) -> Tasks:
    return Tasks(
        text_models=text_models,
        models=models,
        pool=pool,
        detector=detector,
        vault=vault,
        new_id=state.new_id,
        timeout_s=settings.timeout_s,
        record=state.record_decision,
    )


@asynccontextmanager
async def _background(worker: OutboxWorker | Shadow | SyncWorker | Retention) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _bridge(home: Path, settings: BridgeSettings) -> AsyncIterator[BridgeClient]:
    if settings.mode == "remote":
        async with remote_bridge(settings.url, device_key_path(home)) as bridge:
            yield bridge
    elif settings.mode == "embedded" and settings.providers:
        configs = [ProviderConfig(**provider.model_dump()) for provider in settings.providers]
        async with embedded_bridge(configs, home / "bridge.db") as embedded:
            yield embedded
    else:
        yield BridgeOff()


def _answer_cache(state: State, settings: Settings, text_models: TextModels) -> AnswerCache:
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return text_models.encoder.embed(texts)  # built by the first text

    return AnswerCache(state, cache_rules(settings), embed)


def open_detector(
    store: ModelStore,
    settings: PrivacySettings,
    folder_of: Callable[[str], Path] | None = None,
    *,
    wanted: Preferences | None = None,
) -> Detector:
    """What looks for values, as the settings say, on the store's models. Raises InvalidRequest as `preferences`.

    The models are not looked for until the first text: without them the daemon serves, and nothing leaves.

    `wanted`: the settings' preferences, where they are made already.
    """
    wanted = wanted or preferences(settings)
    always = frozenset(settings.never_leave)
    return Detector(folder_of or store.path, settings.models, preferences=wanted, always=always)
