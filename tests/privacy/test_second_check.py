"""The second check: whatever went wrong before, nothing certain is in what leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text, Tool, ToolCall, ToolResult
from cloud_bridge.protocol.problems import InvalidRequest, Unsafe
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mask import anonymize_text, mask
from edge_agent.privacy.preferences import Preferences
from edge_agent.privacy.referred_to import refuse_values_in_names
from edge_agent.privacy.second_check import SecondCheck, StandIn
from edge_agent.privacy.spans import Span
from edge_agent.privacy.vault import Vault

VALUES = {
    "CREDIT_CARD": "4111 1111 1111 1111",
    "IBAN_CODE": "DE89 3704 0044 0532 0130 00",
    "EMAIL_ADDRESS": "margarethe.lindqvist@example.org",
    "IP_ADDRESS": "203.0.113.17",
    "PHONE_NUMBER": "+44 20 7946 0958",
    "US_SSN": "536-90-4399",
    "API_KEY": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "CONNECTION_STRING": "postgres://ada:hunter2@db.example.org/main",
    "CRYPTO": "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----",
}


def said(*texts: str) -> Conversation:
    return Conversation((Message("user", tuple(map(Text, texts))),))


def found_by(check: SecondCheck, conversation: Conversation) -> str:
    with pytest.raises(Unsafe) as caught:
        check.conversation(conversation)
    assert caught.value.code == "value_left"
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_that_is_left_is_named_by_its_type_and_never_shown(kind: str) -> None:
    message = found_by(SecondCheck(), said(f"Please use {VALUES[kind]} for this."))
    assert kind in message
    assert VALUES[kind][:6] not in message


@pytest.mark.parametrize("kind", ["CREDIT_CARD", "EMAIL_ADDRESS", "API_KEY"])
@pytest.mark.parametrize(
    "place",
    [
        lambda value: said("Hello").messages[0].parts and Conversation((Message("system", (Text(value),)),)),
        lambda value: Conversation((Message("assistant", (ToolCall("c", "f", json.dumps({"a": [value]})),)),)),
        lambda value: Conversation((Message("tool", (ToolResult("c", json.dumps({value: 1})),)),)),
        lambda value: Conversation((Message("tool", (ToolResult("c", json.dumps(json.dumps({"a": value}))),)),)),
        lambda value: replace(said("Hello"), tools=(Tool("f", value),)),
        lambda value: replace(said("Hello"), tools=(Tool("f", "", {"properties": {"a": {"default": value}}}),)),
        lambda value: replace(said("Hello"), sampling=Sampling(stop=(value,))),
    ],
)
def test_it_looks_in_every_field(kind: str, place: object) -> None:
    assert kind in found_by(SecondCheck(), place(VALUES[kind]))  # type: ignore[operator]


def test_two_parts_that_are_one_value_together_are_seen() -> None:
    assert "CREDIT_CARD" in found_by(SecondCheck(), said("My card is 4111 1111", " 1111 1111, thank you."))


@pytest.mark.parametrize("kind", VALUES)
def test_the_bytes_are_read_as_their_reader_will(kind: str) -> None:
    check, value = SecondCheck(), VALUES[kind]
    escaped = "".join(f"\\u{ord(character):04x}" for character in value)
    for body in (
        json.dumps({"messages": [{"role": "user", "content": value}]}),
        '{"messages": [{"content": "' + escaped + '"}]}',
        json.dumps({"arguments": json.dumps({"x": json.dumps({"y": value})})}),
        json.dumps({"content": [{"type": "text", "text": value[:5]}, {"type": "text", "text": value[5:]}]}),
        json.dumps({"properties": {value: {}}}),
    ):
        with pytest.raises(Unsafe, match=kind):
            check.body(body.encode())


@pytest.mark.parametrize("number", ["4111111111111111", "-4111111111111111", "4.111111111111111e15"])
def test_a_number_that_is_wholly_a_value_is_one(number: str) -> None:
    with pytest.raises(Unsafe, match="CREDIT_CARD"):
        SecondCheck().body(b'{"input": {"card": %s}}' % number.encode())


def test_the_digits_of_a_fraction_are_no_card() -> None:
    SecondCheck().body(b'{"vector": [1.4111111111111111, 0.4111111111111111], "at": 1795305600}')


def test_a_number_in_a_body_is_searched_wherever_it_stands() -> None:
    SecondCheck().body(b'{"messages": [], "seed": 411111}')
    for body in (b'{"input": {"seed": 4111111111111111}}', b'{"seed": "4111111111111111"}'):
        with pytest.raises(Unsafe, match="CREDIT_CARD"):
            SecondCheck().body(body)


def test_a_name_is_refused_by_its_place_and_as_the_settings_say() -> None:
    tools = (Tool("plain"), Tool("f", parameters={"properties": {VALUES["EMAIL_ADDRESS"]: {}}}))
    conversation = replace(said("Hello"), tools=tools)
    with pytest.raises(InvalidRequest, match="EMAIL_ADDRESS") as caught:
        refuse_values_in_names(conversation, SecondCheck())
    assert caught.value.param == "tools[1]"
    assert "tools[1]" in caught.value.hint
    for made in (
        Preferences.of(allow=[VALUES["EMAIL_ADDRESS"]]),
        Preferences.of(not_masked=["EMAIL_ADDRESS"]),
    ):
        refuse_values_in_names(conversation, SecondCheck(made.wanted))


def test_bytes_that_cannot_be_read_back_do_not_leave() -> None:
    for body in (b"\xff", b"{", b"[" * 100_000):
        with pytest.raises(Unsafe, match="cannot be read back"):
            SecondCheck().body(body)


def test_placeholders_stand_ins_and_our_own_ids_are_no_values() -> None:
    check = SecondCheck()
    check.conversation(said("<EMAIL_ADDRESS_1>, <PERSON_12B> and postgres://<PERSON_1>:<PASSWORD_1>@<IP_ADDRESS_3>/x"))
    stand_in = "nora.ashdown@example.com"
    check.conversation(said(f"Write to {stand_in}."), {stand_in}.__contains__)
    with pytest.raises(Unsafe):
        check.conversation(said(f"Write to {stand_in}."), {"other@example.com"}.__contains__)
    trace = "00-41111111111111110000000000000000-4111111111111111-01"
    check.body(json.dumps({"traceparent": trace}).encode(), ours=(trace,))


def test_what_the_settings_leave_in_the_clear_is_left() -> None:
    preferences = Preferences.of(
        allow=["mail info@example.org"], not_masked=["IP_ADDRESS"], thresholds={"PHONE_NUMBER": 1.0}
    )
    check = SecondCheck(preferences.wanted)
    check.conversation(said("Please mail info@example.org about 203.0.113.17, or call +44 20 7946 0958."))
    assert "EMAIL_ADDRESS" in found_by(check, said("Ask info@example.org."))


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(sorted(VALUES)))
def test_whatever_stands_around_it_json_hides_no_e_mail(before: str, after: str, kind: str) -> None:
    text = f"{before} ada.lovelace@example.org {after}"
    with pytest.raises(Unsafe):
        SecondCheck().body(json.dumps({"messages": [{"content": text}], kind: 1}).encode())


class Blind(Detector):
    """A detector that fails in silence: it finds nothing at all."""

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        return []


@pytest.mark.anyio
async def test_where_the_first_look_fails_in_silence_nothing_is_taken_for_masked(vault: Vault, tmp_path) -> None:
    with pytest.raises(Unsafe) as caught:
        await mask(
            said(f"Charge {VALUES['CREDIT_CARD']}."), detector=Blind(lambda _: tmp_path), vault=vault, session_id="s"
        )
    assert caught.value.code == "value_left"
    assert not len(await vault.session("s"))


class Slow(Detector):
    """A detector that goes on until it is told to stop."""

    texts = 0

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        self.texts += 1
        assert stop is not None
        stop.wait()
        return []


@pytest.mark.anyio
async def test_looking_that_takes_too_long_ends_and_nothing_is_masked(vault: Vault, tmp_path) -> None:
    detector = Slow(lambda _: tmp_path)
    with pytest.raises(Unsafe) as caught:
        await mask(said(*map(str, range(50))), detector=detector, vault=vault, session_id="s", timeout_s=0.05)
    assert detector.texts == 1
    assert caught.value.code == "privacy_timeout"
    assert "timeout_s" in caught.value.hint


@pytest.mark.anyio
async def test_anonymizing_a_text_that_takes_too_long_ends_too(vault: Vault, tmp_path) -> None:
    with pytest.raises(Unsafe) as caught:
        await anonymize_text("Hello", Slow(lambda _: tmp_path), vault, "s", timeout_s=0.05)
    assert caught.value.code == "privacy_timeout"


@pytest.mark.anyio
async def test_a_text_is_anonymized_beside_the_event_loop(vault: Vault, tmp_path) -> None:
    read_by: set[int] = set()

    class Watched(list[Span]):
        def __iter__(self) -> Iterator[Span]:
            read_by.add(threading.get_ident())
            return super().__iter__()

    class Finds(Detector):
        def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
            return Watched([Span(4, 8, "PERSON", 0.9)])

    masked, _ = await anonymize_text("Ask Anna.", Finds(lambda _: tmp_path), vault, "s")
    assert masked == "Ask <PERSON_1>."
    assert read_by
    assert threading.get_ident() not in read_by


@pytest.mark.anyio
async def test_the_time_bounds_what_is_done_under_the_sessions_lock(vault: Vault, tmp_path) -> None:
    done = threading.Event()

    class Stuck(SecondCheck):
        def conversation(self, masked: Conversation, stand_in: StandIn = lambda _: False) -> None:
            done.wait()

    detector = Blind(lambda _: tmp_path)
    try:
        with pytest.raises(Unsafe) as caught:
            await mask(said("Hello"), detector=detector, vault=vault, session_id="s", check=Stuck(), timeout_s=0.05)
    finally:
        done.set()
    assert caught.value.code == "privacy_timeout"
    assert (await mask(said("Hello"), detector=detector, vault=vault, session_id="s")).found == ()
