"""What the operator may set: `config.toml` in `$CLOUD_BRIDGE_HOME`.

[server]       host = "127.0.0.1"   port = 8050
public_url = ""      (what devices call it, where a proxy in between rewrites Host)
[store]        retention_hours = 24
[sync]         enabled = true   max_mb_per_group = 1024
[[providers]]  name, kind, base_url, api_key_env, model, region, usd_per_mtok_in, usd_per_mtok_out
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.providers.config import Kind, ProviderConfig


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Server(_Section):
    """Where the bridge listens. TLS is the proxy's in front of it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8050, ge=0, le=65535)
    public_url: str = ""


class Store(_Section):
    """How long masked answers are kept for repetitions, in hours that the bridge runs."""

    retention_hours: float = Field(default=24, gt=0)


class Sync(_Section):
    """What devices share through the bridge, sealed. `max_mb_per_group`: of 1024 * 1024 bytes."""

    enabled: bool = True
    max_mb_per_group: int = Field(default=1024, ge=1)

    @property
    def quota_bytes(self) -> int:
        """What one group may take."""
        return self.max_mb_per_group * 1024 * 1024


class ProviderSection(_Section):
    """One `[[providers]]`; they are tried in the order written."""

    name: str
    kind: Kind = "openai"
    base_url: str
    api_key_env: str = ""
    model: str
    region: str = ""
    usd_per_mtok_in: float = Field(default=0, ge=0)
    usd_per_mtok_out: float = Field(default=0, ge=0)


class BridgeSettings(_Section):
    """All sections, with their defaults."""

    server: Server = Server()
    store: Store = Store()
    sync: Sync = Sync()
    providers: tuple[ProviderSection, ...] = ()

    @classmethod
    def load(cls, home: Path) -> BridgeSettings:
        """Read `config.toml`; defaults where there is none. Raises InvalidRequest that names the file and the key."""
        path = home / "config.toml"
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            settings = cls.model_validate(document)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(
                f"{path} is not valid TOML: {error}.", code="bad_config", hint="Mend that line, or move the file away."
            ) from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise InvalidRequest(
                f"{path}: {key}: {first['msg']}.", code="bad_config", hint="Mend that key.", param=key
            ) from error
        settings.provider_configs()
        return settings

    def provider_configs(self) -> tuple[ProviderConfig, ...]:
        """The providers, checked. Raises InvalidRequest."""
        return tuple(ProviderConfig(**section.model_dump()) for section in self.providers)


def home_from(environ: Mapping[str, str]) -> Path:
    """`$CLOUD_BRIDGE_HOME`, or the platform's user data folder."""
    chosen = environ.get("CLOUD_BRIDGE_HOME")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("cloud-bridge", appauthor=False))
