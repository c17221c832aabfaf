"""Values with a checksum or a fixed format are found whatever stands around them."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.privacy.finders import contacts, patterns, secrets
from edge_agent.privacy.plain import plain
from edge_agent.privacy.spans import Span

BEFORE = [
    "",
    "(",
    "'",
    '"',
    ": ",
    "=",
    ",",
    ";",
    "<",
    "[",
    "{",
    "tel:",
    "\n",
    "\t",
    "#",
    "`",
    "**",
    "€",
    "\uff1a",
    "「",
    "-> ",
    "|",
    "_",
    ">",
    "卡号",
]
AFTER = [
    "",
    ")",
    "'",
    '"',
    ".",
    ",",
    ";",
    ">",
    "]",
    "\n",
    "?",
    "!",
    "…",
    " and",
    "\u2019s",
    "`",
    "**",
    "|",
    "<br>",
    "_",
    "。",
    " 2 days",
]
digits = st.text("0123456789", min_size=15, max_size=15)


def card(prefix: str, length: int, tail: str, mark: str) -> str:
    body = (prefix + tail)[: length - 1]
    number = next(body + check for check in "0123456789" if patterns._luhn(body + check))
    return mark.join(number[at : at + 4] for at in range(0, length, 4)) if length == 16 else number


def iban(country: str, tail: str, *, grouped: bool) -> str:
    body = (tail * 3)[: patterns._IBAN_LENGTH[country] - 4]
    whole = next(
        f"{country}{check:02}{body}" for check in range(2, 99) if patterns._mod97(f"{country}{check:02}{body}") == 1
    )
    return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4)) if grouped else whole


CARDS = st.builds(
    lambda issuer, tail, mark: card(*issuer, tail, mark),
    st.sampled_from([("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("6011", 16), ("3530", 16)]),
    digits,
    st.sampled_from(["", " ", "-"]),
)
IBANS = st.builds(
    lambda c, tail, g: iban(c, tail, grouped=g), st.sampled_from(sorted(patterns._IBAN_LENGTH)), digits, st.booleans()
)
ADDRESSES = (
    st.one_of(
        st.integers(0x01000000, 0xDFFFFFFF).map(ipaddress.IPv4Address),
        st.integers(0x2001 << 112, (0x2002 << 112) - 1).map(ipaddress.IPv6Address),
    )
    .map(str)
    .filter(lambda address: address != "127.0.0.1")
)
PHONES = st.sampled_from(
    [
        "+44 7700 900123",
        "+1-212-555-0123",
        "+49 (0)30 123456",
        "+33 6 12 34 56 78",
        "+1 (212) 555-0187",
        "+919876543210",
        "0044 20 7946 0123",
        "(253) 329-7897",
        "212-555-0123",
    ]
)
EMAILS = st.builds(
    lambda name, host: f"{name}@{host}",
    st.sampled_from(["anna", "a.b-c+d", "x_1", "j.o'neil", "ünter"]),
    st.sampled_from(["example.com", "mail.co.uk", "x-y.de", "a.b.museum", "пример.рф", "corp.internal"]),
)


@pytest.mark.parametrize(
    ("values", "find"),
    [
        pytest.param(CARDS, patterns.card_number, id="card"),
        pytest.param(IBANS, patterns.iban, id="iban"),
        pytest.param(ADDRESSES, patterns.ip_address, id="ip"),
        pytest.param(PHONES, contacts.phone_number, id="phone"),
        pytest.param(EMAILS, contacts.email_finder(), id="email"),
    ],
)
def test_found_whole_in_any_surroundings(values: st.SearchStrategy[str], find: patterns.Finder):
    @settings(max_examples=300, deadline=None)
    @given(value=values, before=st.sampled_from(BEFORE), after=st.sampled_from(AFTER))
    def check(value: str, before: str, after: str) -> None:
        text = f"Please use {before}{value}{after} for it."
        seen = plain(text)
        spans = seen.original(Span(start, end, "X", score) for start, end, score in find(seen.text) if score >= 0.4)
        covered = {place for span in spans for place in range(span.start, span.end)}
        start = len("Please use " + before)
        missed = [place for place in range(start, start + len(value)) if text[place].isalnum() and place not in covered]
        assert missed == []

    check()


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (patterns.card_number, "4111111111111112 and 1234567890123456789012345 and id a4111111111111111"),
        (patterns.iban, "DE89 3704 0044 0532 0130 01 and XX00 1234 and DE8937040044053201300"),
        (patterns.ip_address, "127.0.0.1, ::1, 0.0.0.0, 1.2.3, 1.2.3.4.5, 256.1.1.1, 12:30:45, Foo::bar, a::b"),
        (secrets.private_key, "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"),
        (secrets.password, "The password is required. Forgot password?"),
        (secrets.api_key, "an api key is a secret; the token is missing; sk-ipping"),
        (secrets.connection_string, "https://example.org:8080/path?q=a@b"),
    ],
)
def test_what_only_looks_alike_is_left(find: patterns.Finder, text: str):
    assert list(find(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "a" * 20_000,
        "1 " * 10_000,
        "a.b-" * 5_000,
        "-----BEGIN PRIVATE KEY-----" * 800,
        "password=" * 2_000,
        ":" * 20_000,
    ],
)
def test_no_finder_is_slow_on_hostile_text(text: str):
    finders = [patterns.card_number, patterns.iban, patterns.email, patterns.ip_address, patterns.us_ssn, patterns.url]
    finders += [patterns.hostname, patterns.id_number, patterns.date_of_birth, patterns.phone_shape]
    finders += [secrets.api_key, secrets.password, secrets.connection_string, secrets.private_key]
    for find in finders:
        started = time.perf_counter()
        list(find(text))
        assert time.perf_counter() - started < 2, find.__name__


@pytest.mark.parametrize("sign", ["@", "%40", "&#64;", "&#x40;", "&commat;", r"\u0040"])
def test_an_address_is_one_however_its_sign_is_written(sign: str):
    text = f"mailto:margaret.holloway{sign}brightwater.co.uk?subject=x"
    assert [text[start:end] for start, end, _ in contacts.email_finder()(text)] == [
        f"margaret.holloway{sign}brightwater.co.uk"
    ]


@pytest.mark.parametrize(
    "nothing", "\u00ad\u034f\u061c\u115f\u180e\u200b\u202a\u2062\u2066\u3164\ufe0f\ufeff\U000e0041"
)
def test_what_is_drawn_as_nothing_hides_nothing(nothing: str):
    seen = plain(f"card 4111{nothing}1111{nothing}1111{nothing}1111.")
    assert seen.text == "card 4111111111111111."
    assert seen.original([Span(5, 21, "CREDIT_CARD", 1.0)]) == [Span(5, 24, "CREDIT_CARD", 1.0)]
