"""One person has one number, however the name is written; two never share one, and each form comes back exact."""

from __future__ import annotations

from typing import SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import replace_spans, settle
from edge_agent.privacy.placeholders import FORMS, parts
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.spans import Span
from edge_agent.privacy.variants import name, related

FULL = "Margarethe Lindqvist"


def placeholders(*values: str, kind: str = "PERSON", meet: bool = False) -> list[str]:
    mapping = SessionMapping()
    if meet:
        mapping.meet(values)
    given_out = [mapping.placeholder_for(kind, value) for value in values]
    assert [mapping.value_of(each) for each in given_out] == list(values)
    return given_out


@pytest.mark.parametrize(
    "form",
    [
        "Lindqvist",
        "LINDQVIST",
        "Margarethe",
        "Lindqvist's",
        "LINDQVIST'S",
        "Lindqvist\u2019s",
        "Mrs Lindqvist",
        "Dr. Lindqvist",
        "M. Lindqvist",
        "M Lindqvist",
        "MARGARETHE LINDQVIST",
        "margarethe lindqvist",
        "Lindqvist, Margarethe",
        "Margarethe A. Lindqvist",
        "Margarethe  Lindqvist",
        "Margarethe\nLindqvist",
        "Prof. Margarethe Lindqvist",
    ],
)
def test_a_form_of_a_name_shares_its_number_and_has_a_placeholder_of_its_own(form: str):
    assert placeholders(FULL, form) == ["<PERSON_1>", "<PERSON_1B>"]


@pytest.mark.parametrize(
    "other",
    [
        "Erik Lindqvist",
        "E. Lindqvist",
        "Margarethe Holm",
        "Lindqvist-Holm",
        "Lindqvists",
        "M.",
        "ML",
        "Anna Margarethe Lindqvist",
        "Lindquist",
        "van",
        "Lindqvist Margarethe",
    ],
)
def test_what_may_be_somebody_else_has_a_number_of_its_own(other: str):
    assert placeholders(FULL, other) == ["<PERSON_1>", "<PERSON_2>"]


