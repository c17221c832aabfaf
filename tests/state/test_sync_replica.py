"""Two devices of one person come to the same sessions, and the bridge between them reads nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import Conflict, InvalidRequest, NotFound, Unavailable
from cloud_bridge.protocol.sync_json import decode_request
from edge_agent import reconciliation
from edge_agent.state.documents import Documents, NewDocument
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.sync.keys import GroupKeys
from tests.state.two_devices import Device, MemoryBridge

pytestmark = pytest.mark.anyio


@pytest.fixture
def bridge() -> MemoryBridge:
    return MemoryBridge()


@pytest.fixture
def keys() -> GroupKeys:
    return GroupKeys.new()


@pytest.fixture
def device(tmp_path: Path, bridge: MemoryBridge, keys: GroupKeys) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(name: str, **options: object) -> Device:
        made.append(Device(tmp_path / name, bridge, keys, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.state.close()


@pytest.fixture
def two(device: Callable[..., Device]) -> tuple[Device, Device]:
    return device("laptop"), device("phone")


async def reconcile(*devices: Device) -> None:
    for _ in range(3):
        for device in devices:
            await device.sync()


async def test_what_was_said_on_one_is_on_the_other(two, bridge):
    laptop, phone = two
    laptop.ask("trip", "Is Ada Lovelace in?", answer="Ada Lovelace is out.")
    await reconcile(laptop, phone)
    assert phone.shown() == laptop.shown()
    assert phone.state.session("trip").turns[0].answers[0].text == "Ada Lovelace is out."


async def test_the_bridge_sees_neither_values_nor_words_nor_names_of_sessions(two, bridge):
    laptop, phone = two
    laptop.ask("my-secret-trip", "Is Ada Lovelace in?", answer="She is out for lunch.")
    await reconcile(laptop, phone)
    assert any(b'"segments":[{' in body for body in bridge.seen)
    for body in bridge.seen:
        for word in (b"Lovelace", b"lunch", b"my-secret-trip", b"PERSON", b"request.accepted"):
            assert not [layer for layer in layers(body) if word in layer]


def layers(body: bytes) -> Iterator[bytes]:
    """The body, and whatever is base64 in it, as it is and inflated: as somebody would look at it."""
    yield body
    for text in re.findall(rb'"([A-Za-z0-9+/_-]{16,}=*)"', body):
        plain = text.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        raw = base64.b64decode(plain[: len(plain) // 4 * 4])
        yield raw
        for start in range(min(64, len(raw))):
            with contextlib.suppress(zlib.error):
                yield zlib.decompressobj().decompress(raw[start:])


async def test_what_never_leaves_stays_and_the_rest_arrives(device):
    laptop, phone = device("laptop", never=["US_SSN"]), device("phone")
    laptop.ask("s", "Ada Lovelace has 078-05-1120.", answer="Noted.")
    await reconcile(laptop, phone)
    (message,) = phone.state.session("s").turns[0].messages
    assert message["parts"][0]["text"] == "Ada Lovelace has <US_SSN_1>."


async def test_a_conversation_goes_on_on_the_other_device(two):
    laptop, phone = two
    laptop.ask("s", "Hello", answer="Hi.")
    await reconcile(laptop, phone)
    phone.ask("s", "Hello", "Hi.", "And now?", answer="Now this.")
    await reconcile(laptop, phone)
    assert laptop.shown() == phone.shown()
    assert [turn.branch for turn in laptop.state.session("s").turns] == [0, 0]
    laptop.ask("s", "Hello", "Hi.", "And now?", "Now this.", "Then?", answer="The end.")
    await reconcile(laptop, phone)
    assert len(phone.state.session("s").turns) == 3
    assert phone.shown() == laptop.shown()


async def test_two_who_went_on_apart_have_two_branches_in_one_order(two):
    laptop, phone = two
    laptop.ask("s", "Hello", answer="Hi.")
    await reconcile(laptop, phone)
    laptop.ask("s", "Hello", "Hi.", "On the laptop", answer="L")
    phone.ask("s", "Hello", "Hi.", "On the phone", answer="P")
    await reconcile(phone, laptop)
    assert laptop.shown() == phone.shown()
    assert [turn.branch for turn in laptop.state.session("s").turns] == [0, 0, 1]
    assert laptop.state.history("s") == phone.state.history("s")


async def test_people_whom_both_numbered_alike_are_not_mixed_up(two):
    laptop, phone = two
    laptop.ask("s", "Ask Ada Lovelace", answer="Ada Lovelace says yes.")
    phone.ask("s", "Ask Alan Turing", answer="Alan Turing says no.")
    await reconcile(laptop, phone)
    assert laptop.shown() == phone.shown()
    texts = str(phone.shown())
    assert "Ada Lovelace says yes." in texts
    assert "Alan Turing says no." in texts


async def test_history_is_masked_there_as_it_was_here(two):
    laptop, phone = two
    laptop.ask("s", "Ask Ada Lovelace or Alan Turing", answer="Alan Turing.")
    await reconcile(laptop, phone)
    assert {e.placeholder: e.value for e in phone.state.load("s")} == {
        e.placeholder: e.value for e in laptop.state.load("s")
    }


async def test_a_late_answer_is_the_revision_on_both(two):
    laptop, phone = two
    request, provisional = laptop.ask("s", "Hard?", answer="Maybe.", provisional=True)
    await reconcile(laptop, phone)
    with laptop.state.log.transaction() as tx:
        from edge_agent.state.turns import append_revision  # noqa: PLC0415

        append_revision(tx, request, "Certainly.", {"decision_id": None})
    await reconcile(laptop, phone)
    answers = phone.state.session("s").turns[0].answers
    assert [(answer.text, answer.revises) for answer in answers] == [("Maybe.", None), ("Certainly.", provisional)]
    assert phone.shown() == laptop.shown()


async def test_forgotten_on_one_is_forgotten_on_both_and_at_the_bridge(two, bridge):
    laptop, phone = two
    laptop.ask("s", "Ask Ada Lovelace", answer="Yes.")
    await reconcile(laptop, phone)
    assert bridge.keys
    phone.state.forget("s")
    await reconcile(phone, laptop)
    assert bridge.keys == {}
    for each in two:
        with pytest.raises(NotFound) as caught:
            each.state.session("s")
        assert caught.value.code == "session_forgotten"
        assert each.state.load("s") == []
        each.state.rebuild()
        assert each.shown() == {}


async def test_what_was_said_without_knowing_of_the_forgetting_goes_with_it(two, bridge):
    laptop, phone = two
    laptop.ask("s", "First", answer="One.")
    await reconcile(laptop, phone)
    laptop.state.forget("s")
    phone.ask("s", "First", "One.", "Second", answer="Two.")  # has not heard of it
    await reconcile(phone, laptop)
    assert laptop.shown() == phone.shown() == {}
    assert bridge.keys == {}
    for each in two:
        each.state.rebuild()
        assert each.shown() == {}


async def test_a_session_that_begins_anew_after_its_forgetting_is_shared(two, bridge):
    laptop, phone = two
    laptop.ask("s", "First", answer="One.")
    await reconcile(laptop, phone)
    laptop.state.forget("s")
    laptop.ask("s", "Anew", answer="Two.")
    await reconcile(laptop, phone)
    assert [turn.messages[0]["parts"][0]["text"] for turn in phone.state.session("s").turns] == ["Anew"]
    assert phone.shown() == laptop.shown()
    for each in two:
        before = each.shown()
        each.state.rebuild()
        assert each.shown() == before


async def test_a_device_that_comes_late_gets_all_but_what_was_forgotten(two, device):
    laptop, phone = two
    laptop.ask("kept", "Keep", answer="Kept.")
    laptop.ask("lost", "Lose", answer="Lost.")
    await reconcile(laptop, phone)
    phone.state.forget("lost")
    await reconcile(laptop, phone)
    tablet = device("tablet")
    await reconcile(tablet)
    assert tablet.shown() == laptop.shown()
    assert list(tablet.shown()) == ["kept"]


async def test_an_exchange_whose_answer_is_lost_is_repeated_without_harm(two, bridge):
    laptop, phone = two
    for number in range(5):
        laptop.ask(f"s{number}", "Hello", answer="Hi.")
        bridge.loses_answers = 1
        with pytest.raises(Unavailable):
            await laptop.sync()
    await reconcile(laptop, phone)
    assert phone.shown() == laptop.shown()
    assert len(phone.shown()) == 5


async def test_a_bridge_that_lost_everything_is_filled_again(two, device, bridge):
    laptop, phone = two
    laptop.ask("s", "From the laptop", answer="L")
    phone.ask("t", "From the phone", answer="P")
    await reconcile(laptop, phone)
    shown = laptop.shown()
    bridge.segments.clear()
    bridge.keys.clear()
    await reconcile(phone)  # the laptop is gone for good
    tablet = device("tablet")
    await reconcile(tablet)
    assert tablet.shown() == shown


def backed_up(device: Device, copy: Path) -> Callable[[], None]:
    """A backup of the home as it is now; call what it returns to put it back."""
    device.state.log._db.execute("VACUUM INTO ?", (str(copy),))

    def put_back() -> None:
        device.state.close()
        copy.replace(device.home / "state.db")
        for left in device.home.glob("state.db-*"):
            left.unlink()
        device._open()

    return put_back


async def test_a_home_from_a_backup_gets_back_what_it_had_shared(two, tmp_path):
    laptop, phone = two
    laptop.ask("s", "One", answer="1")
    await reconcile(laptop, phone)
    put_back = backed_up(laptop, tmp_path / "copy.db")
    laptop.ask("t", "Two", answer="2")
    await reconcile(laptop, phone)
    shown = laptop.shown()
    put_back()
    assert len(laptop.shown()) == 1
    await reconcile(laptop)
    assert laptop.shown() == shown
    laptop.ask("u", "Three", answer="3")
    await reconcile(laptop, phone)
    assert phone.shown() == laptop.shown()
    assert len(phone.shown()) == 3


async def test_a_turn_under_way_elsewhere_is_not_taken_for_interrupted(two):
    laptop, phone = two
    laptop.ask("s", "Still thinking?")
    await reconcile(laptop, phone)
    phone.restart()
    assert [turn.status for turn in phone.state.session("s").turns] == ["open"]


async def test_large_histories_go_in_bounded_batches(two, bridge):
    laptop, phone = two
    for number in range(700):
        laptop.ask(f"s{number % 7}", f"question {number} " + "x" * 4000, answer=f"answer {number}")
    await reconcile(laptop, phone)
    assert phone.shown() == laptop.shown()
    assert max(len(body) for body in bridge.seen) < 4 * 1024 * 1024
    assert len(bridge.segments) > 5


async def test_what_left_is_in_the_ledger(two):
    laptop, phone = two
    laptop.ask("s", "Hello", answer="Hi.")
    await reconcile(laptop, phone)
    (entry,) = laptop.state.ledger()
    assert entry.url == "http://bridge/bridge/v1/sync"
    assert b'"do":"exchange"' in (entry.body or b"")
    assert len(json.loads((entry.body or b"").split(b"\n")[0])["sha256"]) == 64
    assert laptop.state.verify_ledger() == 1


async def test_where_the_bridge_has_no_room_left_the_others_are_still_heard(two, bridge):
    laptop, phone = two
    laptop.ask("s", "Hello", answer="Hi.")
    await laptop.sync()
    bridge.is_full = True
    phone.ask("t", "On the phone", answer="P")
    with pytest.raises(Unavailable) as caught:
        await phone.sync()
    assert caught.value.code == "sync_quota"
    assert sorted(phone.shown()) == ["s", "t"]
    bridge.is_full = False
    phone.worker._full = None  # an hour later
    await reconcile(phone, laptop)
    assert laptop.shown() == phone.shown()


async def test_the_ledger_cannot_open_what_was_forgotten(two, keys):
    laptop, phone = two
    laptop.ask("s", "Plums for Ada Lovelace", answer="Yes.")
    await reconcile(laptop, phone)
    laptop.state.forget("s")
    await reconcile(laptop, phone)
    for entry in laptop.state.ledger():
        sent = decode_request((entry.body or b"").split(b"\n")[1])
        assert sent.segments
        for segment in sent.segments:
            assert sent.keys == ()
            assert all(each.event.is_shut for each in phone.replica.open(keys, segment, {}) if each.event.key)
    with pytest.raises(InvalidRequest):
        laptop.state.forget(f"sync/{keys.id}")


async def test_a_home_from_a_backup_that_was_used_before_it_was_reconciled_says_so(two, tmp_path):
    laptop, phone = two
    laptop.ask("s", "One", answer="1")
    await reconcile(laptop, phone)
    put_back = backed_up(laptop, tmp_path / "copy.db")
    laptop.ask("t", "Two", answer="2")
    await reconcile(laptop, phone)
    put_back()
    for number in range(6):  # more than it had shared since
        laptop.ask(f"u{number}", "Three", answer="3")
    phone.ask("v", "Meanwhile", answer="M")
    await reconcile(phone)
    for _ in range(3):
        with pytest.raises(Conflict) as caught:
            await laptop.sync()
        assert caught.value.code == "sync_restored"
    assert "v" in laptop.shown()  # the others are heard all the same


async def test_whatever_arrives_first_a_conversation_has_one_line(two, device, bridge):
    laptop, phone = two
    laptop.ask("s", "One", answer="1")
    await reconcile(laptop, phone)
    phone.ask("s", "One", "1", "Two", answer="2")
    await reconcile(phone, laptop)
    laptop.ask("s", "One", "1", "Two", "2", "Three", answer="3")
    await reconcile(laptop, phone)
    for order in (1, -1):
        tablet = device(f"tablet{order}")
        bridge.segments.sort(key=lambda segment: (order * (segment.origin == laptop.state.device), segment.after))
        await reconcile(tablet)
        assert tablet.shown() == laptop.shown()
        assert [turn.branch for turn in tablet.state.session("s").turns] == [0, 0, 0]
        request, _ = tablet.ask("s", "One", "1", "Two", "2", "Three", "3", "Four", answer="4")
        assert tablet.state.session("s").turns[-1].parent == tablet.state.session("s").turns[-2].answers[0].id
        assert request == tablet.state.session("s").turns[-1].id
        tablet.state.forget("s")  # here alone: it is not told


async def test_two_forgettings_in_any_order_leave_no_key_at_the_bridge(two, bridge):
    laptop, phone = two
    laptop.ask("s", "First", answer="1")
    await reconcile(laptop, phone)
    laptop.state.forget("s")
    laptop.ask("s", "Second", answer="2")
    await reconcile(laptop, phone)
    phone.state.forget("s")
    await phone.sync()
    await reconcile(laptop, phone)
    assert bridge.keys == {}
    assert laptop.shown() == phone.shown() == {}


async def test_what_a_bridge_keeps_to_itself_is_waited_for_and_in_the_end_counted(two, bridge):
    laptop, phone = two
    laptop.ask("s", "One", answer="1")
    await laptop.sync()
    kept, bridge.keys = bridge.keys, {}
    await phone.sync()
    assert phone.shown() == {}
    assert (await phone.worker.status())["left_out"] == 2
    bridge.keys = kept


async def test_one_device_that_tells_nonsense_does_not_keep_the_others_out(two, device, bridge):
    laptop, phone = two
    tablet = device("tablet")
    for number in range(6):
        laptop.ask(f"big{number}", "x" * 300_000 + str(number), answer="big")
    await laptop.sync()
    bridge.segments[:] = [
        type(segment)(
            **{**{name: getattr(segment, name) for name in segment.__slots__}, "sealed": b"nonsense" * 40_000}
        )
        for segment in bridge.segments
    ]
    phone.ask("s", "Heard?", answer="Heard.")
    await phone_told(phone)
    tablet.ask("t", "Told?", answer="Told.")
    with pytest.raises(Exception, match="altered") as caught:
        await tablet.sync()
    assert caught.value.code == "sync_damaged"
    assert sorted(tablet.shown()) == ["s", "t"]
    assert tablet.state.device in bridge.have()


async def phone_told(phone: Device) -> None:
    with contextlib.suppress(Exception):
        await phone.sync()


async def test_many_short_sessions_go_in_batches_that_the_bridge_takes(two, bridge, monkeypatch):
    monkeypatch.setattr(reconciliation, "MAX_KEYS", 300)
    laptop, phone = two
    for number in range(400):
        laptop.ask(f"s{number}", "Hi")
    await reconcile(laptop, phone)
    assert len(phone.state.sessions()) == 400
    assert max(len(decode_request(body).keys) for body in bridge.seen) <= 300


async def test_a_session_has_the_same_times_on_both(two, keys, tmp_path, bridge):
    laptop, _ = two
    slow = Device(tmp_path / "slow", bridge, keys, clock=lambda: 1.1e9)  # a clock of 2004
    slow.ask("s", "Long ago?", answer="So it says.")
    laptop.ask("s", "Now?", answer="Now.")
    await reconcile(slow, laptop, slow)
    summaries = [each.state.sessions()[0] for each in (slow, laptop)]
    assert summaries[0].updated_at == summaries[1].updated_at
    assert summaries[0].started_at == summaries[1].started_at
    slow.state.close()


async def test_a_bridge_from_a_backup_hears_again_of_what_was_forgotten(two, bridge):
    laptop, phone = two
    laptop.ask("s", "Forget me", answer="Yes.")
    await reconcile(laptop, phone)
    kept = (list(bridge.segments), dict(bridge.keys))
    laptop.state.forget("s")
    await reconcile(laptop, phone)
    bridge.segments, bridge.keys = kept
    bridge.gone.clear()
    await reconcile(laptop, phone)
    assert bridge.keys == {}


async def test_a_full_bridge_does_not_fill_the_ledger(two, bridge):
    laptop, _ = two
    laptop.ask("s", "Hello", answer="Hi.")
    bridge.is_full = True
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            await laptop.sync()
        assert caught.value.code == "sync_quota"
    assert len(laptop.state.ledger()) == 1


async def test_results_belong_to_the_calls_that_they_answered(two):
    laptop, phone = two
    calls = [{"id": name, "name": "weather", "arguments": json.dumps({"in": name})} for name in ("oslo", "rome")]
    request, _ = laptop.ask("s", "Where is it warm?")
    report = {"decision_id": laptop.state.new_id(), "session_id": "s", "route": "local", "cost_usd": 0.0}
    laptop.state.finish_request(request, {"text": "", "tool_calls": calls}, report)
    results = [
        {"role": "tool", "name": "Ada Lovelace", "parts": [{"type": "tool_result", "call_id": name, "content": name}]}
        for name in ("rome", "oslo")
    ]
    answer = {"role": "assistant", "name": None, "parts": [{"type": "tool_call", **call} for call in calls]}
    asked = {"role": "user", "name": None, "parts": [{"type": "text", "text": "Where is it warm?"}]}
    laptop.state.accept_request("s", {"messages": [asked, answer, *results], "tools": []})
    await reconcile(laptop, phone)
    first, second = phone.state.session("s").turns
    where = {part["id"]: json.loads(part["arguments"])["in"] for part in first.answers[0].message["parts"]}
    told = {part["call_id"]: part["content"] for message in second.messages for part in message["parts"]}
    assert where == told
    assert {message["name"] for message in second.messages} == {"Ada Lovelace"}
    assert second.parent == first.answers[0].id


async def test_a_turn_that_cannot_be_masked_is_withheld_and_says_so(two):
    laptop, phone = two
    call = {"type": "tool_call", "id": "1", "name": "email_Ada_Lovelace", "arguments": "{}"}
    messages = [
        {"role": "user", "name": None, "parts": [{"type": "text", "text": "Write to Ada Lovelace."}]},
        {"role": "assistant", "name": None, "parts": [call]},
        {"role": "user", "name": None, "parts": [{"type": "text", "text": "Again."}]},
    ]
    laptop.state.accept_request("s", {"messages": messages, "tools": []})
    laptop.ask("t", "Harmless", answer="Yes.")
    await reconcile(laptop, phone)
    assert phone.shown()["t"][0][4][0][1] == "Yes."
    assert phone.shown()["s"][0][3] == ["[kept on the device where it was said: value_in_name]"]


async def test_a_value_that_turns_out_to_be_one_that_never_leaves_stays(device, monkeypatch):
    laptop, phone = device("laptop", never=["US_SSN"]), device("phone")
    request = "It is 078-05-1120."
    laptop.state.add("s", [StoredMapping("<PHONE_NUMBER_1>", "PHONE_NUMBER", "078-05-1120")])
    laptop.ask("s", request, answer="Noted.")
    await reconcile(laptop, phone)
    assert "078-05-1120" not in str(phone.shown())


async def test_nothing_waits_that_is_never_told(two):
    laptop, _ = two
    documents = Documents(laptop.state.log)
    added = documents.add(NewDocument("notes.md", "markdown", "The boiler is in the cellar.", 28, "notes.md"))
    laptop.ask("forgotten", "Forget this", answer="Yes.")
    laptop.state.forget("forgotten")
    await laptop.sync()
    documents.forget(added.document.id)
    laptop.ask("s", "Hello", answer="Hi.")
    assert (await laptop.worker.status())["waiting"] == 2
    await laptop.sync()
    documents.forget(documents.add(NewDocument("other.md", "markdown", "Another text.", 13, "other.md")).document.id)
    assert (await laptop.worker.status())["waiting"] == 0
