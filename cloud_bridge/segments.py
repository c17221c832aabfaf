"""What the devices of a group have told: sealed segments in the order of their arrival, and the keys beside them.

An origin's segments follow each other without gaps; they may overlap, since any member may bring any origin's, cut as
it pleases. So a device that takes them in order has no gaps either, wherever it begins.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

from sqlite_utils import Database

from cloud_bridge.database import BridgeDatabase
from cloud_bridge.groups import Groups, members
from cloud_bridge.protocol.problems import Conflict, Unavailable
from cloud_bridge.protocol.sync import MAX_ORIGINS, Exchange, Exchanged, KeyObject, Segment

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of sealed bytes in one answer, whatever the caller would take; one segment may be larger."""

ROW_BYTES = 256
"""What a segment, a key object or a subject is counted for beside its sealed bytes."""


class SegmentStore:
    """The segments of one bridge's groups. Blocking; safe to use from many threads. `quota_bytes`: for each group."""

    def __init__(self, database: BridgeDatabase, groups: Groups, *, quota_bytes: int) -> None:
        self._database = database
        self._groups = groups
        self._quota_bytes = quota_bytes

    def exchange(self, caller: str, brought: Exchange) -> Exchanged:
        """Take what is new, and give what the caller lacks. A repetition changes nothing.

        Raises NotAllowed where the caller is no member, Conflict "sync_too_many_origins", and Unavailable "sync_quota":
        then nothing was taken, but what is `gone` is; only of subjects that were never here the bridge may note no
        more, where those noted would fill the quota.
        """
        if brought.gone:
            # Before anything else: it must hold also where the rest cannot be taken.
            with self._database.transaction() as db:
                self._groups.seen(db, caller, brought)
                size, is_noted = _forget(db, brought.group, brought.gone, self._quota_bytes // ROW_BYTES)
                _charge(db, brought.group, size)
            self._database.erase_traces()
            if not is_noted:
                raise _full()
        with self._database.transaction() as db:
            box = self._groups.seen(db, caller, brought)
            have = _have(db, brought.group)
            taken = _take(db, brought.group, brought.segments, have) + _take_keys(db, brought.group, brought.keys)
            if _charge(db, brought.group, taken) > self._quota_bytes and taken > 0:
                raise _full()
            most = min(brought.max_bytes, MAX_ANSWER_BYTES)
            segments, keys, more = _lacking(db, brought.group, brought.have, have, most)
            return Exchanged(have, segments, keys, members(db, brought.group), more, box)


def _charge(db: Database, group: str, size: int) -> int:
    """Count so many bytes more, or fewer, for the group. Returns what it takes now."""
    if size != 0:
        db.execute("UPDATE sync_groups SET bytes = bytes + ? WHERE name = ?", (size, group))
    ((used,),) = db.execute("SELECT bytes FROM sync_groups WHERE name = ?", (group,)).fetchall()
    return int(used)


def _have(db: Database, group: str) -> dict[str, int]:
    rows = db.execute("SELECT origin, through FROM sync_origins WHERE grp = ? ORDER BY origin", (group,))
    return dict(rows.fetchall())


def _take(db: Database, group: str, segments: Iterable[Segment], have: dict[str, int]) -> int:
    """Store those that continue what is here, and bring `have` up to date. Returns what they are counted for."""
    size = 0
    for segment in segments:
        if not segment.after <= have.get(segment.origin, 0) < segment.through:
            continue
        have[segment.origin] = segment.through
        if len(have) > MAX_ORIGINS:
            raise Conflict(
                "The group has had too many devices.",
                code="sync_too_many_origins",
                hint="Begin a new group with the devices that are in use.",
            )
        db.execute(
            "INSERT INTO sync_segments (grp, origin, after, through, epoch, keys, sealed) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(group, segment.origin, segment.after, segment.through, segment.epoch),
                json.dumps(segment.keys),
                segment.sealed,
            ),
        )
        db.execute("INSERT OR REPLACE INTO sync_origins VALUES (?, ?, ?)", (group, segment.origin, segment.through))
        size += _weight(segment)
    return size


