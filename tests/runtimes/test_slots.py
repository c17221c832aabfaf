from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtimes.engine.slots import Slot, common_prefix, place

token_lists = st.lists(st.integers(0, 2), max_size=12)


def kept(sequence: int, tokens: list[int], *, used: int = 0, busy: bool = False, cells: int | None = None) -> Slot:
    return Slot(sequence, tokens, len(tokens) if cells is None else cells, busy, used)


def test_a_conversation_that_goes_on_takes_its_own_slot():
    slots = [kept(0, [9, 9]), kept(1, [1, 2, 3, 4], used=5), kept(2, [])]
    found = place(slots, [1, 2, 3, 4, 5, 6])
    assert found is not None
    assert (found.slot.sequence, found.source.sequence, found.shared) == (1, 1, 4)


def test_one_that_only_begins_alike_leaves_the_other_as_it_is():
    slots = [kept(0, [1, 2, 3, 4, 5, 6, 7, 8]), kept(1, [])]
    found = place(slots, [1, 2, 0])
    assert found is not None
    assert (found.slot.sequence, found.source.sequence, found.shared) == (1, 0, 2)


def test_a_busy_slot_lends_only_the_cells_that_it_has():
    slots = [kept(0, [1, 2, 3, 4], busy=True, cells=2), kept(1, [])]
    found = place(slots, [1, 2, 3, 9])
    assert found is not None
    assert (found.slot.sequence, found.source.sequence, found.shared) == (1, 0, 2)


def test_there_is_no_place_where_all_are_busy():
    assert place([kept(0, [1], busy=True)], [1, 2]) is None


@given(st.lists(st.tuples(token_lists, st.booleans()), min_size=1, max_size=4), st.lists(st.integers(0, 2), min_size=1))
def test_the_shared_tokens_are_the_prompts_and_the_last_is_always_evaluated(held, prompt):
    slots = [kept(sequence, tokens, busy=busy, used=sequence) for sequence, (tokens, busy) in enumerate(held)]
    found = place(slots, prompt)
    if found is None:
        assert all(busy for _, busy in held)
        return
    assert not found.slot.is_busy
    assert found.shared < len(prompt)
    assert found.source.tokens[: found.shared] == prompt[: found.shared]
    assert found.shared == min(max(common_prefix(slot.tokens, prompt) for slot in slots), len(prompt) - 1)
