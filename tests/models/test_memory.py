"""The memory that models may take, on fake machines: folders with what Linux has under /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from edge_agent.models.memory import budget_within, default_budget_mb

GIB = 2**30


def _write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(f"{text}\n")


def test_half_of_the_machine_where_nothing_limits_it(tmp_path: Path) -> None:
    assert budget_within(16 * GIB, tmp_path) == 8192
    _write(tmp_path, "proc/self/cgroup", "0::/")
    _write(tmp_path, "sys/fs/cgroup/memory.max", "max")
    assert budget_within(16 * GIB, tmp_path) == 8192


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/a/b", "a/b/memory.max"),
        ("0::/a/b", "a/memory.max"),
        ("0::/a/b", "a/memory.high"),
        ("0::/host/path", "memory.max"),
        ("0::/../..", "memory.max"),
        ("9:cpu:/\n4:memory:/a\n0::/", "memory/a/memory.limit_in_bytes"),
        ("4:memory:/docker/abc", "memory/memory.limit_in_bytes"),
        ("0::/a", "unified/a/memory.max"),
    ],
)
def test_half_of_what_a_group_around_it_may_have(tmp_path: Path, cgroup: str, file: str) -> None:
    _write(tmp_path, "proc/self/cgroup", cgroup)
    _write(tmp_path, f"sys/fs/cgroup/{file}", str(2 * GIB))
    assert budget_within(16 * GIB, tmp_path) == 1024


def test_without_proc_the_container_itself_is_looked_at(tmp_path: Path) -> None:
    _write(tmp_path, "sys/fs/cgroup/memory.max", str(2 * GIB))
    assert budget_within(16 * GIB, tmp_path) == 1024


@pytest.mark.parametrize("junk", ["", "-1", "0", "9223372036854771712", "x", "\xff"])
def test_what_is_no_limit_is_none(tmp_path: Path, junk: str) -> None:
    _write(tmp_path, "proc/self/cgroup", "0::/")
    _write(tmp_path, "sys/fs/cgroup/memory.max", junk)
    assert budget_within(16 * GIB, tmp_path) == 8192


def test_this_machine() -> None:
    assert 0 < default_budget_mb() <= psutil.virtual_memory().total // 2**21
