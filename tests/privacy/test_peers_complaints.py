"""What users of other gateways complain of about the way there and back of their data, one test a complaint.

The names before `#` are the projects whose issue it is. What needs a daemon and a wire is in tests/daemon.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Text, Tool, ToolCall, ToolResult
from cloud_bridge.protocol.envelope import conversation_to_json
from cloud_bridge.protocol.events import Event, Finish, TextDelta, ToolCallDelta
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.openai_chat_answer import StreamDecoder
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.protocol.sse import SseDecoder, encode_sse
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import mask
from edge_agent.privacy.restore import StreamRestorer, restore_text
from edge_agent.privacy.spans import Span
from edge_agent.privacy.vault import Vault
from tests.privacy.restored_json import restore_json

pytestmark = pytest.mark.anyio

EMAIL = "margaret.holloway@brightwater.co.uk"
CARD = "4111 1111 1111 1111"
QUOTED = MappingEntry("<PERSON_1>", "PERSON", 'Peter "Pit" O\\Neil')


class Finds:
    """Finds these words wherever they stand; stands in for the models, which find them in most places."""

    def __init__(self, **words: str) -> None:
        self._words = words

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        found = [(text.find(word), word, kind) for kind, words in self._words.items() for word in words.split("|")]
        return sorted(
            (Span(at, at + len(word), kind, 0.8) for at, word, kind in found if at >= 0), key=lambda span: span.start
        )


def conversation(*messages: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(role, (Text(text),)) for role, text in messages))  # type: ignore[arg-type]


async def masked(said: Conversation, detector: object, vault: Vault, session_id: str = "s") -> Conversation:
    result = await mask(said, detector=detector, vault=vault, session_id=session_id)  # type: ignore[arg-type]
    return result.masked.conversation


async def restored(events: Sequence[Event], mapping: SessionMapping) -> list[Event]:
    async def stream() -> AsyncIterator[Event]:
        for event in events:
            yield event

    return [event async for event in StreamRestorer(mapping).restore(stream())]


async def test_the_wrong_person_is_never_restored(vault: Vault):
    """LiteLLM#31959: the counter begins anew in each message, so that two persons are `<PERSON_1>`."""
    finds = Finds(PERSON="Anna Schmidt|Peter Kowalski|Ines Carvalho")
    texts = ["I am Anna Schmidt.", "Peter Kowalski here.", "Ask Ines Carvalho or Anna Schmidt."]
    one = await masked(conversation(*(("user", text) for text in texts)), finds, vault)
    assert [message.text for message in one.messages] == [
        "I am <PERSON_1>.",
        "<PERSON_2> here.",
        "Ask <PERSON_3> or <PERSON_1>.",
    ]
    others = await asyncio.gather(*(masked(conversation(("user", text)), finds, vault, "t") for text in texts))
    mapping = await vault.session("t")
    assert [restore_text(other.last_user_text, mapping) for other in others] == texts


async def test_a_model_that_drops_the_letter_of_a_form_still_means_the_same_person(vault: Vault):
    """LiteLLM#31959: a repeated value gets several tokens, and models then drop the suffix."""
    finds = Finds(PERSON="Anna Schmidt|SCHMIDT")
    sent = await masked(conversation(("user", "Anna Schmidt signs as SCHMIDT.")), finds, vault)
    assert sent.last_user_text == "<PERSON_1> signs as <PERSON_1B>."
    mapping = await vault.session("s")
    assert restore_text("<PERSON_1B>, that is <PERSON_1>.", mapping) == "SCHMIDT, that is Anna Schmidt."


async def test_placeholders_are_stable_over_requests_and_a_restart(store):
    """LiteLLM#41600, #42138: tokens change with each request, so those written to files cannot be turned back."""
    finds = Finds(PERSON="Anna Schmidt|Peter Kowalski")
    first = await masked(conversation(("user", "Write to Anna Schmidt.")), finds, Vault(store))
    file = f"To: {first.last_user_text.removeprefix('Write to ')}"
    second = await masked(conversation(("user", "Peter Kowalski, then Anna Schmidt")), finds, Vault(store))
    assert second.last_user_text == "<PERSON_2>, then <PERSON_1>"
    assert restore_text(file, await Vault(store).session("s")) == "To: Anna Schmidt."


