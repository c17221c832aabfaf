"""What a device keeps of its group: sealed on disk, kept under a new master key, and moved on by its members alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.problems import Broken, Problem
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.box import seal_to
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.membership import Beginning, Membership
from edge_agent.state.sync.standing import standing, untold
from edge_agent.state.sync.welcome import Welcome

URL = "https://bridge.example"
A, B, C, D = (f"01ARZ3NDEKTSV4RRFFQ69G5FA{letter}" for letter in "ABCD")


@dataclass(frozen=True)
class Listed:
    """A member as a bridge lists it."""

    origin: str
    box_key: bytes
    card: bytes


def listed(origin: str, member: Membership) -> Listed:
    return Listed(origin, member.box_key, member.keys.card(origin, member.box_key))


def of_group(keys: GroupKeys) -> Membership:
    return Membership(keys, URL)


def everything(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_a_home_in_no_group_has_none(state: State) -> None:
    assert memberships.load(state.log) is None
    assert memberships.load_beginning(state.log) is None
    assert memberships.take_box(state.log, 1, b"box") is None
    assert standing(state.log).last_ok_ms is None


def test_a_membership_is_kept_sealed(state: State, home: Path, open_at: Any) -> None:
    group = replace(of_group(GroupKeys.new()), members={A: b"a" * 32})
    memberships.save(state.log, group)
    for log in (state.log, open_at().log):
        found = memberships.load(log)
        assert found is not None
        assert found.keys.to_bytes() == group.keys.to_bytes()
        assert (found.url, found.box_key, found.members) == (URL, group.box_key, {A: b"a" * 32})
    document = json.loads(group.keys.to_bytes())
    held = everything(home)
    assert group.box.private_bytes_raw() not in held
    for secret in (document["subject_key"], document["epochs"]["0"], group.keys.id, URL):
        assert secret.encode() not in held
    memberships.clear(state.log)
    assert memberships.load(state.log) is None


def test_what_was_begun_is_no_membership_yet(state: State) -> None:
    memberships.save(state.log, Beginning(URL, GroupKeys.new()))
    assert memberships.load(state.log) is None
    begun = memberships.load_beginning(state.log)
    assert begun is not None
    assert begun.keys is not None
    memberships.save(state.log, Beginning(URL, invitation="text"))
    joining = memberships.load_beginning(state.log)
    assert joining is not None
    assert (joining.keys, joining.invitation) == (None, "text")
    memberships.save(state.log, Membership(begun.keys, URL, begun.box))
    assert memberships.load_beginning(state.log) is None


def test_a_new_master_key_keeps_the_group(open_at: Any, home: Path) -> None:
    owner = open_at(owner=True)
    group = of_group(GroupKeys.new())
    memberships.save(owner.log, group)
    with owner.log.reading() as tx:
        (before,) = tx.db.execute("SELECT CAST(sealed AS BLOB) FROM sync_group").fetchone()
    HomeKey(home).rotate(owner)
    for log in (owner.log, open_at().log):
        found = memberships.load(log)
        assert found is not None
        assert found.box_key == group.box_key
    assert before not in everything(home)


def test_an_altered_row_is_refused(state: State) -> None:
    memberships.save(state.log, of_group(GroupKeys.new()))
    with state.log.transaction() as tx:
        tx.db.execute("UPDATE sync_group SET sealed = zeroblob(80)")
    with pytest.raises(Broken) as problem:
        memberships.load(state.log)
    assert problem.value.code == "state_damaged"


def test_a_removed_device_is_told_nothing_and_the_others_all(state: State) -> None:
    keys = GroupKeys.new()
    a, b, c = of_group(keys), of_group(keys), of_group(keys)
    everyone = [listed(A, a), listed(B, b), listed(C, c)]
    rotated, boxes = a.without(C, everyone)
    assert set(boxes) == {A, B}
    assert rotated.keys.epoch == 1
    told = b.opened(B, 1, boxes[B])
    epoch, sealed = rotated.keys.seal_segment(b"", b"said since")
    assert told.keys.open_segment(epoch, b"", sealed) == b"said since"
    assert told.members == {A: a.box_key, B: b.box_key}
    assert told.opened(B, 1, boxes[B]) is told
    for member, origin in ((c, C), (c, B), (b, A)):
        with pytest.raises(Problem):
            member.opened(origin, 1, boxes.get(origin, boxes[B]))
    with pytest.raises(Problem):
        c.keys.open_segment(epoch, b"", sealed)
    # The one that removed, but ended before it kept the new keys.
    memberships.save(state.log, a)
    own = seal_to(a.box_key, b"no welcome", b"")
    with pytest.raises(Broken):
        memberships.take_box(state.log, 1, own)
    found = memberships.load(state.log)
    assert found is not None
    assert found.keys.epoch == 0
    assert a.opened(A, 1, boxes[A]).keys.to_bytes() == rotated.keys.to_bytes()


def test_a_box_is_taken_into_the_state(state: State) -> None:
    keys = GroupKeys.new()
    a, b = of_group(keys), of_group(keys)
    own = state.device
    memberships.save(state.log, b)
    _, boxes = a.without(C, [listed(A, a), listed(own, b)])
    taken = memberships.take_box(state.log, 1, boxes[own])
    found = memberships.load(state.log)
    assert taken is not None
    assert found is not None
    assert taken.keys.epoch == found.keys.epoch == 1


def test_a_key_of_the_bridges_making_gets_nothing() -> None:
    keys = GroupKeys.new()
    a, b, of_bridge = of_group(keys), of_group(keys), of_group(GroupKeys.new())
    swapped = Listed(B, of_bridge.box_key, listed(B, b).card)
    invented = listed(D, of_bridge)
    without_card = Listed(C, of_bridge.box_key, b"")
    _, boxes = a.without(D, [listed(A, a), swapped, invented, without_card])
    assert set(boxes) == {A}
    for member in (swapped, invented, without_card):
        assert not a.is_genuine(member)


def test_a_card_of_before_a_removal_is_no_proof_after_it() -> None:
    """The removed device has the older keys, and with the bridge could list a device that nobody has."""
    keys = GroupKeys.new()
    a, b, removed = of_group(keys), of_group(keys), of_group(keys)
    after, boxes = a.without(C, [listed(A, a), listed(B, b), listed(C, removed)])
    assert after.is_genuine(listed(B, b))  # known from before
    assert not after.is_genuine(Listed(B, of_group(GroupKeys.new()).box_key, listed(B, b).card))
    assert not after.is_genuine(listed(D, removed))
    joined_since = replace(of_group(after.keys), members=after.members)
    assert b.opened(B, 1, boxes[B]).is_genuine(listed(D, joined_since))


def test_who_has_not_the_newest_keys_cannot_bring_newer_ones() -> None:
    keys = GroupKeys.new()
    a, b = of_group(keys), of_group(keys)
    after, boxes = a.without(C, [listed(A, a), listed(B, b)])
    told = b.opened(B, 1, boxes[B])
    forged = Welcome(keys.with_epoch(1, bytes(32)).rotated(), {A: a.box_key}).to_bytes()
    context = f"edge-agent/sync/1/removal\x1f{keys.id}\x1f2\x1f{B}".encode()
    with pytest.raises(Broken):
        told.opened(B, 2, seal_to(b.box_key, forged, context))
    # Without the epoch that it does not know, and with a tag of an older one in that one's place.
    outer = json.loads(Welcome(keys.with_epoch(2, bytes(32)), {A: a.box_key}).to_bytes())
    outer["tags"]["1"] = outer["tags"]["0"]
    for document in (outer, {**outer, "tags": {}}):
        with pytest.raises(Broken):
            told.opened(B, 2, seal_to(b.box_key, json.dumps(document).encode(), context))
    genuine = Welcome(after.keys.rotated(), {A: a.box_key}).to_bytes()
    assert told.opened(B, 2, seal_to(b.box_key, genuine, context)).keys.epoch == 2


def test_a_device_that_was_away_for_several_removals_catches_up() -> None:
    keys = GroupKeys.new()
    a, away = of_group(keys), of_group(keys)
    once, _ = a.without(C, [listed(A, a), listed(B, away)])
    twice, boxes = once.without(D, [listed(A, once), listed(B, away)])
    caught_up = away.opened(B, 2, boxes[B])
    assert caught_up.keys.epochs == (0, 1, 2)
    assert caught_up.keys.to_bytes() == twice.keys.to_bytes()


def test_what_the_group_has_not_heard_is_counted(state: State, talk: Any) -> None:
    request = state.accept_request("s", talk("hello"))
    assert untold(state.log, 0) == 1  # the request, and not the note
    state.append("hello", "s", {"text": "own"})
    state.fail_request(request, "no_model")
    assert untold(state.log, 0) == 2
    assert untold(state.log, 10_000) == 0
    with state.log.transaction() as tx:
        tx.db.execute("INSERT INTO sync_state VALUES ('last_ok_ms', '1700000000000'), ('last_error', 'sync_quota')")
    assert standing(state.log).last_ok_ms == 1_700_000_000_000
    assert standing(state.log).last_error == "sync_quota"
