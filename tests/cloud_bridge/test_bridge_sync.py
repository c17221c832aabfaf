"""Devices of one person at a real bridge: who may share, what each lacks, and what is deleted for good."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.database import BridgeDatabase
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.groups import MAX_INVITATION_S, Groups
from cloud_bridge.http import build_app
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, NotAllowed, NotFound, Problem, Unavailable
from cloud_bridge.protocol.sync import (
    MAX_BODY_BYTES,
    MAX_SEALED_BYTES,
    PATH,
    Box,
    Exchange,
    Exchanged,
    Found,
    Invite,
    Join,
    KeyObject,
    Leave,
    Remove,
    Segment,
    hash_token,
)
from cloud_bridge.segments import MAX_ANSWER_BYTES, ROW_BYTES, SegmentStore
from cloud_bridge.service import Service, running
from cloud_bridge.settings import BridgeSettings, Sync
from cloud_bridge.sync_client import SyncClient

pytestmark = pytest.mark.anyio

GROUP = "family"
A, B, C = (f"01KABCDEFGHJKMNPQRSTVWXY{name}0" for name in "ABC")
ORIGINS = {"laptop": A, "phone": B, "desk": C}
BOX_KEY = bytes(range(32))
SUBJECT = "s" * 43


def segment(origin: str, after: int, through: int, size: int = 20, **fields: object) -> Segment:
    sealed = f"{origin}:{after}-{through}|".encode().ljust(size, b".")
    return replace(Segment(origin, after, through, 0, (), sealed), **fields)


def bringing(origin: str, have: dict[str, int] | None = None, *segments: Segment, **fields: object) -> Exchange:
    return replace(Exchange(GROUP, origin, have or {}, segments), **fields)


def spans(answer: Exchanged) -> list[tuple[str, int, int]]:
    return [(found.origin, found.after, found.through) for found in answer.segments]


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@dataclass(eq=False)
class RunningBridge:
    """A bridge's application, spoken to through its door."""

    service: Service
    database: BridgeDatabase
    http: httpx.AsyncClient
    keys: dict[str, DeviceKey] = field(default_factory=dict)

    def client(self, name: str, *, enrolled: bool = True) -> SyncClient:
        if name not in self.keys:
            self.keys[name] = DeviceKey(Ed25519PrivateKey.generate())
            if enrolled:
                self.service.devices.enroll(name, self.keys[name].public_id)
        return SyncClient("http://bridge.test", self.keys[name], self.http)

    async def found(self, name: str = "laptop") -> SyncClient:
        client = self.client(name)
        await client.found(Found(GROUP, ORIGINS[name], BOX_KEY, b"card"))
        return client

    async def join(self, name: str, by: SyncClient, token: str = "") -> SyncClient:
        client, token = self.client(name), token or f"token-{name}"
        await by.invite(Invite(GROUP, hash_token(token), b"keys", self.service.now() + 3600))
        joined = await client.join(Join(GROUP, token, ORIGINS[name], BOX_KEY, b"card"))
        assert joined.sealed == b"keys"
        return client


MakeBridge = Callable[..., Awaitable[RunningBridge]]


@pytest.fixture
async def make_bridge(tmp_path: Path) -> AsyncIterator[MakeBridge]:
    async with AsyncExitStack() as stack:

        async def make(name: str = "bridge.db", **sync: object) -> RunningBridge:
            database = stack.enter_context(closing(BridgeDatabase(tmp_path / name)))
            options = BridgeSettings(sync=Sync(**sync))
            app = build_app(lambda: running(options, database, environ={}))
            await stack.enter_async_context(app.router.lifespan_context(app))
            http = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(app=app)))
            return RunningBridge(app.state.service, database, http)

        yield make


@pytest.fixture
async def bridge(make_bridge: MakeBridge) -> RunningBridge:
    return await make_bridge()