def _take_keys(db: Database, group: str, keys: Iterable[KeyObject]) -> int:
    """Store those that are new, or sealed under a newer group key, and whose subject is not gone."""
    size = 0
    for key in keys:
        if db.execute("SELECT 1 FROM sync_gone WHERE grp = ? AND subject = ?", (group, key.subject)).fetchone():
            continue
        old = db.execute(
            "SELECT epoch, length(sealed) FROM sync_keys WHERE grp = ? AND name = ?", (group, key.name)
        ).fetchone()
        if old is not None and old[0] >= key.epoch:
            continue
        db.execute(
            "INSERT OR REPLACE INTO sync_keys VALUES (?, ?, ?, ?, ?)",
            (group, key.name, key.subject, key.epoch, key.sealed),
        )
        size += len(key.sealed) + (ROW_BYTES if old is None else -old[1])
    return size


def _forget(db: Database, group: str, subjects: Iterable[str], most: int) -> tuple[int, bool]:
    """Delete the subjects' key objects, and take none of them again.

    Beyond `most` subjects only those are noted whose keys made room. Returns how much more the group takes, and
    whether all are noted.
    """
    size, is_noted = 0, True
    (noted,) = db.execute("SELECT count(*) FROM sync_gone WHERE grp = ?", (group,)).fetchone()
    for subject in subjects:
        of_subject = (group, subject)
        (freed,) = db.execute(
            "SELECT coalesce(sum(length(sealed) + ?), 0) FROM sync_keys WHERE grp = ? AND subject = ?",
            (ROW_BYTES, *of_subject),
        ).fetchone()
        db.execute("DELETE FROM sync_keys WHERE grp = ? AND subject = ?", of_subject)
        size -= freed
        if db.execute("SELECT 1 FROM sync_gone WHERE grp = ? AND subject = ?", of_subject).fetchone():
            continue
        if noted >= most and not freed:
            is_noted = False
            continue
        db.execute("INSERT INTO sync_gone VALUES (?, ?)", of_subject)
        noted += 1
        size += ROW_BYTES
    return size, is_noted


def _lacking(
    db: Database, group: str, theirs: Mapping[str, int], ours: Mapping[str, int], max_bytes: int
) -> tuple[tuple[Segment, ...], tuple[KeyObject, ...], bool]:
    """The next segments beyond `theirs`, their keys, and whether there are more. Holds `max_bytes` and one segment."""
    segments: list[Segment] = []
    keys: dict[str, KeyObject] = {}
    size = 0
    with _arrivals(db, group, {origin: theirs.get(origin, 0) for origin in ours}) as arrivals:
        for arrival in arrivals:
            if max_bytes == 0:
                return (), (), True
            segment = _segment(db, arrival)
            new = _keys(db, group, [name for name in segment.keys if name not in keys])
            size += _weight(segment) + sum(ROW_BYTES + len(key.sealed) for key in new)
            if segments and size > max_bytes:
                return tuple(segments), tuple(keys.values()), True
            segments.append(segment)
            keys |= {key.name: key for key in new}
    return tuple(segments), tuple(keys.values()), False


@contextmanager
def _arrivals(db: Database, group: str, after: Mapping[str, int]) -> Iterator[Iterator[int]]:
    """What lies beyond `after`, in order of arrival. Reads only as far as it is asked: a long rest costs nothing."""
    sql = "SELECT arrival FROM sync_segments WHERE grp = ? AND origin = ? AND through > ? ORDER BY through"
    with ExitStack() as stack:
        cursors = [stack.enter_context(closing(db.execute(sql, (group, *item)))) for item in after.items()]
        yield (arrival for (arrival,) in heapq.merge(*cursors))


def _segment(db: Database, arrival: int) -> Segment:
    origin, after, through, epoch, keys, sealed = db.execute(
        "SELECT origin, after, through, epoch, keys, sealed FROM sync_segments WHERE arrival = ?", (arrival,)
    ).fetchone()
    return Segment(origin, after, through, epoch, tuple(json.loads(keys)), bytes(sealed))


def _weight(segment: Segment) -> int:
    return ROW_BYTES + len(segment.sealed) + sum(len(name) for name in segment.keys)


def _keys(db: Database, group: str, names: Iterable[str]) -> list[KeyObject]:
    sql = "SELECT name, subject, epoch, sealed FROM sync_keys WHERE grp = ? AND name = ?"
    found = (db.execute(sql, (group, name)).fetchone() for name in names)
    return [KeyObject(name, subject, epoch, bytes(sealed)) for name, subject, epoch, sealed in filter(None, found)]


def _full() -> Unavailable:
    return Unavailable(
        "The bridge keeps no more for this group: its quota is used up.",
        code="sync_quota",
        hint="Whoever runs the bridge can raise max_mb_per_group in the [sync] section of its config.toml.",
    )
