"""What the user may set: `config.toml` in the home, each key with an environment override.

    EDGE_AGENT_<SECTION>__<KEY>, as in EDGE_AGENT_SERVER__PORT=8041; lists are comma-separated, tables in TOML or JSON.

Read once at start. Rooms are given plain values and never see `Settings`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.privacy.surrogates.surrogates import TYPES as SURROGATE_TYPES
from edge_agent.routing.rules import Rule
from edge_agent.routing_settings import IntentSettings, RoutingRule, Section, WeightSettings, own_intents

PREFIX = "EDGE_AGENT_"
MIN_CONTEXT_LENGTH = 256
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Server(Section):
    """Where the daemon listens, and whether clients must send the token."""

    host: str = "127.0.0.1"
    port: int = Field(default=8040, ge=0, le=65535)
    auth: Literal["token", "off"] = "token"
    allow_remote: bool = False

    @model_validator(mode="after")
    def _loopback_unless_told_twice(self) -> Server:
        if self.host in LOOPBACK:
            return self
        if not self.allow_remote:
            raise ValueError(f"refusing to listen on {self.host!r}; set allow_remote = true if that is what you want")
        if self.auth == "off":
            raise ValueError('auth = "off" is for loopback only')
        return self


class Models(Section):
    """Which local model runs, and what it may take.

    `ram_budget_mb`: MiB for all loaded models together; 0: half of the machine's memory. A model whose full context
    does not fit gets less context. `keep_alive_s`: seconds that an idle model stays loaded; 0: none, negative: for
    ever. `threads`: 0: the cores that are good for computing, within the container's limit. `context_length`: tokens
    of context, shared by the requests that a model answers at once; 0: 8192, or what it has, or what fits.
    `parallel`: requests answered at once; `max_waiting`: requests that may wait for that, before one is refused.
    """

    default: str = "auto"
    ram_budget_mb: int = Field(default=0, ge=0)
    keep_alive_s: float = Field(default=300, allow_inf_nan=False)
    threads: int = Field(default=0, ge=0, le=1024)
    context_length: int = Field(default=0, ge=0, le=2**24)
    parallel: int = Field(default=8, ge=1, le=32)
    max_waiting: int = Field(default=64, ge=0, le=4096)

    @field_validator("context_length")
    @classmethod
    def _room_for_a_prompt(cls, length: int) -> int:
        if 0 < length < MIN_CONTEXT_LENGTH:
            raise ValueError(f"at least {MIN_CONTEXT_LENGTH}, or 0 to decide from the machine")
        return length


class Routing(Section):
    """How readily requests leave the device. `rules`: of which the first that holds decides.

    `target_error`: the share of local answers that may be wrong. `shadow_share`: of the escalated requests, the share
    that the local model answers, too, once it is idle, to see whether its calibration still holds; 0: none. `judge`:
    how the two answers are compared where they are no labels: "embedding", by their meaning; "exact", word for word.
    """

    target_error: float = Field(default=0.05, gt=0, lt=1)
    cloud: Literal["auto", "never", "always"] = "auto"
    shadow_share: float = Field(default=0.02, ge=0, le=1)
    judge: Literal["exact", "embedding"] = "embedding"
    rules: tuple[RoutingRule, ...] = ()
    weights: WeightSettings = WeightSettings()

    @model_validator(mode="after")
    def _rules_are_told_apart(self) -> Routing:
        names = [rule.name for rule in self.policy]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules are named {twice[0]!r}; a rule without a name has its number for one")
        return self

    @property
    def policy(self) -> tuple[Rule, ...]:
        """The rules, in their order."""
        return tuple(rule.as_data(number) for number, rule in enumerate(self.rules, 1))


class Denied(Section):
    """One entry of `deny` with a type of its own."""

    text: str = Field(min_length=1)
    type: str = "CUSTOM"


class OwnRecognizer(Section):
    """One `[[privacy.recognizers]]`: a pattern, and how certain its matches are.

    `context`: words of which one nearby adds 0.4 to `score`. `checksum`: the check that a match must pass.
    """

    type: str
    pattern: str = Field(min_length=1)
    score: float = Field(default=0.8, gt=0, le=1)
    context: tuple[str, ...] = ()
    checksum: Literal["luhn", "mod97", "verhoeff", "mod11_10", "ean"] | None = None


class Privacy(Section):
    """How values are hidden, which types keep a request on the device, and where masked text may go.

    `style`: "placeholder", a value is shown as <PERSON_1>; "surrogate", as a stand-in of its kind, where its type has
    one. `surrogates`: the types that get one, in either style; empty: as the style says.
    `allow`: what is not masked, a text or a /regex/; `deny`: what always is, the same, or a table with `text` and
    `type`. `types`: the only types masked (empty: all); `not_masked`: types that are not. `thresholds`: by type, the
    score from which a finding is believed, 0.4 elsewhere. `recognizers`: patterns of the user's own.

    `implicit`: text that describes somebody without a name. "warn": it is only reported; "local": `auto` answers it
    here, and `cloud`, asked for by name, is sent; "refuse": it never leaves.
    `models`: the installed models that read text for names; more than one finds more, and takes longer.
    `residency`: names of regions; only a provider in one of them is asked, and one that names no region is in none.
    Empty: any. `timeout_s`: how long looking for values may take, in seconds; then nothing leaves. `clock`: "checked",
    nothing leaves while the device's clock is behind its own records; "trusted", where it was ahead and is right now.
    """

    style: Literal["placeholder", "surrogate"] = "placeholder"
    surrogates: tuple[str, ...] = ()
    never_leave: tuple[str, ...] = ("US_SSN", "API_KEY", "PASSWORD", "PRIVATE_KEY", "CONNECTION_STRING")
    fail: Literal["closed"] = "closed"
    allow: tuple[str, ...] = ()
    deny: tuple[str | Denied, ...] = ()
    types: tuple[str, ...] = ()
    not_masked: tuple[str, ...] = ()
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    recognizers: tuple[OwnRecognizer, ...] = ()
    implicit: Literal["warn", "local", "refuse"] = "local"
    residency: tuple[str, ...] = ()
    timeout_s: float = Field(default=60, gt=0, le=86_400)
    models: tuple[str, ...] = Field(default=("edge-pii-int8",), min_length=1)
    clock: Literal["checked", "trusted"] = "checked"

    @field_validator("surrogates")
    @classmethod
    def _with_a_surrogate(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        without = sorted(set(types) - SURROGATE_TYPES)
        if without:
            there = ", ".join(sorted(SURROGATE_TYPES))
            raise ValueError(f"there are no surrogates of {', '.join(without)}, but of: {there}")
        return types

    @property
    def surrogate_types(self) -> frozenset[str]:
        """Which types get a surrogate: those named, or with `style = "surrogate"` all that have one."""
        return frozenset(self.surrogates) or (SURROGATE_TYPES if self.style == "surrogate" else frozenset())

    @field_validator("residency")
    @classmethod
    def _named_regions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name.strip() for name in names):
            # Dropped, an empty name could leave none, and none means anywhere.
            raise ValueError("a region has no name; leave residency out to allow all regions")
        return names


class Vault(Section):
    """Where the key is that everything in the home is encrypted under.

    `auto`: where the home has it; in a new home the system's keyring, where there is one that asks nobody, else a file.
    """

    key: Literal["auto", "keyring", "file", "passphrase"] = "auto"


class StateSettings(Section):
    """What the home keeps. `retention_days`: sessions that nothing happened in for so long are forgotten; 0: never."""

    retention_days: int = Field(default=0, ge=0, le=36_500)


class Budget(Section):
    """What escalations may cost in a day, in US dollars; 0: no limit."""

    usd_per_day: float = Field(default=0, ge=0)


class Outbox(Section):
    """How what waits is sent. `metered`: on a metered network, "wait" for another one, or "send" all the same.

    `parallel`: how many jobs are on their way at once, of a session never more than one.
    """

    metered: Literal["wait", "send"] = "wait"
    parallel: int = Field(default=4, ge=1, le=32)


class ProviderSettings(Section):
    """One `[[bridge.providers]]`: tried in the order written."""

    name: str
    kind: Literal["openai", "anthropic"] = "openai"
    base_url: str
    api_key_env: str = ""
    model: str
    region: str = ""
    usd_per_mtok_in: float = Field(default=0, ge=0)
    usd_per_mtok_out: float = Field(default=0, ge=0)


class BridgeSettings(Section):
    """How escalations leave: inside this process, through a bridge elsewhere, or not at all."""

    mode: Literal["embedded", "remote", "off"] = "embedded"
    url: str = ""
    providers: tuple[ProviderSettings, ...] = ()

    @model_validator(mode="after")
    def _remote_needs_a_url(self) -> BridgeSettings:
        if self.mode == "remote" and not self.url:
            raise ValueError('mode = "remote" needs url = "https://..."')
        return self


class Cache(Section):
    """Answers of the cloud that are given again to the same masked request.

    `exact`: whether that is done at all. `scope`: "device", whoever's names were in the request; "session", only in the
    session of the first. `ttl_s`: seconds; where nobody else can answer, up to a week. `semantic_threshold`: the cosine
    from which on two wordings are held to be one question; 0: they must be the same.
    """

    exact: bool = True
    scope: Literal["device", "session"] = "device"
    ttl_s: int = Field(default=86_400, gt=0)
    max_entries: int = Field(default=10_000, gt=0)
    max_mb: int = Field(default=64, gt=0)
    semantic_threshold: float = Field(default=0, ge=0, le=1)

    @model_validator(mode="after")
    def _nearly_includes_exactly(self) -> Cache:
        if self.semantic_threshold and not self.exact:
            raise ValueError("semantic_threshold needs exact = true; leave it at 0 to keep no answers")
        return self


class Memory(Section):
    """Passages of the user's documents, and of a session's earlier turns, that are given to whoever answers.

    `max_tokens`: of all of them together. `min_score`: the share of what a question is about that a passage must speak
    to. `escalate`: whether they may leave with an escalation, masked as it is; else only local answers have them.
    """

    enabled: bool = True
    max_tokens: int = Field(default=600, ge=50, le=16_000)
    min_score: float = Field(default=0.6, gt=0, le=1)
    escalate: bool = True


class Sync(Section):
    """Sharing sessions with the person's other devices. `interval_s`: how often it is asked what they said."""

    interval_s: float = Field(default=30, ge=1, le=86_400)


