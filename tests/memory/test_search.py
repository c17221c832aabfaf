"""Searching passages: what speaks to a question is found, nothing else is, and any text may be asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.memory import index as memory_index
from edge_agent.memory.choosing import chosen, tokens
from edge_agent.memory.index import Passage, PassageIndex
from edge_agent.memory.question import looked_for

NOTES = {
    "house": "The boiler warranty ends in May.\n\n# Gate\nThe gate code of the summer house is 4711.",
    "cake": "Beat four eggs with sugar. Bake the cake for an hour. Crème brûlée needs vanilla and cream.",
    "koeln": "Der Schlüssel der Wohnung liegt unter der Matte. Die Versicherung zahlt bei Wasserschäden.",
    "tokyo": "会議は金曜日の午後です。東京駅の北口で会いましょう。",
    "office": "The ofﬁce printer is on the second ﬂoor.",
}


@pytest.fixture(scope="module")
def index() -> PassageIndex:
    made = PassageIndex()
    for name, text in NOTES.items():
        made.add(name, f"{name}.md", text)
    return made


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("When does the boiler's warranty end?", "house"),
        ("What is the code for the gates?", "house"),
        ("How long does one bake a CAKE?", "cake"),
        ("What is in a creme brulee?", "cake"),
        ("Wo ist der Schlussel fur die Wohnung?", "koeln"),
        ("東京駅のどこ?", "tokyo"),
        ("Where is the office printer?", "office"),
        ("Tell me what cake.md says", "cake"),
    ],
)
def test_a_question_finds_its_passage(index: PassageIndex, question: str, document: str) -> None:
    found = index.search(question, limit=3, min_score=0.6)
    assert found
    assert found[0].document == document


@pytest.mark.parametrize(
    "question",
    [
        "Write a poem about the sea",
        "What is the capital of Australia?",
        "hello, how are you?",
        "the of and to",
        "",
        "Which bank has the best rates for a house loan in May of next year?",
    ],
)
def test_a_question_about_something_else_finds_nothing(index: PassageIndex, question: str) -> None:
    assert index.search(question, limit=3, min_score=0.6) == []


@settings(max_examples=200, deadline=None)
@given(st.text() | st.text(alphabet='"*^:+-(){}NEAR ANDORT\x00\ud800boiler', max_size=60))
def test_any_text_may_be_asked(index: PassageIndex, question: str) -> None:
    for passage in index.search(question, limit=5, min_score=0.1):
        assert 0.1 <= passage.score <= 1.0 + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=200) | st.just("The boiler. ")), max_size=12))
def test_what_was_removed_is_not_found_whatever_came_and_went(steps: list[tuple[str, str]]) -> None:
    index, there = PassageIndex(), {}
    for name, text in steps:
        index.add(name, "", text)
        there[name] = text
    for name in tuple(there)[1:]:
        index.remove(name)
        del there[name]
    fresh = PassageIndex()
    for name, text in there.items():
        fresh.add(name, "", text)
    assert index.documents == frozenset(there)
    for word in looked_for(" ".join(text for _, text in steps))[:8]:
        assert index.search(word, limit=9, min_score=0.0) == fresh.search(word, limit=9, min_score=0.0)


def test_the_score_hardly_depends_on_how_much_there_is() -> None:
    question, scores = "When does the boiler warranty of my neighbour end?", []
    for others in (0, 1, 2_000):
        index = PassageIndex()
        index.add("house", "", NOTES["house"])
        index.add("others", "", "\n\n".join(f"# Part {n}\nWord{n} word{n} is here." for n in range(others)))
        scores.append(index.search(question, limit=1, min_score=0.1)[0].score)
    assert max(scores) - min(scores) < 0.03
    assert 0.6 < min(scores) < 0.9


def test_one_common_word_is_not_enough() -> None:
    index = PassageIndex()
    index.add("diary", "", "\n\n".join(f"# {day}\nThat day was fine, number {day}." for day in range(300)))
    assert index.search("What day is it?", limit=3, min_score=0.6) == []
    assert index.search("What of number 17?", limit=1, min_score=0.6)[0].heading == "17"


def test_what_stands_around_a_passage_is_told_with_it() -> None:
    text = " ".join(f"Sentence number {number} says that it is here." for number in range(400))
    index = PassageIndex()
    index.add("long", "", text)
    (found,) = index.search("number 200", limit=1, min_score=0.0)
    assert found.before + found.text + found.after in text
    assert len(found.before) == len(found.after) == 4_000


def passage(number: int, text: str, score: float = 1.0) -> Passage:
    return Passage("d", number, "", "", text, score)


def test_the_best_are_chosen_within_the_tokens_and_each_thing_once() -> None:
    one, other, third = ("one two three four five " * 20, "six seven eight nine ten " * 20, "eleven twelve " * 40)
    found = [passage(0, one), passage(1, one + "six"), passage(2, other, 0.9), passage(3, third, 0.7)]
    assert [each.number for each in chosen(found, 10_000)] == [0, 2]
    assert [each.number for each in chosen(found, tokens(one) + 30)] == [0]
    assert chosen(found, 10) == ()


def test_a_write_that_fails_changes_nothing_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    index = PassageIndex()
    index.add("kept", "gate.md", "The gate code is plumbago.")

    def no_room(_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(memory_index, "_rows", no_room)
        for change in (lambda: index.add("new", "hut.md", "The hut is green."), lambda: index.remove("kept")):
            with pytest.raises(MemoryError):
                change()
    assert index.documents == {"kept"}
    assert [each.document for each in index.search("gate code plumbago", limit=3, min_score=0)] == ["kept"]
    index.add("new", "hut.md", "The hut is green.")
    index.remove("kept")
    assert index.search("plumbago", limit=3, min_score=0) == []
    assert index.documents == {"new"}