def test_a_surname_that_two_persons_have_is_nobodys():
    assert placeholders(FULL, "Erik Lindqvist", "Lindqvist", "LINDQVIST", "Erik") == [
        "<PERSON_1>",
        "<PERSON_2>",
        "<PERSON_3>",
        "<PERSON_3B>",
        "<PERSON_2B>",
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_within_a_text_everyone_who_is_named_counts_whatever_the_order(order: tuple[int, ...]):
    values = (FULL, "Erik Lindqvist", "Lindqvist")
    found = dict(zip([values[at] for at in order], placeholders(*(values[at] for at in order), meet=True), strict=True))
    assert found["Lindqvist"] == "<PERSON_3>"
    assert {found[FULL], found["Erik Lindqvist"]} == {"<PERSON_1>", "<PERSON_2>"}


def test_a_surname_before_the_full_name_is_that_persons():
    assert placeholders("Lindqvist", FULL, meet=True) == ["<PERSON_1B>", "<PERSON_1>"]
    assert placeholders("Lindqvist", FULL) == ["<PERSON_1>", "<PERSON_1B>"]


def test_what_was_given_is_never_given_anew():
    mapping = SessionMapping()
    first = [mapping.placeholder_for("PERSON", value) for value in (FULL, "Lindqvist")]
    mapping = SessionMapping(mapping.new_entries)
    mapping.meet(["Erik Lindqvist"])
    assert mapping.placeholder_for("PERSON", "Erik Lindqvist") == "<PERSON_2>"
    assert [mapping.placeholder_for("PERSON", value) for value in (FULL, "Lindqvist")] == first
    assert mapping.placeholder_for("PERSON", "Mr Lindqvist") == "<PERSON_3>", "from now on it may be either"


def test_names_with_particles():
    assert placeholders("Jan van der Berg", "van der Berg", "Berg", "J. van der Berg", "Jan") == [
        "<PERSON_1>",
        "<PERSON_1B>",
        "<PERSON_1C>",
        "<PERSON_1D>",
        "<PERSON_1E>",
    ]


@pytest.mark.parametrize(
    ("kind", "values", "linked"),
    [
        ("IBAN_CODE", ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000"), True),
        ("CREDIT_CARD", ("4111 1111 1111 1111", "4111-1111-1111-1111"), True),
        ("PHONE_NUMBER", ("+44 20 7946 0958", "+44 (20) 7946-0958"), True),
        ("EMAIL_ADDRESS", ("Anna@Example.org", "anna@example.org"), True),
        ("ORGANIZATION", ("Acme  Ltd", "ACME LTD"), True),
        ("PASSWORD", ("hunter2", "Hunter2"), False),
        ("API_KEY", ("sk-aaaa", "sk-AAAA"), False),
        ("CRYPTO", ("1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "1boatslrhtknngkdxeeobr76b53lettpyt"), False),
        ("DATE_OF_BIRTH", ("1.12.1990", "11.2.1990"), False),
    ],
)
def test_other_values_are_linked_where_only_case_or_grouping_differs(kind: str, values: tuple[str, ...], linked: bool):
    assert placeholders(*values, kind=kind) == [f"<{kind}_1>", f"<{kind}_1B>" if linked else f"<{kind}_2>"]


def test_a_name_in_capitals_that_is_taken_for_an_organisation_is_still_the_person():
    mapping = SessionMapping([MappingEntry("<PERSON_1>", "PERSON", FULL)])
    assert mapping.placeholder_for("ORGANIZATION", FULL.upper()) == "<PERSON_1B>"
    assert mapping.placeholder_for("ORGANIZATION", "Lindqvist AB") == "<ORGANIZATION_1>"


def test_more_forms_than_letters_get_a_number_of_their_own():
    mapping = SessionMapping()
    made = [mapping.placeholder_for("PERSON", "Anna" + " " * count + "Holm") for count in range(1, FORMS + 3)]
    assert len(set(made)) == len(made)
    assert made[-1] == "<PERSON_2B>"
    assert made[22:24] == ["<PERSON_1Z>", "<PERSON_1BB>"]
    again = SessionMapping(mapping.new_entries)
    assert [again.value_of(each) for each in made] == [entry.value for entry in mapping.new_entries]
    assert all(str(parts(each)) == each for each in made)


def test_a_surname_is_found_again_where_the_models_would_miss_it_in_capitals_too():
    mapping = SessionMapping([MappingEntry("<PERSON_1>", "PERSON", FULL)])
    text = "cc lindqvist; LINDQVIST'S file, Lindqvistian, Lindqvist"
    masked, _ = replace_spans(text, settle(text, [], mapping), mapping)
    assert masked == "cc lindqvist; <PERSON_1B>'S file, Lindqvistian, <PERSON_1C>"
    assert restore_text(masked, mapping) == text


def test_a_surname_that_is_an_ordinary_word_is_left_to_the_detector():
    mapping = SessionMapping([MappingEntry("<PERSON_1>", "PERSON", "Theresa May")])
    assert mapping.known("In May, MAY I? Theresa May") == [Span(15, 26, "PERSON", 0.94)]


def test_each_word_of_a_text_is_looked_up_once_however_many_values_begin_with_it():
    looks: list[object] = []

    class Counted(str):
        __slots__ = ()

        def __getitem__(self, key: SupportsIndex | slice) -> str:
            looks.append(key)
            return super().__getitem__(key)

        def startswith(self, *args: object) -> bool:
            looks.append(args)
            return super().startswith(*args)

    numbers = [f"+44 20 7946 {number}" for number in range(1_000, 1_500)]
    mapping = SessionMapping()
    for number in numbers:
        mapping.placeholder_for("PHONE_NUMBER", number)
    text = Counted(", ".join(numbers))
    found = mapping.known(text)
    assert [str(text)[span.start : span.end] for span in found] == numbers
    assert len(looks) <= 10 * len(numbers)


WORDS = st.sampled_from(["Anna", "Erik", "Lindqvist", "Holm", "A.", "E.", "van", "Mrs", "LINDQVIST", "holm"])
PEOPLE = st.lists(
    st.builds(str.__add__, st.lists(WORDS, min_size=1, max_size=3).map(" ".join), st.sampled_from(["", "'s", "\n"])),
    max_size=10,
)


@settings(deadline=None)  # a busy machine
@given(turns=st.lists(PEOPLE, max_size=4))
def test_no_two_written_forms_share_a_placeholder_and_a_restart_changes_nothing(turns: list[list[str]]):
    mapping, restarted = SessionMapping(), SessionMapping()
    given_out: dict[str, str] = {}
    loaded: list[MappingEntry] = []
    for people in turns:
        loaded += restarted.new_entries
        restarted = SessionMapping(loaded)
        for each in (mapping, restarted):
            each.meet(people)
        for value in people:
            made = mapping.placeholder_for("PERSON", value)
            assert restarted.placeholder_for("PERSON", value) == made
            assert given_out.setdefault(value, made) == made
    assert len(set(given_out.values())) == len(given_out)
    assert {made: mapping.value_of(made) for made in given_out.values()} == {v: k for k, v in given_out.items()}


@settings(deadline=None)  # a busy machine
@given(people=PEOPLE)
def test_what_shares_a_number_may_be_one_person(people: list[str]):
    """Each form is related to the fullest of its number."""
    mapping = SessionMapping()
    mapping.meet(people)
    groups: dict[int, list[str]] = {}
    for value in people:
        known = parts(mapping.placeholder_for("PERSON", value))
        assert known is not None
        groups.setdefault(known.number, []).append(" ".join(value.split()))
    for forms in groups.values():
        names = [found for form in forms if (found := name(form)) is not None]
        fullest = max(names, key=lambda found: found.weight)
        assert all(related(found, fullest) for found in names)
