"""`edge-agent doctor`: what is wrong here, and the command that mends it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from json import loads
from pathlib import Path
from typing import Literal

import typer

from cloud_bridge.device_key import DeviceKey
from cloud_bridge.protocol.problems import InvalidRequest, Problem
from edge_agent.cli.client import DaemonClient
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import home_key, open_state, open_store
from edge_agent.home import current_home, device_key_path
from edge_agent.models.bundled import bundled_path
from edge_agent.models.libraries import LIBRARIES
from edge_agent.routing.calibration.store import Calibrations
from edge_agent.routing.intents_file import IntentsFile, OwnIntents
from edge_agent.routing.rules import RESERVED_INTENTS
from edge_agent.routing_settings import own_intents
from edge_agent.settings import Settings
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Literal["ok", "note", "bad"]
    detail: str


def doctor(json: JsonFlag = False) -> None:
    """Check the home, the settings, the models, the state and the daemon."""
    found = list(_examine(current_home()))
    if json:
        print_json({"findings": [asdict(finding) for finding in found]})
    else:
        print_table(("", "", ""), [(f.verdict, f.what, f.detail) for f in found], empty="")
    if any(finding.verdict == "bad" for finding in found):
        raise typer.Exit(1)


def _examine(home: Path) -> Iterator[Finding]:
    yield Finding("home", "ok", str(home))
    settings: Settings | None = None
    try:
        settings = Settings.load(home, os.environ)
        yield Finding("settings", "ok", _settings(settings))
    except Problem as problem:
        yield Finding("settings", "bad", str(problem))
    yield from _token(home)
    yield from _models(home)
    yield _checked("calibration", lambda: _calibration(home))
    if settings is None:
        yield Finding(
            "the rest", "note", "intents, privacy's models and the state are looked at when these can be read"
        )
    else:
        yield from _by_settings(home, settings)
    yield from _libraries()
    if device_key_path(home).exists():
        yield _checked("device id", lambda: _device_id(home))
    yield _daemon(home)


def _by_settings(home: Path, settings: Settings) -> Iterator[Finding]:
    """What nobody can tell without the settings."""
    yield _checked("your intents", lambda: _intents(home, settings))
    yield from _privacy_models(home, settings)
    if (home / "state.db").exists():
        key = home_key(home, settings.vault)
        yield _checked("master key", lambda: _master_key(key))
        yield from _state(home, key)


def _checked(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", check())
    except Problem as problem:
        return Finding(what, "bad", str(problem))


def _settings(settings: Settings) -> str:
    providers = settings.bridge.providers
    missing = [p.api_key_env for p in providers if p.api_key_env and not os.environ.get(p.api_key_env)]
    detail = f"bridge {settings.bridge.mode}, {len(providers)} providers"
    return detail + (f"; not set in this shell: {', '.join(missing)}" if missing else "")


def _intents(home: Path, settings: Settings) -> str:
    """How many there are. Raises InvalidRequest where a rule waits for an intent that nothing can have."""
    own = OwnIntents(own_intents(settings.intents), IntentsFile(home)).current()
    manifest = bundled_path("heads/intent-clinc150") / "manifest.json"
    known = {*loads(manifest.read_text("utf-8"))["parameters"]["labels"], *(intent.name for intent in own)}
    for index, rule in enumerate(settings.routing.rules):
        unknown = sorted({*rule.intent} - known - RESERVED_INTENTS)
        if unknown:
            raise InvalidRequest(
                f"routing.rules.{index}.intent names {', '.join(unknown)}, which no request is ever found to have.",
                code="unknown_intent",
                hint="Mend the name, or give examples of it: edge-agent intents add NAME --example TEXT",
            )
    return f"{len(own)}, with {sum(len(intent.examples) for intent in own)} examples"


def _token(home: Path) -> Iterator[Finding]:
    path = home / "token"
    if not path.exists():
        yield Finding("token", "note", "made by the first `edge-agent serve`")
    elif os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding("token", "bad", f"others can read {path}. Run: chmod 600 '{path}'; edge-agent token rotate")
    else:
        yield Finding("token", "ok", str(path))


def _models(home: Path) -> Iterator[Finding]:
    store = open_store(home)
    entries = store.list()
    llms = [entry.manifest.id for entry in entries if entry.installed and entry.manifest.kind == "llm"]
    yield (
        Finding("language models", "ok", ", ".join(llms))
        if llms
        else Finding("language models", "bad", "none installed. Run: edge-agent models pull --default")
    )
    for one in store.damaged():
        yield Finding("a model", "bad", str(one.problem))


def _privacy_models(home: Path, settings: Settings) -> Iterator[Finding]:
    installed = {entry.manifest.id for entry in open_store(home).list() if entry.installed}
    for model in settings.privacy.models:
        if model not in installed:
            hint = f"not installed, so nothing leaves this device. Run: edge-agent models pull {model}"
            yield Finding(model, "bad", hint)


def _calibration(home: Path) -> str:
    calibrations = Calibrations(home)
    if calibrations.problem is not None:
        raise calibrations.problem
    found = [f"{each.subject.model} ({each.subject.task})" for each in calibrations.all()]
    return ", ".join(found) or "none yet; edge-agent calibrate makes one"


def _master_key(key: HomeKey) -> str:
    found = key.find()
    detail = "none yet" if found is None else f"{found.place.name} ({found.record})"
    return detail if key.is_settled() else f"{detail}; a change of it was interrupted, the daemon's next start ends it"


def _state(home: Path, key: HomeKey) -> Iterator[Finding]:
    try:
        with open_state(home, key=key) as state:
            yield _checked("state", lambda: _whole(home, state))
            yield _checked("ledger", lambda: f"{state.verify_ledger()} entries, none altered")
    except Problem as problem:
        yield Finding("state", "bad", str(problem))


def _whole(home: Path, state: State) -> str:
    state.check()
    jobs = state.count_jobs()
    return f"{home / 'state.db'} is whole; {jobs['queued']} jobs wait, {jobs['failed']} failed"


def _device_id(home: Path) -> str:
    public_id = DeviceKey.load_or_create(device_key_path(home)).public_id
    return f"{public_id}; at the bridge: cloud-bridge devices enroll NAME --public-key {public_id}"


def _libraries() -> Iterator[Finding]:
    for library in LIBRARIES:
        if library.version is not None:
            yield Finding(library.name, "ok", f"{library.packages[0]} {library.version}, for {library.format} models")
        else:
            hint = f"not installed, so {library.format} models do not run. Run: {library.install_command}"
            yield Finding(library.name, "note" if library.extra else "bad", hint)


def _daemon(home: Path) -> Finding:
    try:
        status = DaemonClient.from_home(home).get("/edge/v1/status")
    except Problem as problem:
        return Finding("daemon", "note", str(problem))
    return Finding("daemon", "ok", f"pid {status['pid']}, up {status['uptime_s']} s, ready: {status['ready']}")