async def refusal(asked: Awaitable[object], kind: type[Problem], code: str) -> Problem:
    with pytest.raises(kind) as caught:
        await asked
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


async def test_two_devices_hear_of_each_other(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    key = KeyObject("k1", SUBJECT, 0, b"sealed-key")
    told = await laptop.exchange(bringing(A, {A: 3}, segment(A, 0, 3, keys=("k1",)), keys=(key,)))
    assert (told.have, told.segments, told.more) == ({A: 3}, (), False)
    heard = await phone.exchange(bringing(B, {B: 2}, segment(B, 0, 2)))
    assert heard.have == {A: 3, B: 2}
    assert heard.segments == (segment(A, 0, 3, keys=("k1",)),)
    assert heard.keys == (key,)
    assert {member.origin: member.card for member in heard.members} == {A: b"card", B: b"card"}
    assert spans(await laptop.exchange(bringing(A, {A: 3}))) == [(B, 0, 2)]
    assert spans(await laptop.exchange(bringing(A, {A: 3, B: 2}))) == []


async def test_duplicates_gaps_and_overlaps(bridge: RunningBridge):
    laptop = await bridge.found()
    for came, have in [
        (segment(A, 5, 9), 0),  # a gap before it
        (segment(A, 0, 3), 3),
        (segment(A, 0, 3), 3),  # again
        (segment(A, 1, 2), 3),  # nothing new
        (segment(A, 2, 7), 7),  # an overlap
        (segment(A, 5, 9), 9),
    ]:
        assert (await laptop.exchange(bringing(A, {A: 9}, came))).have.get(A, 0) == have
    phone = await bridge.join("phone", laptop)
    assert spans(await phone.exchange(bringing(B))) == [(A, 0, 3), (A, 2, 7), (A, 5, 9)]
    assert spans(await phone.exchange(bringing(B, {A: 4}))) == [(A, 2, 7), (A, 5, 9)]


async def test_segments_come_in_order_of_arrival_as_many_as_asked_for(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    for number in range(4):
        await laptop.exchange(bringing(A, {}, segment(A, number, number + 1, 1000)))
        await phone.exchange(bringing(B, {}, segment(B, number, number + 1, 1000)))
    desk, have, rounds = await bridge.join("desk", laptop), dict[str, int](), list[list[tuple[str, int, int]]]()
    more = True
    while more:
        answer = await desk.exchange(bringing(C, have, max_bytes=3 * (1000 + ROW_BYTES)))
        rounds.append(spans(answer))
        have |= {found.origin: found.through for found in answer.segments}
        more = answer.more
    order = [(origin, number, number + 1) for number in range(4) for origin in (A, B)]
    assert rounds == [order[:3], order[3:6], order[6:]]
    # One at least, however large it is; and none where none is wanted.
    assert len(spans(await desk.exchange(bringing(C, max_bytes=1)))) == 1
    asked = await desk.exchange(bringing(C, max_bytes=0))
    assert (asked.segments, asked.more, asked.have) == ((), True, {A: 4, B: 4})


async def test_an_answer_is_bounded_whatever_is_asked(bridge: RunningBridge):
    laptop = await bridge.found()
    for number in range(3):
        await laptop.exchange(bringing(A, {}, segment(A, number, number + 1, MAX_SEALED_BYTES)))
    answer = await laptop.exchange(bringing(A, max_bytes=2**62))
    assert (spans(answer), answer.more) == ([(A, 0, 1)], True)
    assert MAX_SEALED_BYTES < MAX_ANSWER_BYTES < 2 * MAX_SEALED_BYTES


async def test_a_bridge_that_lost_everything_is_filled_by_any_member(make_bridge: MakeBridge):
    old = await make_bridge()
    laptop = await old.found()
    phone = await old.join("phone", laptop)
    await laptop.exchange(bringing(A, {}, segment(A, 0, 8)))
    heard = await phone.exchange(bringing(B, {}, segment(B, 0, 2)))
    fresh = await make_bridge("fresh.db")
    stranger = fresh.client("phone")
    await refusal(stranger.exchange(bringing(B)), NotAllowed, "sync_not_member")
    phone = await fresh.found("phone")
    filled = await phone.exchange(bringing(B, {A: 8, B: 2}, segment(B, 0, 2), *heard.segments))
    assert filled.have == {A: 8, B: 2}
    laptop = await fresh.join("laptop", phone)
    assert spans(await laptop.exchange(bringing(A, {A: 8}))) == [(B, 0, 2)]


async def test_a_group_is_not_founded_twice(bridge: RunningBridge):
    await bridge.found()
    await bridge.found()
    phone = bridge.client("phone")
    await refusal(phone.found(Found(GROUP, B, BOX_KEY, b"card")), Conflict, "sync_group_taken")


async def test_who_is_not_enrolled_or_no_member_is_refused(bridge: RunningBridge):
    laptop = await bridge.found()
    unknown = bridge.client("unknown", enrolled=False)
    await refusal(unknown.exchange(bringing(B)), Unavailable, "unknown_device")
    phone = bridge.client("phone")
    for asked in (
        phone.exchange(bringing(B, {}, segment(B, 0, 1))),
        phone.invite(Invite(GROUP, hash_token("t"), b"keys", bridge.service.now() + 60)),
        phone.remove(Remove(GROUP, A, 1, {})),
        phone.exchange(replace(bringing(B), group="no-such-group")),
    ):
        await refusal(asked, NotAllowed, "sync_not_member")
    assert (await laptop.exchange(bringing(A))).have == {}


async def test_a_revoked_device_is_out_at_once(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    await phone.exchange(bringing(B))
    bridge.service.devices.revoke("phone")
    await refusal(phone.exchange(bringing(B)), Unavailable, "device_revoked")


async def test_a_caller_has_one_origin_and_an_origin_one_caller(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    await refusal(phone.exchange(bringing(A)), NotAllowed, "sync_other_origin")
    await laptop.invite(Invite(GROUP, hash_token("t"), b"keys", bridge.service.now() + 60))
    desk = bridge.client("desk")
    taken = await refusal(desk.join(Join(GROUP, "t", B, BOX_KEY)), Conflict, "sync_origin_taken")
    assert "devices revoke" in taken.hint
    # The invitation is still good: for the same home under a new key, once the old one is revoked.
    bridge.service.devices.revoke("phone")
    await desk.join(Join(GROUP, "t", B, BOX_KEY, b"card"))
    assert [member.origin for member in (await desk.exchange(bringing(B))).members] == [A, B]


async def test_an_invitation_is_good_once_and_its_taker_is_answered_again(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop, token="t")
    again = await phone.join(Join(GROUP, "t", B, BOX_KEY))
    assert again.sealed == b"keys"
    assert {member.origin: member.card for member in again.members} == {A: b"card", B: b"card"}
    used = Join(GROUP, "t", C, BOX_KEY)
    await refusal(bridge.client("desk").join(used), NotAllowed, "sync_invitation_used")
    await phone.leave(Leave(GROUP))
    await refusal(phone.join(Join(GROUP, "t", B, BOX_KEY)), NotAllowed, "sync_invitation_unknown")
    await refusal(phone.join(Join(GROUP, "other", B, BOX_KEY)), NotAllowed, "sync_invitation_unknown")


def test_an_invitation_expires_and_there_are_only_so_many(tmp_path: Path):
    now = [1e9]
    with closing(BridgeDatabase(tmp_path / "bridge.db")) as database:
        groups = Groups(database, now=lambda: now[0])
        groups.found("laptop", Found(GROUP, A, BOX_KEY, b"card"))
        groups.invite("laptop", Invite(GROUP, hash_token("t"), b"keys", now[0] + 60))
        groups.invite("laptop", Invite(GROUP, hash_token("long"), b"keys", 1e11))
        now[0] += 61
        with pytest.raises(NotAllowed) as caught:
            groups.join("phone", Join(GROUP, "t", B, BOX_KEY))
        assert caught.value.code == "sync_invitation_expired"
        now[0] += MAX_INVITATION_S
        with pytest.raises(NotAllowed):
            groups.join("phone", Join(GROUP, "long", B, BOX_KEY))
        with pytest.raises(InvalidRequest):
            groups.invite("laptop", Invite(GROUP, hash_token("late"), b"keys", now[0]))
        for number in range(16):
            groups.invite("laptop", Invite(GROUP, hash_token(f"t{number}"), b"keys", now[0] + 60))
        groups.invite("laptop", Invite(GROUP, hash_token("t0"), b"keys", now[0] + 60))
        with pytest.raises(Conflict) as crowded:
            groups.invite("laptop", Invite(GROUP, hash_token("t16"), b"keys", now[0] + 60))
        assert crowded.value.code == "sync_too_many_invitations"


async def test_a_removed_member_is_refused_and_the_others_are_told_of_new_keys(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    desk = await bridge.join("desk", laptop)
    await laptop.invite(Invite(GROUP, hash_token("old"), b"keys", bridge.service.now() + 60))
    removal = Remove(GROUP, C, 1, {B: b"new keys"})
    left = await laptop.remove(removal)
    assert [member.origin for member in left] == [A, B]
    assert await laptop.remove(removal) == left  # its answer was lost
    await refusal(desk.exchange(bringing(C)), NotAllowed, "sync_not_member")
    await refusal(desk.join(Join(GROUP, "token-desk", C, BOX_KEY)), NotAllowed, "sync_invitation_unknown")
    await refusal(desk.join(Join(GROUP, "old", C, BOX_KEY)), NotAllowed, "sync_invitation_unknown")
    # Told although it uses them: its home may be put back from a backup that has them not.
    for brought in ((), (segment(B, 0, 1),), (segment(B, 1, 2, epoch=1),), (segment(B, 2, 3),), ()):
        assert (await phone.exchange(bringing(B, {}, *brought))).box == Box(1, b"new keys")
    await refusal(phone.remove(Remove(GROUP, A, 1, {})), Conflict, "sync_epoch_taken")
    await refusal(phone.remove(Remove(GROUP, C, 2, {})), NotFound, "sync_no_member")
    await refusal(phone.remove(Remove(GROUP, B, 2, {})), InvalidRequest, "sync_remove_self")


async def test_new_keys_take_the_place_of_those_that_waited(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    await bridge.join("desk", laptop)
    await laptop.remove(Remove(GROUP, C, 1, {A: b"own", B: b"new keys"}))
    await bridge.join("desk", laptop, token="again")
    await phone.remove(Remove(GROUP, C, 2, {A: b"newer keys"}))
    assert (await laptop.exchange(bringing(A))).box == Box(2, b"newer keys")
    assert (await phone.exchange(bringing(B))).box is None


async def test_whoever_gets_no_new_keys_is_out_too(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    await bridge.join("desk", laptop)
    assert [member.origin for member in await laptop.remove(Remove(GROUP, C, 1, {}, (B,)))] == [A]
    await refusal(phone.exchange(bringing(B)), NotAllowed, "sync_not_member")
    phone = await bridge.join("phone", laptop, token="again")
    assert (await phone.exchange(bringing(B))).box is None


async def test_nobody_is_put_out_unmentioned(bridge: RunningBridge):
    laptop = await bridge.found()
    await bridge.join("desk", laptop)
    phone = await bridge.join("phone", laptop)  # after the laptop asked who is there
    await refusal(laptop.remove(Remove(GROUP, C, 1, {A: b"own"})), Conflict, "sync_members_changed")
    assert [member.origin for member in (await phone.exchange(bringing(B))).members] == [A, B, C]
    assert [member.origin for member in await laptop.remove(Remove(GROUP, C, 1, {B: b"new keys"}))] == [A, B]


async def test_new_keys_wait_for_a_device_that_says_again_who_it_is(bridge: RunningBridge):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    await bridge.join("desk", laptop)
    await phone.remove(Remove(GROUP, C, 1, {A: b"new keys", B: b"own"}))
    await bridge.found()
    assert (await laptop.exchange(bringing(A))).box == Box(1, b"new keys")
    # Under another box key it could not open them; its invitation brings them.
    await phone.invite(Invite(GROUP, hash_token("t"), b"keys", bridge.service.now() + 60))
    await laptop.join(Join(GROUP, "t", A, BOX_KEY[::-1], b"card"))
    assert (await laptop.exchange(bringing(A))).box is None


async def test_what_is_gone_is_deleted_for_ever(bridge: RunningBridge, tmp_path: Path):
    laptop = await bridge.found()
    key = KeyObject("k1", SUBJECT, 0, b"the-key-of-a-forgotten-session")
    other = KeyObject("k2", "o" * 43, 0, b"the-key-of-another")
    sealed = segment(A, 0, 1, keys=("k1", "k2"))
    await laptop.exchange(bringing(A, {}, sealed, keys=(key, other)))
    assert (await laptop.exchange(bringing(A))).keys == (key, other)
    await laptop.exchange(bringing(A, gone=(SUBJECT,)))
    # Neither does a device that had not heard of it bring it back.
    await laptop.exchange(bringing(A, {}, keys=(replace(key, epoch=7), replace(key, name="k3"))))
    answer = await laptop.exchange(bringing(A))
    assert (answer.segments, answer.keys) == ((sealed,), (other,))
    kept = on_disk(tmp_path)
    assert key.sealed not in kept
    assert other.sealed in kept


async def test_a_key_is_replaced_by_one_of_a_newer_epoch_only(bridge: RunningBridge):
    laptop = await bridge.found()
    first = KeyObject("k1", SUBJECT, 1, b"first")
    for came, kept in [
        (first, first),
        (replace(first, sealed=b"other"), first),
        (replace(first, epoch=0), first),
        (replace(first, epoch=2, sealed=b"new"), replace(first, epoch=2, sealed=b"new")),
    ]:
        await laptop.exchange(bringing(A, {}, segment(A, 0, 1, keys=("k1", "missing")), keys=(came,)))
        assert (await laptop.exchange(bringing(A))).keys == (kept,)


async def test_with_the_last_member_everything_goes(bridge: RunningBridge, tmp_path: Path):
    laptop = await bridge.found()
    phone = await bridge.join("phone", laptop)
    key = KeyObject("k1", SUBJECT, 0, b"a-sealed-share-key")
    await laptop.exchange(bringing(A, {}, segment(A, 0, 1), keys=(key,), gone=("g" * 43,)))
    assert [member.origin for member in await laptop.leave(Leave(GROUP))] == [B]
    assert await laptop.leave(Leave(GROUP)) == ()
    assert await phone.leave(Leave(GROUP)) == ()
    tables = [row["name"] for row in bridge.database.rows("SELECT name FROM sqlite_master WHERE name LIKE 'sync_%'")]
    tables = [name for name in tables if "_by_" not in name]
    assert len(tables) == 7
    assert [row for name in tables for row in bridge.database.rows(f"SELECT * FROM {name}")] == []  # noqa: S608
    assert key.sealed not in on_disk(tmp_path)


async def test_a_full_group_still_hears_and_forgets(make_bridge: MakeBridge):
    bridge = await make_bridge(max_mb_per_group=1)
    laptop = await bridge.found()
    key = KeyObject("k1", SUBJECT, 0, b"sealed-key")
    await laptop.exchange(bringing(A, {}, segment(A, 0, 1, 900_000), keys=(key,)))
    full = await refusal(
        laptop.exchange(bringing(A, {}, segment(A, 1, 2, 200_000), gone=(SUBJECT,))), Unavailable, "sync_quota"
    )
    assert "max_mb_per_group" in full.hint
    answer = await laptop.exchange(bringing(A))
    assert (spans(answer), answer.keys) == ([(A, 0, 1)], ())
    assert (await laptop.exchange(bringing(A, {}, segment(A, 1, 2, 100_000)))).have == {A: 2}


@contextmanager
def stored(folder: Path, quota_bytes: int) -> Iterator[tuple[SegmentStore, BridgeDatabase]]:
    with closing(BridgeDatabase(folder / "bridge.db")) as database:
        groups = Groups(database)
        groups.found("laptop", Found(GROUP, A, BOX_KEY, b"card"))
        yield SegmentStore(database, groups, quota_bytes=quota_bytes), database


def test_what_is_gone_is_deleted_under_a_quota_that_was_lowered(tmp_path: Path):
    key = KeyObject("k1", SUBJECT, 0, b"sealed-key")
    with stored(tmp_path, 10**6) as (store, _):
        store.exchange("laptop", bringing(A, {}, segment(A, 0, 1, 900_000), keys=(key,)))
    with stored(tmp_path, 400_000) as (store, database):
        store.exchange("laptop", bringing(A, gone=(SUBJECT, "x" * 43)))
        assert database.rows("SELECT * FROM sync_keys") == []
        assert len(database.rows("SELECT * FROM sync_gone")) == 2


def test_what_was_never_here_is_noted_as_gone_while_there_is_room(tmp_path: Path):
    key = KeyObject("k1", SUBJECT, 0, b"sealed-key")
    unknown = tuple(f"{number:043}" for number in range(5))
    with stored(tmp_path, 4 * ROW_BYTES) as (store, database):
        store.exchange("laptop", bringing(A, {}, keys=(key,)))
        store.exchange("laptop", bringing(A, gone=unknown[:4]))
        for gone in (unknown, (*unknown, SUBJECT), (unknown[4],)):
            with pytest.raises(Unavailable) as full:
                store.exchange("laptop", bringing(A, gone=gone))
            assert full.value.code == "sync_quota"
        # All the same nothing is left of what was here, nor comes again.
        assert database.rows("SELECT * FROM sync_keys") == []
        assert {row["subject"] for row in database.rows("SELECT * FROM sync_gone")} == {*unknown[:4], SUBJECT}
        assert database.row("SELECT bytes FROM sync_groups")["bytes"] == 5 * ROW_BYTES
        store.exchange("laptop", bringing(A, {}, keys=(key,), gone=unknown[:4]))
        assert database.rows("SELECT * FROM sync_keys") == []


async def test_a_bridge_may_share_nothing(make_bridge: MakeBridge):
    bridge = await make_bridge(enabled=False)
    off = bridge.client("laptop").found(Found(GROUP, A, BOX_KEY, b"card"))
    assert "[sync]" in (await refusal(off, NotAllowed, "sync_off")).hint


async def test_bad_messages_are_refused_by_name(bridge: RunningBridge, monkeypatch: pytest.MonkeyPatch):
    laptop = await bridge.found()
    monkeypatch.setattr("cloud_bridge.sync_client.encode_request", lambda wanted: wanted)
    await refusal(laptop.exchange(b'{"do": "exchange", "version": 1}'), InvalidRequest, "malformed_sync")
    await refusal(laptop.exchange(b'{"do": "exchange", "version": 9}'), InvalidRequest, "unsupported_version")
    await refusal(laptop.exchange(b" " * (MAX_BODY_BYTES + 1)), InvalidRequest, "payload_too_large")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b"<html>", "bridge_malformed"),
        (200, b'{"version": 1, "have": {}}', "bridge_malformed"),
        (502, b"<html>", "cloud_unreachable"),
        (
            404,
            b'{"error": {"kind": "NotFound", "message": "m", "code": "unknown_url", "hint": "h", "param": null}}',
            "sync_unsupported",
        ),
        (None, b"", "cloud_unreachable"),
    ],
)
async def test_what_answers_nonsense_is_no_bridge(status, body, code):
    def answer(request: httpx.Request) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, content=body)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        device = SyncClient("http://bridge.test", DeviceKey(Ed25519PrivateKey.generate()), http)
        await refusal(device.exchange(bringing(A)), Unavailable, code)


async def test_a_request_is_good_once(bridge: RunningBridge):
    sent = list[httpx.Request]()
    bridge.http.event_hooks["request"] = [lambda request: _kept(sent, request)]
    await bridge.found()
    again = await bridge.http.post(
        f"http://bridge.test{PATH}", content=sent[0].content, headers=dict(sent[0].headers.items())
    )
    assert (again.status_code, again.json()["error"]["code"]) == (401, "request_replayed")


async def _kept(sent: list[httpx.Request], request: httpx.Request) -> None:
    sent.append(request)


async def test_the_log_tells_how_much_and_not_whose(bridge: RunningBridge, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "cloud_bridge")
    laptop = await bridge.found()
    await laptop.exchange(bringing(A, {}, segment(A, 0, 1, 40)))
    assert "1 segments (40 bytes) came, 1 (40 bytes) went" in caplog.text
    assert all(word not in caplog.text for word in (A, GROUP, "laptop"))


@dataclass(frozen=True)
class Step:
    """One exchange of a device: which it is, what it brings of whom, and how much it takes."""

    device: int
    brings: tuple[tuple[int, int, int], ...]
    max_bytes: int


steps = st.builds(
    Step,
    st.integers(0, 2),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 6)), max_size=4).map(tuple),
    st.integers(0, 4 * ROW_BYTES),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(steps, max_size=15))