class Settings(Section):
    """All sections, with their defaults."""

    server: Server = Server()
    models: Models = Models()
    routing: Routing = Routing()
    privacy: Privacy = Privacy()
    vault: Vault = Vault()
    state: StateSettings = StateSettings()
    budget: Budget = Budget()
    outbox: Outbox = Outbox()
    bridge: BridgeSettings = BridgeSettings()
    cache: Cache = Cache()
    memory: Memory = Memory()
    sync: Sync = Sync()
    intents: dict[str, IntentSettings] = Field(default_factory=dict)

    @field_validator("intents")
    @classmethod
    def _intents_are_told_apart(cls, intents: dict[str, IntentSettings]) -> dict[str, IntentSettings]:
        own_intents(intents)
        return intents

    @classmethod
    def load(
        cls, home: Path, environ: Mapping[str, str], overrides: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Settings:
        """Read `config.toml`, then the environment, then `overrides` (the command line), the later winning.

        Raises InvalidRequest that names the file and the key, or the variable.
        """
        path = home / "config.toml"
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(
                f"{path} is not valid TOML: {error}.", code="bad_config", hint="Mend that line, or move the file away."
            ) from error
        for layer in (_from_environ(environ), overrides or {}):
            for section, values in layer.items():
                given = document.setdefault(section, {})
                if isinstance(given, dict):  # anything else is refused below, by its name
                    given.update(values)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise InvalidRequest(
                f"{path}: {key}: {first['msg']}.",
                code="bad_config",
                hint="Mend that key, or its EDGE_AGENT_<SECTION>__<KEY> variable.",
                param=key,
            ) from error


# All of [privacy].
_LISTS = frozenset({"never_leave", "surrogates", "allow", "deny", "types", "not_masked", "residency", "models"})


_TABLES = {
    ("routing", "rules"): '[{intent = "weather", route = "local"}]',
    ("routing", "weights"): "{cost = 2}",
    ("bridge", "providers"): '[{name = "mine", base_url = "https://...", model = "..."}]',
    ("privacy", "recognizers"): '[{type = "BADGE", pattern = "B-[0-9]{4}"}]',
}
_INTENT = '{examples = ["..."], route = "local"}'


def _from_environ(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for variable, value in environ.items():
        section, separator, key = variable.removeprefix(PREFIX).lower().partition("__")
        if not variable.startswith(PREFIX) or not separator or section not in Settings.model_fields:
            continue
        if (section, key) == ("vault", "passphrase"):
            continue  # a secret, not a setting: whoever opens the vault reads it
        if section == "intents" or (section, key) in _TABLES:
            given = _table(variable, value, _TABLES.get((section, key), _INTENT))
        else:
            given = _structured(key, value) if section == "privacy" else value
        found.setdefault(section, {})[key] = given
    return found


def _table(variable: str, value: str, example: str) -> Any:
    """What stands in a variable as in `config.toml`, or as JSON."""
    with suppress(ValueError, RecursionError):
        return tomllib.loads(f"value = {value}")["value"]
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    raise InvalidRequest(
        f"{variable} is neither TOML nor JSON.",
        code="bad_config",
        hint=f"Write its value as config.toml does, in one line: {example}",
        param=variable,
    )


def _structured(key: str, value: str) -> Any:
    """A list from "A,B" or from '["A", "B"]', thresholds from "A=0.5,B=0.6"; anything else as it is."""
    if key in _LISTS and value.lstrip().startswith("["):
        try:
            return tomllib.loads(f"{key} = {value}")[key]
        except tomllib.TOMLDecodeError:
            return value  # which is no list, and is refused by name
    entries = value.split(",")
    if key not in {"never_leave", "residency"}:  # an unset shell variable must not mean: nothing stays, or anywhere
        entries = [entry for entry in entries if entry]
    if key == "thresholds":
        return {entity: threshold for entity, _, threshold in (entry.partition("=") for entry in entries)}
    return entries if key in _LISTS else value
