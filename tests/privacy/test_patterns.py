"""Values with a checksum or a fixed format are found whatever stands around them."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.privacy.finders import contacts, every, network, payment
from edge_agent.privacy.finders.checksums import luhn, mod97
from edge_agent.privacy.finders.hits import Finder
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
    number = next(body + check for check in "0123456789" if luhn(body + check))
    return mark.join(number[at : at + 4] for at in range(0, length, 4)) if length == 16 else number


def iban(country: str, tail: str, *, grouped: bool) -> str:
    body = (tail * 3)[: payment.IBAN_LENGTH[country] - 4]
    whole = next(f"{country}{check:02}{body}" for check in range(2, 99) if mod97(f"{country}{check:02}{body}"))
    return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4)) if grouped else whole


CARDS = st.builds(
    lambda issuer, tail, mark: card(*issuer, tail, mark),
    st.sampled_from([("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("6011", 16), ("3530", 16)]),
    digits,
    st.sampled_from(["", " ", "-"]),
)
IBANS = st.builds(
    lambda c, tail, g: iban(c, tail, grouped=g), st.sampled_from(sorted(payment.IBAN_LENGTH)), digits, st.booleans()
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
        pytest.param(CARDS, payment.card_number, id="card"),
        pytest.param(IBANS, payment.iban, id="iban"),
        pytest.param(ADDRESSES, network.ip_address, id="ip"),
        pytest.param(PHONES, contacts.phone_number, id="phone"),
        pytest.param(EMAILS, contacts.email_finder(), id="email"),
    ],
)
def test_found_whole_in_any_surroundings(values: st.SearchStrategy[str], find: Finder):
    @settings(max_examples=120, deadline=None)
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
    "text",
    [
        "a" * 8_000,
        "A" * 8_000,
        "1 " * 2_000,
        "123 " * 2_500,
        "12-" * 2_500,
        "a.b-" * 2_500,
        "-----BEGIN PRIVATE KEY-----" * 800,
        "password=" * 2_000,
        "a=b;" * 2_500,
        "no. 1/23, " * 2_000,
        "card: 4111%20" * 1_500,
        "%20a" * 2_500,
        ":" * 8_000,
        "@" * 8_000,
        "curl -u " * 2_500,
        "GB12 " * 2_000,
        "secret token key " * 1_000,
        "\\" * 8_000,
        "\\n\\u2192" * 1_000,
    ],
)
def test_no_finder_is_slow_on_hostile_text(text: str):
    finders = [(name, find) for name, find, _ in every.finders()]
    finders += [(name, find) for name, _, find in every.of_several_types()]
    for name, find in finders:
        started = time.thread_time()
        list(find(text))
        assert time.thread_time() - started < 2, name


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


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("EMAIL_ADDRESS", "write to margarethe&#46;lindqvist&commat;corp-mail&period;de now"),
        ("EMAIL_ADDRESS", "write to ada&amp;#x40;example.org now"),
        ("PHONE_NUMBER", "tel +44&#32;20&nbsp;7946&#32;0958 today"),
        ("US_SSN", "ssn: 536&#45;22&#45;1234."),
        ("PASSWORD", "password&#58; hunter2-XyZ"),
    ],
)
def test_what_html_writes_as_references_is_found_whole(kind: str, text: str):
    find = next(find for name, _, find in every.of_several_types() if name == "references")
    assert [text[start:end] for entity, (start, end, _) in find(text) if entity == kind]


def test_what_only_looks_like_references_stays():
    find = next(find for name, _, find in every.of_several_types() if name == "references")
    for text in ("R&D; AT&T; a &nope; b &#; c", "&" * 5000, "&amp;" * 2000):
        assert list(find(text)) == []
