"""Text that identifies somebody without a name, on the committed encoder and head."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cloud_bridge.protocol.conversation import Conversation, Message, Part, Text, ToolCall, ToolResult
from cloud_bridge.protocol.problems import Broken
from edge_agent.models.bundled import bundled_path
from edge_agent.routing.descriptions import NAMES, PASSAGE_CHARS, describing, passages
from edge_agent.routing.implicit import AT_ONCE, BUNDLED, MOST_PASSAGES, ImplicitScorer
from edge_agent.runtimes.encoder import Encoder

TELLING = "The nurse on the island who reported the mayor for drunk driving has asked to be moved."
PLAIN = "What is the weather going to be like in the mountains this weekend?"


@pytest.mark.parametrize(
    "text",
    [
        "Write a reference letter for the only female judge in the district.",
        "How should I answer the CFO whose wife works at the competitor?",
        "Draft a warning for the intern who broke production on their first day.",
        "Rewrite this e-mail to the tenant whose dog bit the postman.",
        "I am the only deaf teacher at my school. How do I ask for an interpreter?",
        "Summarise the complaints against our head of security who was caught with the safe open.",
        "What should we tell the supplier that poisoned the canteen in March?",
        "Please prepare talking points about the youngest partner at the firm who was arrested last week.",
        TELLING,
    ],
)
def test_one_person_or_firm_described_without_a_name_is_recognised(scorer: ImplicitScorer, text: str) -> None:
    assert scorer.score(text) >= scorer.threshold


@pytest.mark.parametrize(
    "text",
    [
        "Who was the person who invented the telephone?",
        "Who was the first president of the United States?",
        "Write a short story about a detective who lost his memory.",
        "What does a chief financial officer do?",
        "Write a job advert for a nurse.",
        "The user who created the record may delete it.",
        "Whoever is ill must call the manager before nine.",
        "Name the only mammal that lays eggs.",
        "Sort the list and return the first element.",
        "The baker has 12 loaves and sells a third of them. How many are left?",
        "play the newest song by the band",
        "Please send the invoice to Anna Petrov.",
        PLAIN,
        "",
    ],
)
def test_what_describes_nobody_in_particular_is_not(scorer: ImplicitScorer, text: str) -> None:
    assert scorer.score(text) < scorer.threshold


def test_where_it_stands_is_told(scorer: ImplicitScorer) -> None:
    text = f"{PLAIN} {TELLING}\n{PLAIN}"
    (found,) = (passage for passage in scorer.passages(text) if passage.score >= scorer.threshold)
    assert text[found.start : found.end] == TELLING


def test_a_wrapped_line_does_not_hide_it(scorer: ImplicitScorer) -> None:
    text = f"Dear all,\n{TELLING.replace(' who', chr(10) + '  who').replace(' has', chr(10) + 'has')}\nBest wishes"
    (found,) = (passage for passage in scorer.passages(text) if passage.score >= scorer.threshold)
    assert text[found.start : found.end].split() == TELLING.split()


@given(cuts=st.lists(st.integers(0, len(TELLING)), max_size=4).map(sorted))
def test_it_is_found_however_it_is_cut_into_parts(scorer: ImplicitScorer, cuts: list[int]) -> None:
    pieces = [TELLING[start:end] for start, end in pairwise([0, *cuts, len(TELLING)])]
    parts = tuple(Text(piece) for piece in (PLAIN + " ", *pieces))
    (found,) = scorer.assess(Conversation((Message("user", parts),))).passages
    rest = "".join(part.text for part in parts[found.part :])  # type: ignore[union-attr]
    assert rest[found.start : found.end] == TELLING


def test_one_sentence_in_a_long_text_counts(scorer: ImplicitScorer) -> None:
    filler = "The manager signs the form. A customer pays by card. "
    assert scorer.score(filler * 400) < scorer.threshold
    assert scorer.score(filler * 200 + TELLING + " " + filler * 200) >= scorer.threshold


@pytest.mark.parametrize(
    "part",
    [
        Text(TELLING),
        ToolCall("1", "note", f'{{"text": "{TELLING}"}}'),
        ToolResult("1", TELLING),
    ],
)
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_every_part_of_every_message_is_looked_at(scorer: ImplicitScorer, part: Part, role: str) -> None:
    messages = (Message("user", (Text(PLAIN),)), Message(role, (Text(f"{PLAIN} "), part)))  # type: ignore[arg-type]
    found = scorer.assess(Conversation(messages))
    assert [(passage.message, passage.part) for passage in found.passages] == [(1, 1)]
    assert found.found
    assert found.score >= found.threshold == scorer.threshold


def test_an_ordinary_conversation_has_no_passage(scorer: ImplicitScorer) -> None:
    found = scorer.assess(Conversation((Message("user", (Text(PLAIN),)),)))
    assert not found.found
    assert found.passages == ()


class Counting:
    """The real encoder, counting what it is given."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.texts = 0

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += len(texts)
        return self.encoder.embed(texts)


