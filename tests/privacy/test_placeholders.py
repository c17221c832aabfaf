"""What models make of a placeholder is understood where it can mean one value only, and nothing else ever is."""

from __future__ import annotations

import html
import string
import urllib.parse
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.privacy import kinds, type_words
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import replace_spans, settle
from edge_agent.privacy.placeholders import LONGEST, Parts, grammar, parts
from edge_agent.privacy.restore import restore_text
from tests.privacy.restored_json import restore_json

VALUES = {
    "<PERSON_1>": "Anna Müller",
    "<PERSON_1B>": "Müller",
    "<PERSON_2>": 'Peter <"Pit"> O\'Neil & Co',
    "<EMAIL_ADDRESS_1>": "anna@example.org",
    "<ADDRESS_1>": "1 High Street",
    "<IP_ADDRESS_3>": "203.0.113.4",
    "<DATE_OF_BIRTH_1>": "1.2.1990",
}
MAPPING = SessionMapping(MappingEntry(written, parts(written).type, value) for written, value in VALUES.items())


def restored(text: str) -> str:
    return restore_text(text, MAPPING)


@pytest.mark.parametrize(
    "form",
    [
        "<PERSON1>",
        "<person1>",
        "<PERSON _1>",
        "<PERSON_ 1>",
        "<PERSON_1/>",
        "<**PERSON_1**>",
        "<`PERSON_1`>",
        "{PERSON_1}",
        "{{PERSON_1}}",
        "&amp;lt;PERSON_1&amp;gt;",
        "&amp;#60;PERSON_1&amp;#62;",
        "%3CPERSON_1%3E",
        "%3cperson_1%3e",
        "%253CPERSON_1%253E",
        "%3CPERSON%5F1%3E",
        "\uff1cPERSON_1\uff1e",
        "\uff1cPERSON\uff3f1\uff1e",
        "\u3008PERSON_1\u3009",
        "\u27e8PERSON_1\u27e9",
        "\u00abPERSON_1\u00bb",
        r"\\<PERSON\\_1\\>",
        r"\u003cPERSON_1\u003e",
        r"\uff1cPERSON_1\uff1e",
    ],
)
def test_what_models_do_to_a_placeholder(form: str):
    value = urllib.parse.quote("Anna Müller", safe="") if form.startswith("%3") else "Anna Müller"
    value = urllib.parse.quote(urllib.parse.quote("Anna Müller")) if form.startswith("%25") else value
    assert restored(f"a {form}, b") == f"a {value}, b"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("**<PERSON_1>**", "**Anna Müller**"),
        ("`<PERSON_1>`", "`Anna Müller`"),
        ("<PERSON_1>'s", "Anna Müller's"),
        ("<PERSON_1\u2019s>", "Anna Müller\u2019s"),
        ("<PERSON_1s> Auto", "Anna Müllers Auto"),
        ("<PERSON_1>s", "Anna Müllers"),
        ("<PERSON_1B's>", "Müller's"),
        ("<person_1b>", "Müller"),
        ("<PERSON 1 B>", "Müller"),
        ("<PERSON_1_B>", "Müller"),
        ("((<PERSON_1>))", "((Anna Müller))"),
        ("<<PERSON_1>>", "<Anna Müller>"),
    ],
)
def test_what_stands_around_it_stays(written: str, meant: str):
    assert restored(written) == meant


TRANSLATED = {
    "PERSON": ["MENSCH", "PERSONNE", "PERSONA", "PESSOA", "PERSOON", "OSOBA", "PERSONS"],
    "ADDRESS": ["ADRESSE", "DIRECCIÓN", "DIRECCION", "INDIRIZZO", "ENDEREÇO", "ADRES", "ANSCHRIFT"],
    "EMAIL_ADDRESS": ["E-MAIL-ADRESSE", "EMAIL", "ADRESSE_E-MAIL", "CORREO ELECTRÓNICO", "E-MAILADRES", "EmailAddress"],
}


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in TRANSLATED.items() for word in words])
def test_a_translated_type_is_understood(kind: str, word: str):
    for written in (f"<{word}_1>", f"<{word.lower()} 1>", f"[{word.replace('-', '_').replace(' ', '_')}_1]"):
        if written.startswith("<") or "_" in TRANSLATED[kind][0] or kind != "EMAIL_ADDRESS":
            assert restored(written) == VALUES[f"<{kind}_1>"]


def test_the_main_types_have_words_in_seven_languages():
    for kind in ("PERSON", "ADDRESS", "EMAIL_ADDRESS", "PHONE_NUMBER", "LOCATION", "ORGANIZATION", "PASSWORD"):
        assert len(type_words.words_of(kind)) > 7


@pytest.mark.parametrize(
    "text",
    [
        "(PERSON_1)",
        "PERSON_1",
        "<PERSON_3>",
        "<PERSON_1C>",
        "<PERSON_1S'>",
        "<PERSONNE_9>",
        "<ADRESSE_2>",
        "<PERSON_0>",
        "<PERSON_01>",
        "<PERSON_1]",
        "&lt;PERSON_1>",
        "%3CPERSON_1>",
        "[Person 1]",
        "{person 1}",
        "<p1>",
        "<name_1>",
        "List<Person>1",
    ],
)
def test_what_is_not_certain_stays(text: str):
    assert restored(text) == text


def test_a_word_that_may_be_two_types_is_understood_only_where_one_of_them_is_known():
    def says(*placeholders: str) -> str:
        entries = (MappingEntry(each, parts(each).type, f"value of {each}") for each in placeholders)
        return restore_text("<AUSWEISNUMMER_1>", SessionMapping(entries))

    assert says("<ID_NUMBER_1>") == "value of <ID_NUMBER_1>"
    assert says("<GOVERNMENT_ID_1>", "<ID_NUMBER_2>") == "value of <GOVERNMENT_ID_1>"
    assert says("<GOVERNMENT_ID_1>", "<ID_NUMBER_1>") == "<AUSWEISNUMMER_1>"


