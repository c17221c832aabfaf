"""Which installed adapters go with which installed models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem
from edge_agent.models import lora
from edge_agent.models.manifest import Manifest
from edge_agent.models.store import ModelStore

ADAPTER_MARK = "+"
"""Between a model's id and an adapter's in what a request asks for; no id has it."""

_Signature = tuple[int, ...]


def pair_id(model: Manifest, adapter: Manifest) -> str:
    """What a request calls the two together: `BASE+ADAPTER`."""
    return f"{model.id}{ADAPTER_MARK}{adapter.id}"


@dataclass(frozen=True, slots=True)
class _Known:
    signature: _Signature
    problem: Problem | None


class Pairs:
    """Which adapters were made for which models; each pair is looked at once, and again when a file has changed.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Path, Path], _Known] = {}

    def check(self, adapter: Path, model: Path, adapter_format: lora.AdapterFormat) -> None:
        """Raises what `lora.read`, `lora.base` and `lora.check_made_for` raise. Cheap for a pair that is known."""
        signature = (*_signature(adapter), *_signature(model))
        known = self._known.get((adapter, model))
        if known is None or known.signature != signature:
            known = _Known(signature, _problem(adapter, model, adapter_format))
            self._known[adapter, model] = known
        if known.problem is not None:
            raise known.problem.with_traceback(None)  # one object, told again until a file changes

    def matching(self, models: Sequence[Manifest], store: ModelStore) -> Sequence[tuple[Manifest, Manifest]]:
        """The models of these that are installed, each with every installed adapter that was made for it."""
        adapters = store.installed_adapters()
        return [
            (model, adapter) for model in models for adapter in adapters if self._go_together(model, adapter, store)
        ]

    def _go_together(self, model: Manifest, adapter: Manifest, store: ModelStore) -> bool:
        for adapter_format in lora.FORMATS:
            if adapter_format == adapter.format == model.format:
                with suppress(Problem):
                    self.check(store.file_of(adapter), store.file_of(model), adapter_format)
                    return True
        return False


def _problem(adapter: Path, model: Path, adapter_format: lora.AdapterFormat) -> Problem | None:
    try:
        lora.check_made_for(lora.read(adapter, adapter_format), lora.base(model, adapter_format))
    except (Broken, InvalidRequest) as problem:
        return problem
    return None


def _signature(path: Path) -> _Signature:
    try:
        state = path.stat()
    except OSError:
        return ()
    return (state.st_mtime_ns, state.st_size, state.st_ino)
