from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.events import TextDelta, TokenLogprob
from cloud_bridge.protocol.gathered import gather
from edge_agent.runtimes.chat.answer_text import AnswerText
from edge_agent.runtimes.chat.stop import StopHolder

texts = st.text("abé€", max_size=30)
stops = st.lists(st.text("abé€", min_size=1, max_size=4), max_size=3)


def cut_at_first(text: str, stop_strings: list[str]) -> str:
    found = [at for at in (text.find(stop) for stop in stop_strings) if at >= 0]
    return text[: min(found)] if found else text


@given(st.lists(texts, max_size=10), stops)
def test_text_ends_where_the_first_stop_string_begins_however_it_is_cut(pieces, stop_strings):
    holder = StopHolder(stop_strings)
    shown = ""
    for piece in pieces:
        shown += holder.feed(piece)
        if holder.stopped:
            break
    shown += holder.flush()
    assert holder.stopped == any(stop in "".join(pieces) for stop in stop_strings)
    if not holder.stopped:
        assert shown == "".join(pieces)
    else:
        # A stop string counts when it is complete; none that is shown was.
        assert "".join(pieces).startswith(shown)
        assert not any(stop in shown for stop in stop_strings)


@given(texts, stops)
def test_one_character_at_a_time_gives_the_same_as_all_at_once_for_one_stop_string(text, stop_strings):
    stop_strings = stop_strings[:1]
    holder = StopHolder(stop_strings)
    shown = "".join(holder.feed(character) for character in text) + holder.flush()
    assert shown == cut_at_first(text, stop_strings)


@given(texts, st.text("xy", min_size=2, max_size=6))
def test_no_more_is_held_back_than_could_still_be_a_stop_string(text, stop):
    holder = StopHolder([stop])
    assert holder.feed(text) == text
    assert holder.feed(stop[0]) == ""
    assert holder.feed("z") == f"{stop[0]}z"


@given(st.text(max_size=20), st.integers(1, 3), st.lists(st.text(min_size=1, max_size=3), max_size=2))
def test_every_token_is_covered_by_exactly_one_delta_and_no_character_is_broken(text, size, stop_strings):
    data = text.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    answer = AnswerText(stop_strings)
    events = []
    for index, piece in enumerate(pieces):
        events += answer.add(piece, TokenLogprob(str(index), -float(index)))
        if answer.stopped:
            break
    events += answer.end()
    whole = gather(events)
    assert [logprob.token for logprob in whole.logprobs] == [str(index) for index in range(len(whole.logprobs))]
    assert text.startswith(whole.text)
    assert answer.finish_reason(cut=False) == "stop"
    if not answer.stopped:
        assert whole.text == text
        assert len(whole.logprobs) == len(pieces)


def test_bytes_that_never_become_a_character_are_replaced_not_lost():
    answer = AnswerText()
    assert answer.add(b"\xe2\x82", TokenLogprob("?", -math.e)) == []
    assert answer.end() == [TextDelta("\N{REPLACEMENT CHARACTER}", (TokenLogprob("?", -math.e),))]


def test_a_token_without_text_is_covered_all_the_same():
    answer = AnswerText()
    assert answer.add(b"", TokenLogprob("<x>", -1.0)) == []
    assert answer.end() == [TextDelta("", (TokenLogprob("<x>", -1.0),))]
    assert answer.finish_reason(cut=True) == "length"