def test_a_types_own_name_never_means_another_type():
    mapping = SessionMapping([MappingEntry("<EMAIL_ADDRESS_1>", "EMAIL_ADDRESS", "a@example.org")])
    assert restore_text("<ADDRESS_1> <IP_ADDRESS_1>", mapping) == "<ADDRESS_1> <IP_ADDRESS_1>"
    for kind, meant in type_words.meanings(kinds.DEFAULT_TYPES).items():
        if kind in {type_words.plain(each) for each in kinds.DEFAULT_TYPES}:
            assert len(meant) == 1


def test_in_html_and_in_links_the_value_is_escaped_as_the_placeholder_is():
    value = VALUES["<PERSON_2>"]
    once = restored("&lt;PERSON_2&gt;")
    assert html.unescape(once) == value
    assert '"' not in once
    assert html.unescape(html.unescape(restored("&amp;lt;PERSON_2&amp;gt;"))) == value
    link = restored("https://example.org/?q=%3CPERSON_2%3E&x=1")
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(link).query) == {"q": [value], "x": ["1"]}
    assert restore_json('{"a": "&lt;PERSON_2&gt;"}', MAPPING) == '{"a": "' + once + '"}'


def test_unknown_ones_are_counted_by_what_they_would_mean():
    unknown: Counter[str] = Counter()
    assert restore_text("<PERSON_7> <Personne 7> <ADRESSE_9> <PERSON_1>", MAPPING, unknown).count("<") == 3
    assert unknown == {"<PERSON_7>": 2, "<ADDRESS_9>": 1}


def test_no_form_is_longer_than_promised():
    longest = max((word for kind in kinds.DEFAULT_TYPES for word in type_words.words_of(kind)), key=len)
    word = longest.replace("_", "\\\\\\\\_")
    form = f"&amp;amp;#x3c;  **{word} \\\\\\\\_ 9999999\\\\\\\\_BB&amp;#x27;s**  &amp;amp;#x3e;"
    assert grammar().pattern.fullmatch(form)
    assert len(form) <= LONGEST


@settings(deadline=None)  # the first example compiles the grammar
@given(st.builds(Parts, st.sampled_from(["PERSON", "EMAIL_ADDRESS", "X"]), st.integers(1, 10**6), st.integers(0, 506)))
def test_a_placeholder_can_be_taken_apart(made: Parts):
    assert parts(str(made)) == made
    match = grammar(["X"]).pattern.fullmatch(str(made))
    assert match is not None
    assert grammar(["X"]).meant(match) == (made,)


BRACKETS = st.sampled_from(
    [
        ("<", ">"),
        ("[", "]"),
        ("{", "}"),
        ("{{", "}}"),
        ("&lt;", "&gt;"),
        ("%3C", "%3E"),
        ("\\<", "\\>"),
        ("\uff1c", "\uff1e"),
    ]
)
LOOKALIKES = st.builds(
    lambda brackets, word, gap, number: f"{brackets[0]}{word}{gap}{number}{brackets[1]}",
    BRACKETS,
    st.sampled_from(["PERSON", "person", "Personne", "ADRESSE", "EMAIL", "E-Mail-Adresse", "LITERAL", "Osoba"]),
    st.sampled_from(["_", " ", "", "-", "\\_"]),
    st.sampled_from(["1", "2", "1B", "1's", "1s", "99"]),
)
TEXTS = st.lists(
    LOOKALIKES | st.sampled_from(["Anna Müller", "Müller", "\\", "{", "}", " "]) | st.text(max_size=3), max_size=8
)


@settings(deadline=None)  # the first example compiles the grammar
@given(TEXTS.map("".join))
def test_nothing_that_a_person_wrote_is_restored_by_mistake(text: str):
    mapping = SessionMapping(
        [MappingEntry("<PERSON_1>", "PERSON", "Anna Müller"), MappingEntry("<ADDRESS_1>", "ADDRESS", "1 High Street")]
    )
    masked, _ = replace_spans(text, settle(text, [], mapping), mapping)
    assert restore_text(masked, mapping) == text


def test_what_stands_in_nobodys_placeholder_is_let_go_at_once():
    """Of each ordinary text, only an end that some form begins with could be held back."""
    pattern = grammar().pattern
    for text in (
        "a < 3",
        "<9",
        "<p>",
        "x[0]",
        "f{1}",
        "100%9",
        "R&D",
        "C:\\dir",
        "[1]",
        "<PER_",
        "<12",
        "&nbsp",
        "{}",
        "%3A",
    ):
        match = pattern.search(text, partial=True)
        assert match is None or match.start() == len(text), text
    for text in (
        "a <",
        "a < ",
        "<PERS",
        "[PERSON_",
        "&l",
        "%3C",
        "\\",
        "{{",
        "<PERSON_12",
        "<PERSON_1'",
        "<Adr",
        "\\u00",
    ):
        match = pattern.search(text, partial=True)
        assert match is not None, text
        assert match.partial, text
        assert match.start() < len(text), text


def test_the_letters_of_forms_are_never_a_possessive_nor_a_digit():
    assert not {"S", "I", "O"} & set("".join(str(Parts("X", 1, form))[4:-1] for form in range(507)))
    assert set(string.ascii_uppercase) - {"A", "I", "O", "S"} == {
        str(Parts("X", 1, form))[4:-1] for form in range(1, 23)
    }
