"""Taking over another device's placeholders never makes one stand for two values, or gives one value two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.privacy.adopted import adoptable
from edge_agent.privacy.mapping import MappingEntry, SessionMapping

PLACEHOLDERS = [f"<{kind}_{number}{form}>" for kind in ("PERSON", "CITY") for number in (1, 2, 3) for form in ("", "B")]
VALUES = ["Ada", "Alan", "Grace", "Zurich", "Basel", "Ada Lovelace"]


def consistent(entries: list[tuple[str, str]]) -> list[MappingEntry]:
    """What a session can have: each placeholder once, each value once."""
    found: dict[str, MappingEntry] = {}
    for placeholder, value in entries:
        if placeholder not in found and value not in {entry.value for entry in found.values()}:
            found[placeholder] = MappingEntry(placeholder, placeholder[1:].partition("_")[0], value)
    return list(found.values())


MAPPINGS = st.lists(st.tuples(st.sampled_from(PLACEHOLDERS), st.sampled_from(VALUES)), max_size=8).map(consistent)


@given(MAPPINGS, MAPPINGS)
def test_what_is_adopted_stands_beside_what_is_known(known: list[MappingEntry], offered: list[MappingEntry]) -> None:
    adopted = adoptable(known, offered)
    together = [*known, *adopted]
    SessionMapping(together)
    assert len({entry.placeholder for entry in together}) == len(together)
    assert len({entry.value for entry in together}) == len(together)
    assert set(adopted) <= set(offered)


@given(MAPPINGS)
def test_an_empty_session_adopts_all_and_twice_changes_nothing(offered: list[MappingEntry]) -> None:
    adopted = adoptable([], offered)
    assert set(adopted) == set(offered)
    assert adoptable(adopted, offered) == []


def test_a_number_that_is_another_persons_here_is_left_out_with_all_its_forms() -> None:
    known = [MappingEntry("<PERSON_1>", "PERSON", "Alan Turing")]
    offered = [MappingEntry("<PERSON_1>", "PERSON", "Ada Lovelace"), MappingEntry("<PERSON_1B>", "PERSON", "LOVELACE")]
    assert adoptable(known, offered) == []
    assert adoptable(known, [*offered, MappingEntry("<PERSON_2>", "PERSON", "Grace Hopper")]) == [
        MappingEntry("<PERSON_2>", "PERSON", "Grace Hopper")
    ]


def test_another_form_of_a_known_person_joins_it() -> None:
    known = [MappingEntry("<PERSON_1>", "PERSON", "Ada Lovelace")]
    form = MappingEntry("<PERSON_1B>", "PERSON", "LOVELACE")
    assert adoptable(known, [*known, form]) == [form]
