"""The power goes at any moment. 200 times: python -m tests.crashes.power_cuts."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.crashes.disk import Disk, File, Operation
from tests.crashes.power_cuts import compiler, cut

CUTS = 60


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="no C compiler, or not Linux: what a process writes cannot be recorded")
def test_what_was_acknowledged_survives_a_power_cut_and_nothing_is_half_done(tmp_path: Path) -> None:
    found = list(cut(tmp_path, turns=40, cuts=CUTS, random=Random(7)))  # noqa: S311 - moments, not secrets
    assert len(found) == CUTS
    assert sum(found) > 20 * CUTS


def test_a_cut_leaves_what_was_synced_and_any_part_of_the_rest() -> None:
    """The disk itself is what it says: else the test above proves nothing."""
    file = File()
    file.since += [(0, b"a" * 1024), (1024, b"b" * 512)]
    file.sync()
    file.since += [(0, b"c" * 1024), (512, None)]
    left = {file.after_cut(Random(seed), 512) for seed in range(200)}  # noqa: S311 - moments, not secrets
    whole = b"a" * 1024 + b"b" * 512
    assert whole in left
    assert b"c" * 512 + whole[512:] in left
    assert whole[:512] + b"c" * 512 + whole[1024:] in left
    assert b"c" * 512 in left
    assert any(len(content.rstrip(b"ab")) % 512 > 0 for content in left)  # torn within a sector


def test_a_name_is_safe_when_its_folder_was_synced() -> None:
    disk = Disk(folders={"/home"})
    folder, made = Operation("o", 3, 0, b"/home", ""), Operation("o", 4, 0, b"/home/draft", "")
    for operation in (folder, made, Operation("f", 3, 0, b"", ""), Operation("r", -1, 0, b"/home/key", "/home/draft")):
        disk.apply(operation)
    left = {tuple(name for name, _ in disk.after_cut(Random(seed), 512, None)) for seed in range(50)}  # noqa: S311
    assert left == {("/home/draft",), ("/home/draft", "/home/key"), ("/home/key",)}
