"""However an answer is cut, what comes out is what restoring it whole gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.events import (
    ChoiceEvent,
    Event,
    Finish,
    OtherChoice,
    ReasoningDelta,
    Served,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.placeholders import LONGEST
from edge_agent.privacy.restore import StreamRestorer, restore_text
from tests.privacy.restored_json import restore_json

pytestmark = pytest.mark.anyio

ENTRIES = (
    MappingEntry("<PERSON_1>", "PERSON", "Anna Müller"),
    MappingEntry("<PERSON_2>", "PERSON", 'Peter "Pit" O\\Neil\n<PERSON_1>'),
    MappingEntry("<PERSON_11>", "PERSON", "Zoë 😀"),
    MappingEntry("<EMAIL_ADDRESS_1>", "EMAIL_ADDRESS", "anna@example.org"),
    MappingEntry("<LITERAL_1>", "LITERAL", "< person_1 >"),
)
MAPPING = SessionMapping(ENTRIES)


async def stream(events: Sequence[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event


async def restored(events: Sequence[Event], restorer: StreamRestorer | None = None) -> list[Event]:
    return [event async for event in (restorer or StreamRestorer(MAPPING)).restore(stream(events))]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def reasoning_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


def arguments_of(events: Sequence[Event], index: int) -> str:
    return "".join(e.arguments for e in events if isinstance(e, ToolCallDelta) and e.index == index)


FORMS = [
    "<PERSON_1>",
    "<person_1>",
    "< Person_1 >",
    "<PERSON 1>",
    "<PERSON-1>",
    r"<PERSON\_1>",
    r"\<PERSON\_1\>",
    "&lt;PERSON_1&gt;",
    "[PERSON_1]",
    "[Person_1]",
    r"\[PERSON\_1\]",
    "&#60;PERSON_1&#62;",
    "&#x3C;PERSON_1&#x3E;",
]


@pytest.mark.parametrize("form", FORMS)
def test_what_models_do_to_a_placeholder_is_understood(form: str):
    assert restore_text(f"Dear **{form}**'s friend", MAPPING) == "Dear **Anna Müller**'s friend"


@pytest.mark.parametrize(
    "form", ["<EMAIL_ADDRESS_1>", r"<EMAIL\_ADDRESS\_1>", "<Email Address 1>", "<email-address_1>"]
)
def test_a_type_of_two_words_is_understood(form: str):
    assert restore_text(form, MAPPING) == "anna@example.org"


def test_a_possessive_inside_the_brackets_is_kept():
    assert restore_text("<PERSON_1's> car, <PERSON_1>'s dog", MAPPING) == "Anna Müller's car, Anna Müller's dog"


@pytest.mark.parametrize(
    "text", ["<PERSON_3>", "<PERSON_>", "<PERSON_01>", "<PERSON>", "<PERSON_1", "PERSON_1>", "<PERSONIA_1>", "<1>"]
)
def test_what_is_not_certainly_one_of_ours_stays_as_it_is(text: str):
    assert restore_text(text, MAPPING) == text


def test_eleven_is_not_one_followed_by_one():
    assert restore_text("<PERSON_11> <PERSON_1>1", MAPPING) == "Zoë 😀 Anna Müller1"


def test_a_restored_value_is_not_restored_again():
    assert restore_text("<LITERAL_1> and <PERSON_2>", MAPPING) == '< person_1 > and Peter "Pit" O\\Neil\n<PERSON_1>'


def test_tool_arguments_stay_valid_json_whatever_the_value_holds():
    document = '{"to": "<PERSON_2>", "<EMAIL_ADDRESS_1>": "\\u003cPERSON_1\\u003e, \\\\<PERSON\\\\_1\\\\>"}'
    assert json.loads(restore_json(document, MAPPING)) == {
        "to": 'Peter "Pit" O\\Neil\n<PERSON_1>',
        "anna@example.org": "Anna Müller, Anna Müller",
    }


async def test_one_character_at_a_time():
    answer = "Dear <PERSON_1>, 1 < 2, a<b>c, <PERSON_2> wrote to <EMAIL_ADDRESS_1>."
    events = await restored([*(TextDelta(character) for character in answer), Finish()])
    assert text_of(events) == restore_text(answer, MAPPING)
    assert isinstance(events[-1], Finish)


async def test_nothing_is_held_back_that_cannot_become_a_placeholder():
    events = await restored([TextDelta("if a < 3"), TextDelta(" then <div>"), TextDelta("</div> <PER")])
    assert [event.text for event in events if isinstance(event, TextDelta)] == [
        "if a < 3",
        " then <div>",
        "</div> ",
        "<PER",
    ]


async def test_what_is_held_back_is_bounded():
    answer = "x<" + " " * 500 + "<PERSON_" + "1" * 500
    restorer = StreamRestorer(MAPPING)
    seen = 0
    sent = 0

    async def upstream() -> AsyncIterator[Event]:
        nonlocal sent
        for character in answer:
            sent += 1
            yield TextDelta(character)

    async for event in restorer.restore(upstream()):
        assert isinstance(event, TextDelta)
        seen += len(event.text)
        assert sent - seen <= LONGEST
    assert seen == len(answer)


async def test_channels_do_not_mix():
    events = await restored(
        [
            Served("p", "m"),
            TextDelta("a <PERS"),
            ReasoningDelta("b <PERSON_"),
            ToolCallDelta(0, "call_0", "send", '{"a": "<PERS'),
            ToolCallDelta(1, "call_1", "send", '{"b": "<EMAIL_'),
            TextDelta("ON_1>"),
            ReasoningDelta("2>"),
            ToolCallDelta(1, arguments='ADDRESS_1>"}'),
            ToolCallDelta(0, arguments='ON_2>"}'),
            Finish("tool_calls"),
        ]
    )
    assert text_of(events) == "a Anna Müller"
    assert reasoning_of(events) == 'b Peter "Pit" O\\Neil\n<PERSON_1>'
    assert json.loads(arguments_of(events, 0)) == {"a": 'Peter "Pit" O\\Neil\n<PERSON_1>'}
    assert json.loads(arguments_of(events, 1)) == {"b": "anna@example.org"}
    assert [e.id for e in events if isinstance(e, ToolCallDelta) and e.id] == ["call_0", "call_1"]


async def test_a_stream_that_just_ends_gives_back_what_was_held():
    assert text_of(await restored([TextDelta("x <PERSON_1")])) == "x <PERSON_1"


async def test_log_probabilities_come_with_the_end_of_their_text():
    tokens = [TokenLogprob(piece, -0.1) for piece in ("Hi", " <PERS", "ON_1>", "!")]
    events = await restored([*(TextDelta(token.token, (token,)) for token in tokens), Finish()])
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["Hi", " ", "Anna Müller", "!"]
    assert [e.logprobs for e in events if isinstance(e, TextDelta)] == [
        (tokens[0],),
        (),
        (tokens[1], tokens[2]),
        (tokens[3],),
    ]


async def test_unknown_placeholders_are_counted():
    restorer = StreamRestorer(MAPPING)
    events = await restored([TextDelta("<PERSON_7> and <Person 7> and <PERSON_1>"), Finish()], restorer)
    assert text_of(events) == "<PERSON_7> and <Person 7> and Anna Müller"
    assert restorer.unknown == {"<PERSON_7>": 2}


async def test_a_failure_upstream_passes_through():
    async def failing() -> AsyncIterator[Event]:
        yield TextDelta("a")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        async for _ in StreamRestorer(MAPPING).restore(failing()):
            pass


@pytest.mark.parametrize(
    ("shown", "held"),
    [
        ("a < 3", ""),
        ("a <", "<"),
        ("x <div", ""),
        ("see [1]", ""),
        ("see [", "["),
        ("if (a) {", "{"),
        ("if (a) {9", ""),
        ("R&D", ""),
        ("R&", "&"),
        ("100%", "%"),
        ("100% of", ""),
        ("C:\\dir", ""),
        ("<PERSON_1> <PERS", "<PERS"),
        ("{{PERSON_1}", "{{PERSON_1}"),
        ("{PERSON_1} ", ""),
        ("<PERSON_1 ?", ""),
        ("&lt;PERSON_1&g", "&lt;PERSON_1&g"),
        ("&lt;PERSON_1>", ""),
    ],
)
async def test_only_what_could_still_become_a_placeholder_is_held_back(shown: str, held: str):
    out: list[str] = []

    async def upstream() -> AsyncIterator[Event]:
        yield TextDelta(shown)
        out.append(text_of(seen))

    seen: list[Event] = []
    async for event in StreamRestorer(MAPPING).restore(upstream()):
        seen += [event]
    assert out == [restore_text(shown.removesuffix(held), MAPPING)]
    assert text_of(seen) == restore_text(shown, MAPPING)


PIECES = st.one_of(
    st.sampled_from(
        [
            *FORMS,
            "<PERSON_2>",
            "<PERSON_11>",
            "<EMAIL_ADDRESS_1>",
            "<LITERAL_1>",
            "<PERSON_99>",
            r"\u003cPERSON_2\u003e",
        ]
    ),
    st.sampled_from(
        ["<", ">", "[", "]", "&lt;", "&", "\\", "_", "PERSON", "<PERSON", "<PERSON_", "1", " ", "'s", "\n", '"', "é😀"]
    ),
    st.text(max_size=4),
)
ANSWERS = st.lists(PIECES, max_size=12).map("".join)


@st.composite
def cut(draw: st.DrawFn, source: st.SearchStrategy[str]) -> list[str]:
    """A text, cut into any pieces; often into single characters."""
    text = draw(source)
    if draw(st.booleans()):
        return list(text)
    places = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=10))})
    return [text[start:end] for start, end in pairwise(places)]


@settings(deadline=None)  # the first example compiles the grammar
@given(
    text=cut(ANSWERS),
    reasoning=cut(ANSWERS),
    arguments=cut(ANSWERS),
    document=cut(ANSWERS.map(json.dumps)),
    order=st.randoms(),
)
def test_any_cut_of_any_answer_restores_like_the_whole(text, reasoning, arguments, document, order):
    channels: list[list[Event]] = [
        [TextDelta(piece) for piece in text],
        [ReasoningDelta(piece) for piece in reasoning],
        [ToolCallDelta(0, arguments=piece) for piece in arguments],
        [ToolCallDelta(1, arguments=piece) for piece in document],
    ]
    events: list[Event] = []
    while any(channels):
        events.append(order.choice([channel for channel in channels if channel]).pop(0))
    out = run(restored([*events, Finish()]))
    assert text_of(out) == restore_text("".join(text), MAPPING)
    assert reasoning_of(out) == restore_text("".join(reasoning), MAPPING)
    assert arguments_of(out, 0) == restore_json("".join(arguments), MAPPING)
    assert arguments_of(out, 1) == restore_json("".join(document), MAPPING)
    json.loads(arguments_of(out, 1))
    assert isinstance(out[-1], Finish)


@settings(deadline=None)  # the first example compiles the grammar
@given(
    choices=st.lists(st.tuples(cut(ANSWERS), cut(ANSWERS), cut(ANSWERS.map(json.dumps))), min_size=2, max_size=3),
    finished=st.booleans(),
    order=st.randoms(),
)
def test_every_choice_restores_like_the_whole_however_they_are_mixed(choices, finished, order):
    channels: list[list[Event]] = []
    for number, (text, reasoning, document) in enumerate(choices):
        said: list[list[ChoiceEvent]] = [
            [TextDelta(piece) for piece in text],
            [ReasoningDelta(piece) for piece in reasoning],
            [ToolCallDelta(0, arguments=piece) for piece in document],
        ]
        channels += [[OtherChoice(number, event) if number else event for event in channel] for channel in said]
    events: list[Event] = []
    while any(channels):
        events.append(order.choice([channel for channel in channels if channel]).pop(0))
    if finished:
        events += [OtherChoice(number, Finish()) for number in range(1, len(choices))]
    out = run(restored([*events, Finish()]))
    assert isinstance(out[-1], Finish)
    for number, (text, reasoning, document) in enumerate(choices):
        of_choice = choice(out, number)
        assert text_of(of_choice) == restore_text("".join(text), MAPPING)
        assert reasoning_of(of_choice) == restore_text("".join(reasoning), MAPPING)
        assert arguments_of(of_choice, 0) == restore_json("".join(document), MAPPING)
        if finished or not number:
            assert isinstance(of_choice[-1], Finish)


def choice(events: Sequence[Event], number: int) -> list[Event]:
    """What one choice says."""
    if not number:
        return [event for event in events if not isinstance(event, OtherChoice)]
    return [event.event for event in events if isinstance(event, OtherChoice) and event.index == number]


async def test_half_a_placeholder_is_never_completed_by_another_choice():
    restorer = StreamRestorer(MAPPING)
    events = await restored(
        [
            TextDelta("a <PERS"),
            OtherChoice(1, TextDelta("ON_1> b <PERSON_")),
            OtherChoice(2, TextDelta("2> <PERSON_7>")),
            OtherChoice(1, Finish("length")),
            Finish(),
        ],
        restorer,
    )
    assert [text_of(choice(events, number)) for number in range(3)] == ["a <PERS", "ON_1> b <PERSON_", "2> <PERSON_7>"]
    assert events.index(OtherChoice(1, TextDelta("<PERSON_"))) < events.index(OtherChoice(1, Finish("length")))
    assert restorer.unknown == {"<PERSON_7>": 1}


async def test_log_probabilities_of_a_call_wait_for_the_last_of_their_arguments():
    tokens = [TokenLogprob(token, -0.1) for token in ('{"a": "', "<PERSON", "_1>", '"}')]
    events = await restored([*(ToolCallDelta(0, arguments=t.token, logprobs=(t,)) for t in tokens), Finish()])
    assert [(e.arguments, e.logprobs) for e in events if isinstance(e, ToolCallDelta)] == [
        ('{"a": "', (tokens[0],)),
        ("Anna Müller", (tokens[1], tokens[2])),
        ('"}', (tokens[3],)),
    ]


def run(coroutine):
    """Drive a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")
