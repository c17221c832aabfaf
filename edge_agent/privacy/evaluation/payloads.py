"""Generated texts that hold values of certain types in the surroundings in which people and programs write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from edge_agent.privacy.evaluation.specimens import MAKERS


@dataclass(frozen=True, slots=True)
class Payload:
    """A text, and the values that must not leave in it, spelled as they stand there; `kinds` names their kinds."""

    text: str
    values: tuple[str, ...]
    kinds: tuple[str, ...]


def payloads(count: int, seed: int) -> Iterator[Payload]:
    """So many payloads, the same for the same seed: of one to three values each."""
    random = Random(seed)  # noqa: S311 (test data)
    for _ in range(count):
        yield _payload(random)


def _payload(random: Random) -> Payload:
    pieces: list[str] = []
    values: list[str] = []
    kinds: list[str] = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        kind = random.choice(sorted(MAKERS))
        value = MAKERS[kind](random)
        if random.random() < 0.12:
            spelled = _in_url(kind, value)
            pieces.append(random.choice(_URLS).replace("{}", spelled))
        else:
            spelled = random.choice(_SPELLINGS)(kind, value, random)
            pieces.append(random.choice(_SURROUNDINGS).replace("{}", spelled))
        values.append(spelled)
        kinds.append(kind)
    return Payload(random.choice(["\n", " ", "\r\n", "\n\n"]).join(pieces), tuple(values), tuple(kinds))


Spelling = Callable[[str, str, Random], str]


def _as_it_is(_kind: str, value: str, _random: Random) -> str:
    return value


def _full_width(kind: str, value: str, _random: Random) -> str:
    if kind in {"EMAIL_ADDRESS", "API_KEY", "CRYPTO"}:
        return value
    return "".join(chr(ord(character) + 0xFEE0) if character.isdigit() else character for character in value)


def _unbreakable(_kind: str, value: str, random: Random) -> str:
    return value.replace(" ", random.choice(["\u00a0", "\u202f", "\u2009"]))


def _with_unseen(_kind: str, value: str, random: Random) -> str:
    unseen = random.choice(["\u00ad", "\u200b", "\u2060", "\u200d"])
    return "".join(character + (unseen if random.random() < 0.2 else "") for character in value[:-1]) + value[-1]


def _other_dash(kind: str, value: str, random: Random) -> str:
    if kind not in {"CREDIT_CARD", "PHONE_NUMBER"}:
        return value
    return value.replace("-", random.choice(["\u2011", "\u2013", "\u2212"]))


_SPELLINGS: tuple[Spelling, ...] = (*[_as_it_is] * 6, _full_width, _unbreakable, _with_unseen, _other_dash)


def _in_url(kind: str, value: str) -> str:
    """As a link has it."""
    return value if kind == "IPV6" else quote(value, safe="")


_URLS = (
    "https://shop.example.org/pay?ref={}&lang=en",
    "https://example.com/u/{}",
    "GET /v1/items?q={}&page=2 HTTP/1.1",
    "https://example.com/a#{}",
)

_SURROUNDINGS = (
    "{}",
    "Please use {} for it.",
    "Is it {}?",
    "It was {}, I think; or so he said.",
    "Here ({}) it is",
    "\u201c{}\u201d, she wrote",
    "\u201e{}\u201c",
    "'{}'",
    "`{}`",
    "**{}**",
    "_{}_",
    '{"id": 17, "value": "{}", "ok": true}',
    '{\\"note\\": \\"{}\\"}',
    '["{}", null, 3]',
    "name,value,count\nx,{},3",
    '1;"{}";2026-11-22',
    "17,{},2026-01-02",
    "a\t{}\tb\t9",
    "| row 1 | {} | 42 |\n|---|---|---|",
    "<td data-value='{}'>x</td>",
    '<a href="#" title="{}">',
    "<value>{}</value>",
    'const value = "{}"; // 3 of 4',
    "x = '{}'  # TODO",
    'f("{}", 12)',
    "value: {}\nother: 5",
    "VALUE={}\nOTHER=5",
    "export VALUE={}",
    "2026-11-22T10:15:00.123Z INFO [worker-3] seen={} status=200 12ms",
    "Nov 22 10:15:00 host app[1234]: got {}",
    "10:15 {} 3 items",
    "line ends with {}",
    "{}\n",
    "> {}\r\n> quoted",
    "- {}\n- b",
    "1. {}",
    "\u5361\u53f7{}\u3002",
    "\uff1a{}\uff0c",
    "value\u2192{}",
    "{}/7 days",
    "No:{}",
    "#{}",
    "({})",
    "[{}]",
    "\u20ac5 to {}!",
    "to={}&amount=10",
    "{}...",
    "{}\u2026",
    "Is {}'s owner here",
    "{}:",
    "\ufeff{}",
)
