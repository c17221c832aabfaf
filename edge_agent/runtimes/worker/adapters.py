"""The adapters that a model's process has loaded: each when it is first asked for, and then until the process ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import NotFound
from edge_agent.models.locks.in_use import Hold, hold
from edge_agent.runtimes.decoders.decoder import Decoder


class LoadedAdapters:
    """Belongs to the engine's thread. `parent` is the daemon's process, which a person knows."""

    def __init__(self, decoder: Decoder, parent: int) -> None:
        self._decoder = decoder
        self._parent = parent
        self._held: dict[str, Hold] = {}

    def ensure(self, asked: Mapping[str, Any] | None) -> str | None:
        """The decoder's name of the adapter that a frame asks for, loaded; None where it asks for none.

        Blocks while it is read. Raises NotFound code "model_not_installed", and as `Decoder.load_adapter` does.
        """
        if asked is None:
            return None
        name = str(asked["id"])
        if name not in self._held:
            held = hold(Path(asked["in_use"]), told=self._parent) if asked["in_use"] else Hold(None)
            try:
                self._load(name, Path(asked["path"]))
            except BaseException:
                held.release()
                raise
            self._held[name] = held
        return name

    def _load(self, name: str, path: Path) -> None:
        if not path.parent.is_dir():  # removed before it could be held
            raise NotFound(
                "The adapter was removed.",
                code="model_not_installed",
                hint="See `edge-agent models list`.",
                param="model",
            )
        self._decoder.load_adapter(name, path)