def test_the_store_is_a_set_of_events_without_gaps(plan):
    """Whatever is brought in whatever order, each device can go on from what it has, until all have the same."""
    names = tuple(ORIGINS)
    with tempfile.TemporaryDirectory() as folder, closing(BridgeDatabase(Path(folder) / "bridge.db")) as database:
        groups = Groups(database)
        store = SegmentStore(database, groups, quota_bytes=10**9)
        groups.found(names[0], Found(GROUP, A, BOX_KEY, b"card"))
        for name in names[1:]:
            groups.invite(names[0], Invite(GROUP, hash_token(name), b"keys", 9e10))
            groups.join(name, Join(GROUP, name, ORIGINS[name], BOX_KEY))
        there = dict[str, int]()
        haves = [{ORIGINS[name]: 12} for name in names]

        def exchange(step: Step) -> bool:
            have = haves[step.device]
            came = tuple(segment((A, B, C)[origin], after, after + n) for origin, after, n in step.brings)
            came = tuple(found for found in came if found.through <= have.get(found.origin, 0))
            for found in came:
                if found.after <= there.get(found.origin, 0) < found.through:
                    there[found.origin] = found.through
            answer = store.exchange(
                names[step.device], bringing((A, B, C)[step.device], have, *came, max_bytes=step.max_bytes)
            )
            assert dict(answer.have) == there
            for found in answer.segments:
                assert found.after <= have.get(found.origin, 0) < found.through
                have[found.origin] = found.through
            return answer.more

        for step in plan:
            exchange(step)
        for device in (0, 1, 2, 0, 1, 2):
            exchange(Step(device, tuple((o, there.get((A, B, C)[o], 0), n) for o in range(3) for n in (12, 6, 1)), 0))
            own = (A, B, C)[device]
            exchange(Step(device, ((device, there.get(own, 0), 12 - there.get(own, 0)),), 0))
            while exchange(Step(device, (), ROW_BYTES)):
                pass
        assert haves == [{A: 12, B: 12, C: 12}] * 3
