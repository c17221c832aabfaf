"""How much memory models may take when the user has not said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edge_agent.models.control_groups import groups, text_of

_MIB = 2**20
_FILES = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""Where a control group says its limit, by version; psutil sees none of them."""


def default_budget_mb() -> int:
    """Half of this machine's (or container's) memory in MiB.

    Of all memory rather than of what is free now: the choice of a model must not change from one start to the next.
    """
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types; the daemon listens without it

    return budget_within(int(psutil.virtual_memory().total), Path("/"))


def budget_within(total: int, root: Path) -> int:
    """Half of `total` bytes, or of the smallest limit that the control groups under `root` tell, in MiB."""
    return min([total, *_limits(root)]) // 2 // _MIB


def _limits(root: Path) -> Iterator[int]:
    for group in groups(root, "memory"):
        for name in _FILES:
            with suppress(ValueError):  # absent, or "max"
                limit = int(text_of(group / name))
                if limit > 0:
                    yield limit
