"""What leaves holds no value, whatever field it stood in; what comes back is what was written."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    ResponseFormat,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from cloud_bridge.protocol.envelope import conversation_to_json
from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import INSTRUCTION, anonymize_text, mask, replace_spans, settle
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.spans import Span, resolve
from edge_agent.privacy.vault import Vault
from tests.privacy.restored_json import restore_json

pytestmark = [pytest.mark.anyio]

PLANTED = {
    "EMAIL_ADDRESS": "margaret.holloway@brightwater.co.uk",
    "IBAN_CODE": "GB29 NWBK 6016 1331 9268 19",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "PHONE_NUMBER": "+44 7700 900123",
    "IP_ADDRESS": "203.0.113.45",
    "PERSON": "Margaret Holloway",
}
LETTER = (
    f"Dear team, {PLANTED['PERSON']} called from {PLANTED['PHONE_NUMBER']} ({PLANTED['IP_ADDRESS']}) and asks to pay "
    f"{PLANTED['IBAN_CODE']}, not the card {PLANTED['CREDIT_CARD']}. Write to {PLANTED['EMAIL_ADDRESS']}."
)


def said(*parts: Text | ToolCall | ToolResult, role: str = "user", **more: object) -> Conversation:
    return Conversation((Message(role, parts),), **more)  # type: ignore[arg-type]


def leaked(conversation: Conversation, values: Sequence[str]) -> list[str]:
    wire = json.dumps(conversation_to_json(conversation), ensure_ascii=False)
    return [value for value in values if value in wire]


async def test_plain_text(detector: Detector, vault: Vault):
    result = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s")
    assert leaked(result.masked.conversation, list(PLANTED.values())) == []
    assert result.masked.entities == dict.fromkeys(PLANTED, 1)
    assert result.types == frozenset(PLANTED)
    mapping = await vault.session("s")
    assert restore_text(result.masked.conversation.last_user_text, mapping) == LETTER


@pytest.mark.parametrize("kind", PLANTED)
async def test_each_kind_in_tool_arguments_results_and_keys(kind: str, detector: Detector, vault: Vault):
    value = PLANTED[kind]
    arguments = json.dumps({"customer": {"contact": [value, "x"]}, value: True, "note": f"Please ask {value} again."})
    conversation = Conversation(
        (
            Message("user", (Text("Please go on."),)),
            Message("assistant", (ToolCall("call_1", "look_up", arguments),)),
            Message("tool", (ToolResult("call_1", json.dumps({"rows": [{"value": value}, {value: 1}]})),)),
            Message("tool", (ToolResult("call_2", f"Found: {value}."),)),
        )
    )
    result = await mask(conversation, detector=detector, vault=vault, session_id="s")
    assert leaked(result.masked.conversation, [value]) == []
    call = result.masked.conversation.messages[1].parts[0]
    assert isinstance(call, ToolCall)
    assert (call.id, call.name) == ("call_1", "look_up")
    mapping = await vault.session("s")
    assert json.loads(restore_json(call.arguments, mapping)) == json.loads(arguments)


async def test_the_ids_of_calls_leave_as_numbers(detector: Detector, vault: Vault):
    email, iban = PLANTED["EMAIL_ADDRESS"], "DE89370400440532013000"
    conversation = Conversation(
        (
            Message("assistant", (ToolCall(email, "f", "{}"), ToolCall(iban, "f", "{}"))),
            Message("tool", (ToolResult(iban, "two"),)),
            Message("tool", (ToolResult(email, "one"),)),
        )
    )
    masked = (await mask(conversation, detector=detector, vault=vault, session_id="s")).masked.conversation
    assert leaked(masked, [email, iban]) == []
    calls, second, first = (message.parts for message in masked.messages)
    assert [part.id for part in calls if isinstance(part, ToolCall)] == ["call_1", "call_2"]
    assert (second, first) == ((ToolResult("call_2", "two"),), (ToolResult("call_1", "one"),))


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        (Tool("f", parameters={"properties": {PLANTED["EMAIL_ADDRESS"]: {}}}), "EMAIL_ADDRESS"),
        (Tool("f", parameters={"$id": f"https://example.com/{PLANTED['EMAIL_ADDRESS']}"}), "EMAIL_ADDRESS"),
        (Tool("f", parameters={"properties": {"a": {"format": "DE89370400440532013000"}}}), "IBAN_CODE"),
        (Tool("f", parameters={"required": ["078-05-1120"]}), "US_SSN"),
        (Tool("f", parameters={"items": {"minLength": 4111111111111111}}), "CREDIT_CARD"),
        (Tool("93.184.216.34"), "IP_ADDRESS"),
    ],
)
async def test_a_value_in_a_name_is_refused_since_names_cannot_be_masked(
    tool: Tool, kind: str, detector: Detector, vault: Vault
):
    with pytest.raises(InvalidRequest, match=kind) as caught:
        await mask(said(Text("Hello"), tools=(tool,)), detector=detector, vault=vault, session_id="s")
    assert caught.value.code == "value_in_name"


async def test_ordinary_tools_are_not_refused(detector: Detector, vault: Vault):
    names = ("phone_number", "iban", "sk-key", "v1.2.3", "2024-01-01", "card4111", "Straße Nr.", "a@b", "key: value")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {name: {"type": ["string", "null"], "maxLength": 2**31} for name in names},
        "patternProperties": {r"^\w+@\w+\.\w+$": {"$ref": "#/$defs/x"}},
        "required": list(names),
    }
    conversation = said(Text("Hello"), tools=(Tool("mcp__mail__send-2", "Sends.", schema),))
    result = await mask(conversation, detector=detector, vault=vault, session_id="s")
    assert result.masked.conversation == conversation


async def test_every_other_field(detector: Detector, vault: Vault):
    email = PLANTED["EMAIL_ADDRESS"]
    schema = {
        "type": "object",
        "description": f"Ask {email}",
        "properties": {"to": {"type": "string", "default": {"mail": email}, "enum": [email], "x-note": email}},
    }
    conversation = Conversation(
        (Message("system", (Text(f"Answer {email}."),)), Message("user", (Text("Hello"),), name=email)),
        tools=(Tool("send", f"Sends to {email}", schema),),
        response_format=ResponseFormat("json_schema", schema=schema),
        sampling=Sampling(stop=(email,)),
    )
    result = await mask(conversation, detector=detector, vault=vault, session_id="s")
    assert leaked(result.masked.conversation, [email]) == []
    assert result.masked.conversation.messages[1].name == "EMAIL_ADDRESS_1"
    assert result.masked.conversation.tools[0].parameters["properties"]["to"]["type"] == "string"


async def test_numbers_that_are_values_become_placeholders_and_others_stay(detector: Detector, vault: Vault):
    arguments = '{"card": 4111111111111111,  "phone": 2125550123, "count": 12, "price": 1250.50, "ok": true}'
    result = await mask(
        said(ToolCall("c", "pay", arguments), ToolResult("c", "4111111111111111"), role="assistant"),
        detector=detector,
        vault=vault,
        session_id="s",
    )
    call, answer = result.masked.conversation.messages[0].parts
    assert isinstance(call, ToolCall)
    assert isinstance(answer, ToolResult)
    assert call.arguments == (
        '{"card": "<CREDIT_CARD_1>",  "phone": "<PHONE_NUMBER_1>", "count": 12, "price": 1250.50, "ok": true}'
    )
    assert answer.content == '"<CREDIT_CARD_1>"'


async def test_a_number_that_is_a_value_is_masked_however_a_table_spells_it_and_comes_back_so(
    detector: Detector, vault: Vault
):
    arguments = '{"card": 4111111111111111.0, "old_card": -5.555555555554444e15, "count": 12.0, "rate": 1.5e-3}'
    result = await mask(said(ToolCall("c", "pay", arguments)), detector=detector, vault=vault, session_id="s")
    call = result.masked.conversation.messages[0].parts[0]
    assert isinstance(call, ToolCall)
    assert call.arguments == (
        '{"card": "<CREDIT_CARD_1>", "old_card": "-<CREDIT_CARD_2>", "count": 12.0, "rate": 1.5e-3}'
    )
    card, old = result.found
    assert arguments[card.start : card.end] == "4111111111111111.0"
    assert arguments[old.start : old.end] == "5.555555555554444e15"
    mapping = await vault.session("s")
    assert restore_text("<CREDIT_CARD_1> <CREDIT_CARD_2>", mapping) == "4111111111111111.0 5.555555555554444e15"


async def test_a_document_without_values_stays_byte_for_byte(detector: Detector, vault: Vault):
    arguments = '{ "a":1.0, "a":1e3,\n "b":["x\\u00e9", null] }'
    result = await mask(said(ToolCall("c", "f", arguments)), detector=detector, vault=vault, session_id="s")
    call = result.masked.conversation.messages[0].parts[0]
    assert isinstance(call, ToolCall)
    assert call.arguments == arguments
    assert result.masked.entities == {}


async def test_the_same_value_has_the_same_placeholder_in_every_turn_and_after_a_restart(detector: Detector, store):
    first = await mask(said(Text("I am Margaret Holloway.")), detector=detector, vault=Vault(store), session_id="s")
    assert first.masked.conversation.last_user_text == "I am <PERSON_1>."
    text = "Peter Kowalski wrote to Margaret\nHolloway and MARGARET HOLLOWAY."
    second = await mask(said(Text(text)), detector=detector, vault=Vault(store), session_id="s")
    assert second.masked.conversation.last_user_text == "<PERSON_2> wrote to <PERSON_1C> and <PERSON_1B>."
    other = await mask(said(Text("I am Peter Kowalski.")), detector=detector, vault=Vault(store), session_id="other")
    assert other.masked.conversation.last_user_text == "I am <PERSON_1>."


async def test_a_known_name_is_masked_where_the_models_would_miss_it(detector: Detector, vault: Vault):
    await mask(said(Text("My name is Quillon Brask, hello.")), detector=detector, vault=vault, session_id="s")
    result = await mask(said(Text("x=Quillon Brask;y=QuillonBrask")), detector=detector, vault=vault, session_id="s")
    assert result.masked.conversation.last_user_text.startswith("x=<PERSON_1>;")


async def test_two_turns_at_once_never_share_a_placeholder(detector: Detector, vault: Vault):
    names = ["Anna Schmidt", "Peter Kowalski", "Ines Carvalho", "Daniel Okafor", "Margaret Holloway"]
    results = await asyncio.gather(
        *(mask(said(Text(f"My name is {name}.")), detector=detector, vault=vault, session_id="s") for name in names)
    )
    masked = [result.masked.conversation.last_user_text for result in results]
    assert len(set(masked)) == len(names)
    mapping = await vault.session("s")
    assert [restore_text(text, mapping) for text in masked] == [f"My name is {name}." for name in names]


async def test_text_that_looks_like_a_placeholder_comes_back_exact(detector: Detector, vault: Vault):
    text = "Margaret Holloway typed <PERSON_1>, &lt;person 1&gt; and <EMAIL_ADDRESS_4>."
    result = await mask(said(Text(text)), detector=detector, vault=vault, session_id="s")
    assert result.masked.entities == {"PERSON": 1}
    masked = result.masked.conversation.last_user_text
    assert masked == "<PERSON_1> typed <LITERAL_1>, <LITERAL_2> and <LITERAL_3>."
    assert restore_text(masked, await vault.session("s")) == text


async def test_masking_what_was_restored_gives_the_same_again(detector: Detector, vault: Vault):
    once = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s")
    again = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s")
    assert once.masked == again.masked


async def test_the_note_is_given_only_where_something_was_masked(detector: Detector, vault: Vault):
    plain = await mask(said(Text("What is 2 + 2?")), detector=detector, vault=vault, session_id="s", note=True)
    assert plain.masked.conversation == said(Text("What is 2 + 2?"))
    noted = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s", note=True)
    assert noted.masked.conversation.messages[0] == Message("system", (Text(INSTRUCTION),))


async def test_anonymize_reports_where_in_the_given_text(detector: Detector, vault: Vault):
    masked, entities = await anonymize_text(LETTER, detector, vault, "s")
    assert {LETTER[int(e["start"]) : int(e["end"])] for e in entities} == set(PLANTED.values())
    assert all(str(e["placeholder"]) in masked for e in entities)
    assert set(entities[0]) == {"type", "start", "end", "placeholder", "score"}


async def test_a_broken_detector_sends_nothing(tmp_path: Path, models_home: Path, vault: Vault):
    broken = tmp_path / "rampart"
    broken.mkdir()
    for file in (models_home / "rampart-pii-q4").rglob("*.*"):
        if file.is_file():
            (broken / file.name).write_bytes(
                file.read_bytes()[:10_000] if file.suffix == ".onnx" else file.read_bytes()
            )
    with pytest.raises(Broken) as caught:
        await mask(
            said(Text(LETTER)),
            detector=Detector(lambda _: broken),
            vault=vault,
            session_id="s",
        )
    assert caught.value.code == "privacy_failed"
    assert "models verify" in caught.value.hint
    assert "Margaret" not in str(caught.value)


async def test_a_vault_that_cannot_keep_sends_nothing(detector: Detector):
    class Full:
        def load(self, session_id: str) -> Sequence[MappingEntry]:
            return ()

        def began(self, session_id: str) -> str | None:
            return None

        def add(self, session_id: str, entries: Sequence[MappingEntry], began: str | None) -> None:
            raise OSError("disk full")

    with pytest.raises(Problem) as caught:
        await mask(said(Text(LETTER)), detector=detector, vault=Vault(Full()), session_id="s")
    assert caught.value.code == "privacy_failed"
    assert "mapping cannot be written" in caught.value.message


def test_an_entry_shows_no_value():
    assert "Anna" not in repr(MappingEntry("<PERSON_1>", "PERSON", "Anna"))


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "<PERSON_1>",
                "< person 1 >",
                "&lt;PERSON_1&gt;",
                r"\<PERSON\_1\>",
                "<PERSON_1's>",
                "<LITERAL_1>",
                "Anna",
                "Bob",
            ]
        ),
        st.sampled_from(["<", ">", "&lt;", "&gt;", "\\", "_1", "<PERSON_", "\\u003c", " ", "\n"]),
        st.text(max_size=5),
    ),
    max_size=12,
).map("".join)


@settings(deadline=None)  # the first example compiles the grammar
@given(
    text=TEXTS,
    marks=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 12), st.sampled_from(["PERSON", "EMAIL_ADDRESS"]), st.floats(0, 1))
    ),
)
@example(text="< person 1 >< person 1 >Anna<PERSON_ Anna", marks=[(36, 5, "EMAIL_ADDRESS", 0.0)])
@example(text="Anna\nAnna ANNA", marks=[(0, 9, "PERSON", 0.8)])
def test_masking_then_restoring_gives_back_every_text(text: str, marks):
    spans = [Span(min(at, len(text)), min(at + size, len(text)), kind, score) for at, size, kind, score in marks]
    mapping = SessionMapping(
        [MappingEntry("<PERSON_1>", "PERSON", "Anna"), MappingEntry("<PERSON_2>", "PERSON", "Bob")]
    )
    masked, _ = replace_spans(text, settle(text, resolve(spans, text), mapping), mapping)
    assert restore_text(masked, mapping) == text


@given(values=st.lists(st.text(min_size=1, max_size=6), max_size=8))
@example(values=["Anna", "ANNA", " Anna", "Anna\n"])
def test_different_values_never_share_and_a_reload_changes_nothing(values: list[str]):
    mapping = SessionMapping()
    given_out = {value: mapping.placeholder_for("PERSON", value) for value in values}
    assert {placeholder: mapping.value_of(placeholder) for placeholder in given_out.values()} == {
        placeholder: value for value, placeholder in given_out.items()
    }
    assert len(set(given_out.values())) == len(given_out)
    again = SessionMapping(mapping.new_entries)
    assert {value: again.placeholder_for("PERSON", value) for value in values} == given_out
    assert again.new_entries == ()


async def test_a_vault_with_two_values_for_one_placeholder_restores_neither(store):
    store.add("s", [MappingEntry("<PERSON_1>", "PERSON", "Anna"), MappingEntry("<PERSON_1>", "PERSON", "Bob")])
    with pytest.raises(Problem) as caught:
        await Vault(store).session("s")
    assert caught.value.code == "privacy_failed"


class FindsOnlyBeside:
    """Finds a name where a title announces it, and misses it elsewhere."""

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        place = text.find("Mrs Holloway")
        return [] if place < 0 else [Span(place + 4, place + 12, "PERSON", 0.8)]


async def test_what_a_later_text_reveals_is_masked_in_the_earlier_ones(vault: Vault):
    conversation = said(Text("Holloway called. "), Text("That is Mrs Holloway, of course."))
    detector: Detector = FindsOnlyBeside()  # type: ignore[assignment]
    result = await mask(conversation, detector=detector, vault=vault, session_id="s")
    assert result.masked.conversation.last_user_text == "<PERSON_1> called. That is Mrs <PERSON_1>, of course."


@pytest.mark.parametrize(("seed", "left"), [(42, 42), (None, None), (999_999, 999_999)])
async def test_a_short_seed_leaves_as_it_is(seed: int | None, left: int | None, detector: Detector, vault: Vault):
    asked = replace(said(Text("Hello")), sampling=Sampling(seed=seed))
    result = await mask(asked, detector=detector, vault=vault, session_id="s")
    assert result.masked.conversation.sampling.seed == left


async def test_a_seed_that_could_be_a_number_of_somebody_leaves_as_another(detector: Detector, vault: Vault):
    asked = replace(said(Text("Hello")), sampling=Sampling(seed=4111111111111111))
    seeds = {
        (await mask(asked, detector=detector, vault=vault, session_id=session)).masked.conversation.sampling.seed
        for session in ("a", "b")
    }
    assert len(seeds) == 1
    assert 0 <= seeds.pop() < 1_000_000