async def test_arguments_of_earlier_calls_leave_masked(detector: Detector, vault: Vault):
    """LiteLLM#41265, #41274, #30723: the arguments of tool calls in the history are sent in the clear."""
    arguments = json.dumps({"to": [EMAIL], "cc": {EMAIL: CARD}, "body": json.dumps({"card": CARD})})
    said = Conversation(
        (
            Message("user", (Text("Send it."),)),
            Message("assistant", (ToolCall("c", "send", arguments),)),
            Message("tool", (ToolResult("c", "ok"),)),
        ),
        tools=(Tool("send"),),
    )
    sent = await masked(said, detector, vault)
    wire = json.dumps(conversation_to_json(sent))
    assert EMAIL not in wire
    assert CARD not in wire
    call = sent.messages[1].parts[0]
    assert isinstance(call, ToolCall)
    back = json.loads(restore_json(call.arguments, await vault.session("s")))
    assert back == json.loads(arguments)
    assert json.loads(back["body"]) == {"card": CARD}


async def test_arguments_of_new_calls_are_restored():
    """LiteLLM#31950, #32014: the model's tool calls are never unmasked."""
    mapping = SessionMapping([MappingEntry("<EMAIL_ADDRESS_1>", "EMAIL_ADDRESS", EMAIL)])
    events = [ToolCallDelta(0, "c", "send", '{"to": "<EMAIL_'), ToolCallDelta(0, arguments='ADDRESS_1>"}'), Finish()]
    assert gather(await restored(events, mapping)).calls == (ToolCall("c", "send", json.dumps({"to": EMAIL})),)


async def test_an_analyzer_that_fails_stops_the_request(vault: Vault):
    """LiteLLM#30728: where the analyzer fails, the text leaves unmasked."""

    class Fails:
        def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
            raise ConnectionError(text)

    with pytest.raises(Problem) as caught:
        await masked(conversation(("user", f"Ask {EMAIL}")), Fails(), vault)
    assert caught.value.code == "privacy_failed"
    assert EMAIL not in str(caught.value)


async def test_a_restored_answer_is_masked_the_same_in_the_next_turn(vault: Vault):
    """LiteLLM#28316: what was unmasked is masked again with other tokens, or twice."""
    finds = Finds(PERSON="Anna Schmidt")
    first = await masked(conversation(("user", "Who is Anna Schmidt?")), finds, vault)
    answer = restore_text("<PERSON_1> is a judge.", await vault.session("s"))
    again = await masked(
        conversation(("user", "Who is Anna Schmidt?"), ("assistant", answer), ("user", "Sure?")), finds, vault
    )
    assert again.messages[0] == first.messages[0]
    assert again.messages[1].text == "<PERSON_1> is a judge."


@pytest.mark.parametrize(
    "pieces",
    [
        (CARD[:9], CARD[9:]),
        (CARD[:9].strip(), CARD[9:].strip()),
        ("Pay with 4111 11", "11 1111 1111 please"),
        ("4111 ", "1111 1111", " 1111"),
        (f"Ask {EMAIL[:8]}", EMAIL[8:] + " again"),
        ("My IBAN: GB29 NWBK 6016", " 1331 9268 19"),
        ("Please call +44 7700", "900123 today"),
        ("-----BEGIN PRIVATE KEY-----\n" + "4111abcd" * 60, "7700abcd" * 60 + "\n-----END PRIVATE KEY-----"),
    ],
)
async def test_a_value_split_over_two_parts_does_not_leave_in_pieces(pieces: tuple[str, ...], detector, vault: Vault):
    """LiteLLM#41611: a value that is split passes the guards."""
    said = Conversation((Message("user", tuple(map(Text, pieces))),))
    sent = await masked(said, detector, vault)
    wire = json.dumps(conversation_to_json(sent))
    for secret in ("4111", "1111", "holloway", "brightwater", "NWBK", "1331", "7700", "900123"):
        assert secret not in wire
    mapping = await vault.session("s")
    assert (
        tuple(restore_text(part.text, mapping) for part in sent.messages[0].parts if isinstance(part, Text)) == pieces
    )


async def test_text_is_passed_on_before_the_answer_is_whole():
    """LiteLLM#31503: nothing is shown before the whole answer was generated."""
    sent: list[str] = []

    async def upstream() -> AsyncIterator[Event]:
        for word in ("Dear ", "<PERS", "ON_1>", ", how ", "are you?"):
            sent.append(word)
            yield TextDelta(word)

    seen = []
    async for event in StreamRestorer(SessionMapping([QUOTED])).restore(upstream()):
        assert isinstance(event, TextDelta)
        seen.append((len(sent), event.text))
    assert seen == [(1, "Dear "), (3, QUOTED.value), (4, ", how "), (5, "are you?")]


