"""The group's keys, boxes and invitations: what is sealed opens for those it is meant for, as it was, or not at all."""

from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem, Unavailable
from cloud_bridge.protocol.sync import NAME, SUBJECT, hash_token
from edge_agent.state.sync.box import open_with, seal_to
from edge_agent.state.sync.invitation import Invitation
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.membership import Beginning, Membership
from edge_agent.state.sync.welcome import Welcome

ORIGIN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
URL = "https://bridge.example"
GROUP = GroupKeys.new()
BOX = X25519PrivateKey.generate()
BOX_KEY = BOX.public_key().public_bytes_raw()
quick = settings(max_examples=50, deadline=None)


def flipped(data: bytes, bit: int) -> bytes:
    at = bit % (len(data) * 8)
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


@quick
@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(0, 3))
def test_every_device_of_a_group_opens_what_one_sealed(payload: bytes, header: bytes, removals: int) -> None:
    keys = GROUP
    for _ in range(removals):
        keys = keys.rotated()
    epoch, sealed = keys.seal_segment(header, payload)
    assert epoch == removals
    assert GroupKeys.from_bytes(keys.to_bytes()).open_segment(epoch, header, sealed) == payload
    assert keys.rotated().open_segment(epoch, header, sealed) == payload
    assert len(payload) < 4 or payload not in sealed


@quick
@given(st.binary(max_size=40), st.integers(0, 10**6))
def test_any_changed_bit_is_refused(payload: bytes, bit: int) -> None:
    epoch, sealed = GROUP.seal_segment(b"header", payload)
    with pytest.raises(Broken, match="altered"):
        GROUP.open_segment(epoch, b"header", flipped(sealed, bit))
    with pytest.raises(Broken):
        GROUP.open_segment(epoch, flipped(b"header", bit), sealed)
    epoch, sealed = GROUP.seal_key("name", "subject", payload)
    with pytest.raises(Broken):
        GROUP.open_key("name", "subject", epoch, flipped(sealed, bit))
    boxed = seal_to(BOX_KEY, payload, b"context")
    with pytest.raises(Broken) as refused:
        # The highest bit of a public key is not looked at by X25519 (RFC 7748, section 5); the key's derivation is.
        open_with(BOX, flipped(boxed, bit), b"context")
    assert refused.value.code == "sync_box_damaged"
    card = GROUP.card(ORIGIN, BOX_KEY)
    with pytest.raises(Broken):
        GROUP.check_card(flipped(card, bit), ORIGIN, BOX_KEY)


def test_what_is_sealed_opens_in_no_other_place() -> None:
    epoch, sealed = GROUP.seal_key("name", "subject", b"a share key")
    assert GROUP.open_key("name", "subject", epoch, sealed) == b"a share key"
    for name, subject in (("other", "subject"), ("name", "other"), ("namesubject", "")):
        with pytest.raises(Broken):
            GROUP.open_key(name, subject, epoch, sealed)
    with pytest.raises(Broken):
        GROUP.open_segment(epoch, b"name\x1fsubject", sealed)  # no segment, though bound to the same
    with pytest.raises(Broken):
        GROUP.with_epoch(1, bytes(32)).open_key("name", "subject", 1, sealed)
    with pytest.raises(Broken):
        GroupKeys.new().open_key("name", "subject", epoch, sealed)
    for cut in (b"", sealed[:11], sealed[:12], sealed[:-1]):
        with pytest.raises(Broken):
            GROUP.open_key("name", "subject", epoch, cut)


def test_a_key_that_has_not_come_yet_is_waited_for() -> None:
    epoch, sealed = GROUP.rotated().seal_segment(b"", b"said after a removal")
    with pytest.raises(Unavailable) as problem:
        GROUP.open_segment(epoch, b"", sealed)
    assert problem.value.code == "sync_key_missing"
    assert "edge-agent sync status" in problem.value.hint


@quick
@given(st.text(max_size=40), st.text(max_size=26))
def test_a_subject_names_a_session_without_telling_it(session_id: str, epoch: str) -> None:
    subject = GROUP.subject(session_id, epoch)
    assert SUBJECT.fullmatch(subject)
    assert subject == GROUP.rotated().subject(session_id, epoch)  # else what is forgotten could not be named
    assert subject != GROUP.subject(session_id, epoch + "x")
    assert subject != GroupKeys.new().subject(session_id, epoch)


def test_a_card_is_of_one_device_one_key_and_the_newest_epoch() -> None:
    card = GROUP.card(ORIGIN, BOX_KEY)
    GROUP.check_card(card, ORIGIN, BOX_KEY)
    for keys, origin, box_key in (
        (GROUP, OTHER, BOX_KEY),
        (GROUP, ORIGIN, bytes(32)),
        (GroupKeys.new(), ORIGIN, BOX_KEY),
        (GROUP.rotated(), ORIGIN, BOX_KEY),  # a device removed since could have made it
    ):
        with pytest.raises(Broken):
            keys.check_card(card, origin, box_key)
    with pytest.raises(Broken):
        GROUP.check_card(b"", ORIGIN, BOX_KEY)


def test_an_epoch_has_one_key() -> None:
    keys = GROUP.with_epoch(4, bytes(range(32)))
    assert (keys.epoch, keys.epochs, GROUP.epoch) == (4, (0, 4), 0)
    assert keys.with_epoch(4, bytes(range(32))).epoch == 4
    for epoch, key in ((4, bytes(32)), (5, b"short"), (-1, bytes(32))):
        with pytest.raises(Broken):
            keys.with_epoch(epoch, key)
    with pytest.raises(Broken):
        keys.joined_with(GROUP.with_epoch(4, bytes(32)))
    with pytest.raises(Broken):
        keys.joined_with(GroupKeys.new())
    assert keys.joined_with(GROUP.with_epoch(6, bytes(32))).epochs == (0, 4, 6)


