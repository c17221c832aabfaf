"""A session of many turns: page by page, by what a client still has of it, and at a cost that does not grow."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import NotFound
from edge_agent.state import history, session_view
from edge_agent.state.state import State

SMALL = ("SCAN (subquery", "SCAN CONSTANT ROW", "SCAN line", "SCAN sessions")
"""What may be read whole: what was found or given, and the list of the sessions for the newest of them."""


class Talk:
    """A session, and what its client said and was told: `texts`, user's and assistant's by turns."""

    def __init__(self, state: State, talk: Any, report: Any, session_id: str = "s") -> None:
        self.state, self._talk, self._report, self.id = state, talk, report, session_id
        self.texts: list[str] = []

    def go_on(self, question: str, answer: str, *, sent: int | None = None) -> str:
        """One more turn, of which the client sends its newest `sent` texts. Returns the answer's id."""
        carried = self.texts if sent is None else self.texts[len(self.texts) - sent :]
        request = self.state.accept_request(self.id, self._talk(*carried, question))
        answer_id = self.state.finish_request(request, answer, self._report(self.id))
        self.texts += [question, answer]
        assert answer_id is not None
        return answer_id


@pytest.fixture
def talked(state: State, talk: Any, report: Any) -> Talk:
    return Talk(state, talk, report)


def _texts(messages: Any) -> list[str]:
    return [message["parts"][0]["text"] for message in messages]


def test_a_session_is_opened_page_by_page(talked: Talk) -> None:
    for number in range(10):
        talked.go_on(f"q{number}", f"a{number}")
    newest = talked.state.session("s", limit=4)
    assert [turn.messages[0]["parts"][0]["text"] for turn in newest.turns] == ["q6", "q7", "q8", "q9"]
    assert newest.more
    assert newest.continues == newest.turns[-1].answers[0].id
    middle = talked.state.session("s", limit=4, before=newest.turns[0].id)
    first = talked.state.session("s", limit=4, before=middle.turns[0].id)
    assert (middle.more, first.more) == (True, False)
    whole = talked.state.session("s")
    assert [*first.turns, *middle.turns, *newest.turns] == list(whole.turns)
    with pytest.raises(NotFound) as caught:
        talked.state.session("s", before="nobody's")
    assert (caught.value.code, caught.value.param) == ("unknown_turn", "before")


def test_a_history_that_was_cut_at_the_front_continues_the_session(talked: Talk) -> None:
    answers = [talked.go_on(f"q{number}", f"a{number}") for number in range(4)]
    talked.go_on("q4", "a4", sent=2)
    talked.go_on("q5", "a5", sent=4)
    turns = talked.state.session("s").turns
    assert [turn.parent for turn in turns[:5]] == [None, *answers]
    assert [_texts(turn.messages) for turn in turns] == [[f"q{number}"] for number in range(6)]
    # A client that has all of it still is known by the whole.
    talked.go_on("q6", "a6")
    assert _texts(talked.state.session("s").turns[-1].messages) == ["q6"]
    assert _texts(talked.state.history("s")) == talked.texts


def test_where_the_same_was_said_twice_a_cut_history_continues_the_newest_and_a_whole_one_its_own(talked: Talk) -> None:
    talked.go_on("Hello", "Hi")
    first = talked.go_on("And?", "Nothing.")
    begun = talked.texts.copy()
    talked.go_on("Really?", "Yes.")
    second = talked.go_on("And?", "Nothing.")
    talked.go_on("Sure?", "Sure.", sent=2)
    talked.texts = begun
    talked.go_on("Quite?", "Quite.")
    *_, sure, quite = talked.state.session("s").turns
    assert (sure.parent, quite.parent) == (second, first)


def test_what_was_recorded_before_answers_had_a_fingerprint_of_their_own_goes_on_as_ever(talked: Talk) -> None:
    talked.go_on("q0", "a0")
    with talked.state.log.transaction() as tx:
        tx.db.execute("UPDATE answers SET tail = NULL")
    talked.go_on("q1", "a1")
    root, turn = talked.state.session("s").turns
    assert turn.parent == root.answers[0].id


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), min_size=1, max_size=8), st.data())
@settings(max_examples=30)
def test_any_cut_history_continues_an_answer_with_the_same_words(said: list[tuple[str, str]], data: Any) -> None:
    """Against the plain rule: all the answers that follow the same question with the same words, the newest."""
    key: Any = _PlainKey()
    known = [_said(pair) for pair in (("the first", "answer"), *said)]
    sent = data.draw(st.integers(1, len(said)))
    window = [message for pair in known[-sent:] for message in pair]
    place = history.place(_Answers(key, known), "s", key, [*window, _message("user", "next")])
    assert place.parent == str(len(known) - 1)
    assert _texts(place.added) == ["next"]
    whole = history.place(_Answers(key, known), "s", key, [*(m for pair in known for m in pair), _message("user", "n")])
    assert whole.parent == str(len(known) - 1)


