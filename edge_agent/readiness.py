"""What the daemon has, lacks and does, for `/readyz`, `status`, `doctor` and `/v1/models`."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

import anyio.to_thread

from edge_agent import __version__
from edge_agent.composition import Daemon
from edge_agent.models.lora.pairs import pair_id
from edge_agent.models.manifest import Manifest
from edge_agent.runtimes.runtime import CAPABILITIES
from edge_agent.state.times import midnight


def readiness(daemon: Daemon) -> dict[str, bool]:
    """What an answer needs, and whether it is there. Privacy's models count only where something could leave."""
    installed = {entry.manifest.id for entry in daemon.store.list() if entry.installed}
    default = daemon.models.default()
    # A configured model is the default before it is installed, and after it is gone.
    parts = {
        "model": (default is not None and default.id in installed) or daemon.bridge.configured,
        "encoder": any(m.kind == "encoder" and m.id in installed for m in daemon.store.catalog.entries),
    }
    if daemon.bridge.configured:
        parts["privacy"] = set(daemon.settings.privacy.models) <= installed
    return parts


def available_models(daemon: Daemon) -> list[dict[str, Any]]:
    """What `model` may say: the three routes, the installed language models, and these with their adapters."""
    default = daemon.models.default()
    routes = [("auto", "edge-agent"), ("local", default.id if default else "nothing installed"), ("cloud", "providers")]
    entries: list[dict[str, Any]] = [{"id": name, "owned_by": owner, "kind": "route"} for name, owner in routes]
    installed = daemon.models.installed()
    entries.extend(_described(manifest) for manifest in installed)
    entries.extend(
        {**_described(base), "id": pair_id(base, adapter), "base": base.id, "adapter": adapter.id}
        for base, adapter in daemon.models.pairs(installed)
    )
    return entries


def _described(manifest: Manifest) -> dict[str, Any]:
    return {
        "id": manifest.id,
        "owned_by": "local",
        "kind": manifest.kind,
        "context_length": manifest.context_length,
        "licence": manifest.licence,
        "format": manifest.format,
        "capabilities": _capabilities(manifest.format),
    }


def _capabilities(model_format: str) -> dict[str, bool]:
    return next((asdict(able) for name, able in CAPABILITIES.items() if name == model_format), {})


async def current_status(daemon: Daemon) -> dict[str, Any]:
    """What `edge-agent status` shows."""
    default = await anyio.to_thread.run_sync(daemon.models.default)
    parts = await anyio.to_thread.run_sync(readiness, daemon)
    return {
        "version": __version__,
        "pid": os.getpid(),
        "home": str(daemon.home),
        "uptime_s": round(time.time() - daemon.started_at),
        "ready": all(parts.values()),
        "lacks": [name for name, is_there in parts.items() if not is_there],
        "default_model": default.id if default else None,
        "loaded_models": [asdict(loaded) for loaded in daemon.pool.loaded()],
        "bridge": "off" if daemon.offline else daemon.settings.bridge.mode,
        "cloud_configured": daemon.bridge.configured,
        "cloud_reachable": daemon.bridge.configured and await daemon.bridge.reachable(),
        "sync": await daemon.sync.status(),
        "promise": await anyio.to_thread.run_sync(daemon.promises.status),
        "outbox": await anyio.to_thread.run_sync(daemon.state.count_jobs),
        "spent_today_usd": await anyio.to_thread.run_sync(daemon.state.spent_since, midnight(time.time())),
    }