@quick
@given(st.binary(max_size=60))
def test_bytes_that_are_no_keys_are_refused(document: bytes) -> None:
    for read in (GroupKeys.from_bytes, Welcome.from_bytes):
        with pytest.raises(Broken):
            read(document)
    cut = GROUP.to_bytes()[: -1 - len(document)]
    with pytest.raises(Broken):
        GroupKeys.from_bytes(cut)


def test_a_box_opens_for_its_owner_and_in_its_context_only() -> None:
    sealed = seal_to(BOX_KEY, b"for one device", b"context")
    assert open_with(BOX, sealed, b"context") == b"for one device"
    assert seal_to(BOX_KEY, b"for one device", b"context") != sealed
    for private, context in ((X25519PrivateKey.generate(), b"context"), (BOX, b"other")):
        with pytest.raises(Broken):
            open_with(private, sealed, context)
    for broken in (b"", sealed[:31], sealed[:32], bytes(32) + sealed[32:]):  # zeros: a point of low order
        with pytest.raises(Broken):
            open_with(BOX, broken, b"context")
    for public in (b"", bytes(32), b"x" * 31):
        with pytest.raises(Broken):
            seal_to(public, b"", b"")


def test_an_invitation_carries_the_keys_to_whoever_has_it() -> None:
    group = GROUP.rotated()
    made = Invitation.make(group, URL, 1_800_000_000.0)
    text = made.to_text()
    for written in (text, f"  {text}\n", f"{text[:60]}\r\n {text[60:]}"):
        found = Invitation.from_text(written)
        assert found == made
    sealed = made.seal(Welcome(group, {ORIGIN: BOX_KEY}))
    welcome = found.open(sealed)
    assert welcome.keys.to_bytes() == group.to_bytes()
    assert welcome.members == {ORIGIN: BOX_KEY}
    group.check_card(found.card(OTHER, BOX_KEY), OTHER, BOX_KEY)
    assert (found.group, found.epoch, found.expires_at) == (group.id, 1, 1_800_000_000)
    assert found.is_for(URL + "/")
    assert not found.is_for("https://elsewhere.example")
    assert NAME.fullmatch(found.token)
    assert found.token_hash == hash_token(found.token)
    assert Invitation.make(group, URL, 0).token != made.token


@quick
@given(st.integers(0, 10**6), st.sampled_from("abcXYZ019-_ /="))
@example(len(Invitation.make(GROUP, URL, 0).to_text()) - 1, "b")  # whose lowest bits decoding does not look at
def test_a_slip_in_an_invitation_is_noticed(at: int, letter: str) -> None:
    text = Invitation.make(GROUP, URL, 1_800_000_000.0).to_text()
    at %= len(text)
    changed = text[:at] + letter + text[at + 1 :]
    if "".join(changed.split()) == text:
        return
    with pytest.raises(InvalidRequest) as problem:
        Invitation.from_text(changed)
    assert problem.value.code == "bad_invitation"
    assert "edge-agent sync invite" in problem.value.hint
    with pytest.raises(InvalidRequest):
        Invitation.from_text(text[:at])


@quick
@given(st.text(max_size=200))
def test_any_text_is_an_invitation_or_refused(text: str) -> None:
    for given_text in (text, f"edge-sync-{text}"):
        with pytest.raises(InvalidRequest, match=r"invitation|Invitation"):
            Invitation.from_text(given_text)


def test_keys_that_an_invitation_does_not_speak_of_are_refused() -> None:
    made = Invitation.make(GROUP, URL, 0)
    for keys in (GroupKeys.new(), GROUP.rotated(), _of_another_key(GROUP)):
        with pytest.raises(Broken) as problem:
            made.open(made.seal(Welcome(keys, {})))
        assert problem.value.code in {"sync_damaged", "sync_box_damaged"}
    with pytest.raises(Broken):
        made.open(Invitation.make(GROUP, URL, 0).seal(Welcome(GROUP, {})))


def _of_another_key(keys: GroupKeys) -> GroupKeys:
    """The same group's id and epoch, and none of its secrets."""
    forged = GroupKeys.from_bytes(GroupKeys.new().to_bytes())
    forged.id = keys.id
    return forged


def test_no_key_shows_in_what_is_printed_or_pickled() -> None:
    invitation = Invitation.make(GROUP, URL, 0)
    membership = Membership(GROUP, URL, BOX, {ORIGIN: BOX_KEY})
    welcome = Welcome(GROUP, {ORIGIN: BOX_KEY})
    begun = Beginning(URL, None, invitation.to_text(), BOX)
    secrets = [
        *(part for part in GROUP.to_bytes().decode().split('"') if len(part) == 43),
        invitation.to_text(),
        repr(invitation._private)[2:-1],
        repr(invitation._card_key)[2:-1],
        repr(BOX.private_bytes_raw())[2:-1],
    ]
    assert len(secrets) == 6
    for thing in (GROUP, invitation, membership, welcome, begun):
        for shown in (repr(thing), str(thing), f"{thing}"):
            assert not [secret for secret in secrets if secret in shown], type(thing).__name__
        for copied in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                copied(thing)


def test_problems_say_what_to_do() -> None:
    with pytest.raises(Problem) as problem:
        GROUP.open_segment(0, b"", b"")
    assert problem.value.code == "sync_damaged"
    assert "edge-agent sync devices" in problem.value.hint