async def test_a_placeholder_split_over_two_server_sent_events_is_restored():
    """LocalAI: a token that is split over two events of the stream is never restored."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("Hi <PER", "SON", "_1", ">!")]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    frames, decoder = SseDecoder(), StreamDecoder()
    events = [
        event for chunk in chunks for sse in frames.feed(encode_sse(json.dumps(chunk))) for event in decoder.feed(sse)
    ]
    answer = gather(await restored([*events, *decoder.end()], SessionMapping([QUOTED])))
    assert answer.text == f"Hi {QUOTED.value}!"


async def test_arguments_stay_valid_json_when_the_value_holds_quotes():
    """LocalAI: a value with a quote makes the arguments invalid JSON; tool calls are not looked at at all."""
    source = json.dumps({"a": "<PERSON_1>", "json": json.dumps({"b": "<PERSON_1>"})})
    (call,) = gather(await restored([ToolCallDelta(0, "c", "f", source), Finish()], SessionMapping([QUOTED]))).calls
    document = json.loads(call.arguments)
    assert document["a"] == QUOTED.value
    assert json.loads(document["json"]) == {"b": QUOTED.value}


@pytest.mark.parametrize("text", ["[REDACTED_PERSON_1]", "[PERSON_2]", "E R _ 1 <> PERSON", "(?P<PERSON_1", "a]b[c"])
def test_a_placeholder_is_never_a_pattern(text: str):
    """LLM Guard: the placeholder is used as a regular expression, where brackets are a class, and shreds the text."""
    assert restore_text(text, SessionMapping([QUOTED])) == text
    assert (
        restore_text("<person_1>", SessionMapping([MappingEntry("<PERSON_1>", "PERSON", r"\1 \g<0> $1")]))
        == r"\1 \g<0> $1"
    )


async def test_each_occurrence_of_a_value_looks_the_same(vault: Vault):
    """LLM Guard: each occurrence of a value gets a fake of its own."""
    finds = Finds(PERSON="Anna Schmidt")
    sent = await masked(conversation(("user", "Anna Schmidt, and again Anna Schmidt")), finds, vault)
    assert sent.last_user_text == "<PERSON_1>, and again <PERSON_1>"


@pytest.mark.parametrize(
    "text",
    [
        "Order 4711 was shipped at 10:42:07.",
        "The build 96c finished with 128 warnings.",
        "2024-03-01T12:30:45Z INFO worker 7 started, 96c",
        "Ticket 20240301-17, row 3, column 12.",
        "12345",
        "Version 3.11.4 of 2023.",
    ],
)
def test_numbers_and_timestamps_are_no_persons(text: str, detector: Detector):
    """presidio#786, #1173, #1352: numbers, timestamps and "96c" are taken for persons."""
    assert [text[span.start : span.end] for span in detector.detect(text) if span.type == "PERSON"] == []


def test_an_e_mail_address_is_found_without_the_network(detector: Detector):
    """presidio#1205: the suffix list is fetched for each address, which hangs where there is no network."""
    watched: list[str] = []
    watching = True

    def watch(event: str, _: object) -> None:
        if watching and event in {"socket.connect", "socket.getaddrinfo"}:
            watched.append(event)

    sys.addaudithook(watch)
    found = detector.detect("Write to someone.unheard.of@subdomain.example.museum, please.")
    watching = False
    assert [span.type for span in found] == ["EMAIL_ADDRESS"]
    assert watched == []


def test_a_model_that_is_missing_is_not_downloaded(tmp_path):
    """OpenMetadata#32241: the language model is downloaded at run time, where there is no network."""
    with pytest.raises(Problem) as caught:
        Detector(tmp_path / "none", None).detect("Anna Schmidt")
    assert caught.value.code == "privacy_failed"
    assert "models pull" in caught.value.hint


async def test_answers_of_tools_leave_masked(detector: Detector, vault: Vault):
    """vLLM semantic router#3560: what tools answer is sent in the clear."""
    said = Conversation(
        (
            Message("user", (Text("Look it up."),)),
            Message("assistant", (ToolCall("c", "look_up", "{}"),)),
            Message("tool", (ToolResult("c", json.dumps({"rows": [{"mail": EMAIL, CARD: 1}]})),)),
        )
    )
    wire = json.dumps(conversation_to_json(await masked(said, detector, vault)))
    assert EMAIL not in wire
    assert CARD not in wire
