"""Which sequence of the memory a request gets, and how much of what is already there it can use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Slot:
    """A sequence of the model's memory. It holds cells for the first `cells` of `tokens`, made with `adapter`."""

    sequence: int
    tokens: list[int] = field(default_factory=list)
    cells: int = 0
    is_busy: bool = False
    last_used: int = 0
    adapter: str | None = None

    def shares(self, prompt: Sequence[int], adapter: str | None = None) -> int:
        """How many of a prompt's first tokens have cells here: none where those were made with another adapter."""
        return 0 if adapter != self.adapter else min(common_prefix(self.tokens, prompt), self.cells)


@dataclass(frozen=True, slots=True)
class Placement:
    """Take `slot`; its first `shared` tokens are to come from `source`, which may be the slot itself."""

    slot: Slot
    source: Slot
    shared: int


def place(slots: Sequence[Slot], prompt: Sequence[int], adapter: str | None = None) -> Placement | None:
    """The best place for a prompt, None where all slots are busy.

    At least the prompt's last token stays to be evaluated, since its logits are needed.
    """
    free = [slot for slot in slots if not slot.is_busy]
    if not free:
        return None
    source = max(slots, key=lambda slot: (slot.shares(prompt, adapter), not slot.is_busy))
    shared = min(source.shares(prompt, adapter), len(prompt) - 1)
    oldest = min(free, key=lambda slot: (bool(slot.cells), slot.last_used))
    if shared == 0:
        return Placement(oldest, oldest, 0)
    # A conversation that goes on takes its own slot; one that only begins alike leaves the other's as it is.
    goes_on = not source.is_busy and shared * 2 >= source.cells
    return Placement(source if goes_on or source is oldest else oldest, source, shared)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two sequences have in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