def test_what_the_next_request_carries_is_bounded_and_begins_alike_for_many_turns(talked: Talk) -> None:
    begins: list[str] = []
    for number in range(60):
        talked.go_on(f"q{number}", f"a{number}", sent=min(4, 2 * number))
        carried = _texts(talked.state.history("s"))
        assert carried == talked.texts[-len(carried) :]
        assert len(carried) // 2 in (range(history.TURNS // 2, history.TURNS + 1) if number >= 16 else [number + 1])
        begins.append(carried[0])
    assert len(set(begins)) < 24  # of 60: a window that moves each time would begin with 45
    assert len(_texts(talked.state.history("s", None))) == 120
    talked.go_on("x" * history.MAX_CHARACTERS, "long", sent=2)
    assert _texts(talked.state.history("s")) == talked.texts[-2:]


def test_an_export_reads_some_turns_at_a_time(talked: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_view, "PAGE_TURNS", 3)
    for number in range(7):
        talked.go_on(f"q{number}", f"a{number}")
    pieces = talked.state.export("s", "jsonl")
    assert json.loads(next(pieces))["record"] == "session"
    assert [json.loads(piece)["messages"][0]["parts"][0]["text"] for piece in pieces] == [f"q{n}" for n in range(7)]
    interrupted = talked.state.export("s", "jsonl")
    next(interrupted)
    next(interrupted)
    talked.state.forget("s")
    with pytest.raises(NotFound) as caught:
        list(interrupted)
    assert caught.value.code == "session_forgotten"


def test_nothing_that_opening_and_recording_ask_the_database_grows_with_the_session(talked: Talk) -> None:
    for number in range(3):
        talked.go_on(f"q{number}", f"a{number}")
    asked: list[str] = []
    talked.state.log._db.set_trace_callback(asked.append)
    talked.go_on("q3", "a3", sent=4)
    talked.state.session("s", limit=2)
    talked.state.history("s")
    talked.state.sessions(limit=5)
    talked.state.choose("s", talked.state.session("s").turns[0].answers[0].id)
    talked.state.log._db.set_trace_callback(None)
    read = [sql for sql in asked if re.match(r"\s*(SELECT|WITH|INSERT|UPDATE)", sql)]
    assert len(read) > 20
    with talked.state.log.reading() as tx:
        plans = {sql: [row[-1] for row in tx.db.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in read}
    whole = {step for steps in plans.values() for step in steps if step.startswith("SCAN")}
    large = {step for step in whole if not step.startswith(SMALL) and "VIRTUAL TABLE" not in step}
    assert not large, {sql: steps for sql, steps in plans.items() if not large.isdisjoint(steps)}


def test_a_thousand_turns_alike_cost_no_more_than_few(talked: Talk, talk: Any, report: Any) -> None:
    """The worst case of what finds a place: the same first question and answer again and again."""
    talked.state.log._db.execute("PRAGMA synchronous = OFF")

    def ask() -> None:
        request = talked.state.accept_request("s", talk("Hi"))
        talked.state.finish_request(request, "Hello!", report())

    few = min(_taken(ask) for _ in range(20))
    for _ in range(600):
        ask()
    assert min(_taken(ask) for _ in range(20)) < 5 * few
    assert talked.state.session("s", limit=1).turns[0].branch == session_view.MAX_BRANCH
    assert talked.state.sessions()[0].turns == 640


def _taken(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class _PlainKey:
    """Fingerprints that are the words themselves."""

    def mac(self, text: bytes) -> bytes:
        return text


class _Answers:
    """A reader of one session's answers, as they would be on record."""

    def __init__(self, key: Any, said: list[list[Any]]) -> None:
        self._rows, mac = [], ""
        for number, (question, answer) in enumerate(said):
            mac = history.continued(key, history.continued(key, mac, question), answer)
            tail = history.continued(key, history.continued(key, "", question), answer)
            self._rows.append({"id": str(number), "mac": mac, "tail": tail})

    def row(self, sql: str, marks: str, _: str) -> Any:
        column = "tail" if "tail =" in sql else "mac"
        for number, mark in enumerate(json.loads(marks)):
            for row in reversed(self._rows):
                if row[column] == mark:
                    return {**row, "number": number}
        return None


def _said(pair: tuple[str, str]) -> list[Any]:
    return [_message("user", pair[0]), _message("assistant", pair[1])]


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "name": None, "parts": [{"type": "text", "text": text}]}
