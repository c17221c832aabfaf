"""A model that the pool has in memory, and which ones go first. Pure: nothing here waits or ends anything."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edge_agent.runtimes.runtime import AdapterSpec, ModelSpec, Runtime

RESERVED_S = 2.0
"""For whoever had the model loaded: nobody else's model takes its place so soon, unless it was used meanwhile."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory: requests it answers now, seconds since the last one ended (0 while it works).

    `expires_in_s`: when it leaves if nobody asks, None for never. `seats`: requests it answers at once; of more that
    are `running`, the rest wait.
    """

    model_id: str
    ram_mb: int
    context_length: int
    running: int
    idle_s: float
    expires_in_s: float | None
    adapters: tuple[str, ...] = ()
    seats: int = 1

    @property
    def has_seat(self) -> bool:
        """Whether one more request would be begun at once."""
        return self.running < self.seats


@dataclass(slots=True, eq=False)
class Resident:
    """`running` counts leases; `leaving` is the task that unloads it. A negative `keep_alive_s` keeps it for ever.

    `adapters`: those that were asked for with it, by id; they stay in its memory until it leaves.
    """

    spec: ModelSpec
    runtime: Runtime
    last_used: float
    keep_alive_s: float
    reserved_until: float = -math.inf
    running: int = 0
    leaving: asyncio.Task[None] | None = None
    adapters: dict[str, AdapterSpec] = field(default_factory=dict)

    @property
    def ram_mb(self) -> int:
        """MiB of the model and its adapters."""
        return self.spec.ram_mb + sum(adapter.ram_mb for adapter in self.adapters.values())

    def lacks(self, adapter: AdapterSpec | None) -> bool:
        """Whether there is no room yet for this adapter beside the model."""
        return adapter is not None and adapter.adapter_id not in self.adapters

    def add(self, adapter: AdapterSpec | None) -> None:
        """There is room for it now."""
        if adapter is not None:
            self.adapters[adapter.adapter_id] = adapter

    @property
    def is_idle(self) -> bool:
        """Whether it could be unloaded without ending a request."""
        return not self.running and self.leaving is None

    @property
    def due(self) -> float:
        """When it is to be unloaded if nobody asks, on the pool's clock."""
        return math.inf if self.keep_alive_s < 0 else max(self.last_used + self.keep_alive_s, self.reserved_until)

    def described(self, now: float) -> LoadedModel:
        """What others may see of it."""
        due = now + self.keep_alive_s if self.running and self.keep_alive_s >= 0 else self.due
        return LoadedModel(
            model_id=self.spec.model_id,
            ram_mb=self.ram_mb,
            context_length=self.runtime.context_length,
            running=self.running,
            idle_s=0.0 if self.running else round(max(0.0, now - self.last_used), 1),
            expires_in_s=None if math.isinf(due) else round(max(0.0, due - now), 1),
            adapters=tuple(self.adapters),
            seats=self.spec.parallel if self.runtime.capabilities.batches else 1,
        )


def first_to_go(residents: Iterable[Resident], now: float) -> Resident | None:
    """The idle one that was used longest ago and that nobody has just asked for."""
    idle = [each for each in residents if each.is_idle and each.reserved_until <= now]
    return min(idle, key=lambda each: each.last_used, default=None)


def to_be_emptied(residents: Sequence[Resident], missing_mb: int) -> set[Resident]:
    """Which ones have to go so that so many MiB become free: idle ones before busy ones, least recently used first.

    Those that leave anyway count.
    """
    chosen: set[Resident] = set()
    order = sorted(residents, key=lambda each: (each.leaving is None, each.running > 0, each.last_used))
    for each in order:
        if missing_mb <= 0:
            break
        chosen.add(each)
        missing_mb -= each.ram_mb
    return chosen