def test_a_turn_pays_for_new_text_only(encoder: Encoder) -> None:
    counting = Counting(encoder)
    scorer = ImplicitScorer(counting, bundled_path(BUNDLED))
    said = [Message("user", (Text(f"{TELLING} Case {number}."),)) for number in range(5)]
    first = scorer.assess(Conversation(tuple(said[:4])))
    paid = counting.texts
    assert paid
    again = scorer.assess(Conversation(tuple(said)))
    assert counting.texts - paid == paid / 4
    assert again.passages[:4] == first.passages


@pytest.mark.parametrize(
    ("sentence", "read"),
    [("The clerk who lost file {} was dismissed.", AT_ONCE), ("The clerk signs form {}.", MOST_PASSAGES)],
)
def test_a_document_is_read_until_it_is_clear_and_at_most_so_far(encoder: Encoder, sentence: str, read: int) -> None:
    counting = Counting(encoder)
    scorer = ImplicitScorer(counting, bundled_path(BUNDLED))
    text = "\n".join(sentence.format(number) for number in range(500))
    assert (scorer.score(text) >= scorer.threshold) == (read == AT_ONCE)
    assert counting.texts == read


@pytest.mark.parametrize("text", ["the " * 250_000, "a" * 1_000_000, " " * 1_000_000, "\n" * 500_000, "of. " * 250_000])
def test_a_huge_text_of_nothing_is_read_in_linear_time(text: str) -> None:
    started = time.thread_time()
    for passage in passages(text):
        describing(passage.text)
    assert time.thread_time() - started < 5


def test_a_failing_encoder_lets_nothing_through() -> None:
    def fails(_: Sequence[str]) -> NDArray[np.float32]:
        raise RuntimeError(TELLING)

    scorer = ImplicitScorer(fails, bundled_path(BUNDLED))
    with pytest.raises(Broken) as caught:
        scorer.assess(Conversation((Message("user", (Text(TELLING),)),)))
    assert caught.value.code == "privacy_failed"
    assert caught.value.hint
    assert "nurse" not in str(caught.value)


words = st.sampled_from(
    ["the", "our", "only", "judge", "who", "whose", "of", "stole", "'s", ".", "\n", "youngest", ",", "\u2019"]
)


@given(st.text(max_size=200) | st.lists(words, max_size=200).map(" ".join))
def test_passages_lie_in_order_inside_the_text_and_have_finite_features(text: str) -> None:
    before = 0
    for passage in passages(text):
        assert passage.text == text[passage.start : passage.end]
        assert passage.text.strip()
        assert before <= passage.start < passage.end <= len(text)
        assert passage.end - passage.start <= PASSAGE_CHARS
        before = passage.start
        numbers = describing(passage.text)
        if numbers is not None:
            assert numbers.shape == (len(NAMES),)
            assert np.isfinite(numbers).all()


@given(st.lists(words, min_size=1, max_size=400).map(" ".join))
def test_every_word_is_in_a_passage(text: str) -> None:
    covered = {place for passage in passages(text) for place in range(passage.start, passage.end)}
    assert all(place in covered for place, character in enumerate(text) if character.isalpha())
