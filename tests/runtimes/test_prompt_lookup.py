from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtimes.engine.prompt_lookup import MOST, NGRAM, PromptLookup

TOKENS = st.lists(st.integers(0, 5), max_size=60)


def test_what_followed_the_last_few_tokens_before_is_the_draft():
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 9, 1, 2, 3])
    assert lookup.draft(MOST) == [4, 5]
    lookup.judged(2, 2)
    for token in (4, 5):
        lookup.extend(token)
    assert lookup.draft(MOST) == [6, 9, 1, 2]


def test_nothing_is_drafted_where_nothing_repeats():
    assert PromptLookup(range(100)).draft(MOST) == []


def test_wrong_drafts_are_made_less_and_less_often():
    lookup = PromptLookup([7, 8, 9] * 20)
    tries = 0
    for _ in range(200):
        draft = lookup.draft(MOST)
        if draft:
            tries += 1
            lookup.judged(len(draft), 0)
    assert tries < 12


@given(TOKENS, TOKENS, st.integers(1, 8))
def test_a_draft_is_always_what_stood_after_the_same_tokens(prompt, answer, most):
    lookup = PromptLookup(prompt)
    for token in answer:
        lookup.extend(token)
    draft = lookup.draft(most)
    tokens = prompt + answer
    assert len(draft) <= most
    if draft:
        key = tokens[-NGRAM:]
        assert any(
            tokens[at : at + NGRAM] == key and tokens[at + NGRAM : at + NGRAM + len(draft)] == draft
            for at in range(len(tokens) - NGRAM)
        )
