"""Stand-ins for numbers: of the right form, from the ranges that are kept free for examples, tests and fiction.

Each takes the value and a `Draw`, and gives None where it has nothing that would read like the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from edge_agent.privacy.surrogates.draws import Draw

Maker = Callable[[str, Draw], str | None]


def phone(value: str, draw: Draw) -> str | None:
    """A number that its country keeps for fiction: NANP 555-01xx, Ofcom, ARCEP, Bundesnetzagentur, ACMA."""
    digits = _digits(value)
    lead = "+" if value.lstrip("(").startswith("+") else "00" if digits.startswith("00") else ""
    digits = digits.removeprefix("00")
    if lead:
        code = next((code for code in ("1", "44", "33", "49", "61") if digits.startswith(code)), "44")
        made = f"{lead}{code} {_NATIONAL[code](draw).removeprefix('0')}"
    else:
        made = _NATIONAL["44" if digits.startswith("0") else "1"](draw)
    return made if re.search(r"[^\d+]", value) else re.sub(r"[^\d+]", "", made)


def _nanp(draw: Draw) -> str:
    return f"{draw.among(_AREAS)}-555-01{draw.digits(2)}"


_AREAS = (
    *("201", "202", "206", "212", "213", "214", "215", "303", "305", "312", "313", "314", "404", "415", "503"),
    *("512", "602", "612", "617", "702", "713", "718", "801", "808"),
)
_NATIONAL: dict[str, Callable[[Draw], str]] = {
    "1": _nanp,
    "44": lambda draw: f"07700 900{draw.digits(3)}",
    "33": lambda draw: f"06 39 98 {draw.digits(2)} {draw.digits(2)}",
    "49": lambda draw: f"030 23125{draw.digits(3)}",
    "61": lambda draw: f"0491 57{draw.digits(1)} {draw.digits(3)}",
}


def card(value: str, draw: Draw) -> str | None:
    """A card number as the networks' test cards are, with a right Luhn digit, of the same length and grouping."""
    digits = _digits(value)
    if not 13 <= len(digits) <= 19:
        return None
    prefix = "378282" if len(digits) == 15 else "555555" if digits[0] in "25" else "424242"
    body = prefix + draw.digits(len(digits) - len(prefix) - 1)
    doubled = (int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(body)))
    total = sum(each - 9 if each > 9 else each for each in doubled)
    return _shaped(value, body + str(-total % 10))


def iban(value: str, draw: Draw) -> str | None:
    """An IBAN of the same country and length, with a right check number, of a bank that is none (TEST, 0000)."""
    compact = "".join(character for character in value if character.isalnum())
    if not re.fullmatch(r"[A-Za-z]{2}\d{2}[A-Za-z0-9]{11,30}", compact):
        return None
    country, account = compact[:2].upper(), ""
    for place, character in enumerate(compact[4:]):
        if place < 4:
            account += "TEST"[place] if character.isalpha() else "0"
        else:
            account += chr(65 + draw.below(26)) if character.isalpha() else draw.digits(1)
    rest = int("".join(str(int(character, 36)) for character in account + country + "00")) % 97
    made = f"{country}{98 - rest:02}{account}"
    return _shaped(value, made.lower() if compact.islower() else made)


def ip_address(value: str, draw: Draw) -> str | None:
    """An address that RFC 5737, RFC 2544 (IPv4) or RFC 3849 (IPv6) sets aside for documentation and tests."""
    if ":" in value:
        return f"2001:db8:{draw.between(1, 0xFFFF):x}:{draw.between(1, 0xFFFF):x}::{draw.between(1, 0xFFFF):x}"
    if not re.fullmatch(r"\d+(?:\.\d+){3}", value):
        return None
    nets = ("192.0.2", "198.51.100", "203.0.113", f"198.18.{draw.below(256)}", f"198.19.{draw.below(256)}")
    return f"{draw.among(nets)}.{draw.between(1, 254)}"


def mac_address(value: str, draw: Draw) -> str | None:
    """An address of the range for documentation (RFC 9542: 00-00-5E-00-53-xx), written as `value` is."""
    made = f"00005e0053{draw.below(256):02x}"
    return _shaped(value, made.upper() if value.isupper() else made)


def date(value: str, draw: Draw) -> str | None:
    """Another day, month and near year, in the same spelling: an age computed from it is off by up to four years."""
    numeric = re.fullmatch(r"(\d{1,4})([./\-])(\d{1,2})\2(\d{1,4})", value)
    if numeric is not None:
        parts = numeric.group(1, 3, 4)
        if sum(len(part) == 4 for part in parts) > 1:
            return None
        return numeric[2].join(_near(part, draw) for part in parts)
    month = _MONTH.search(value)
    if month is None or re.search(r"\d{4}", value) is None:
        return None  # "March 5": a model may name such a day by itself
    made = _named_month(month.group(), draw)
    before, after = (_NUMBER.sub(lambda found: _numbered(found, draw), half) for half in _split(value, month))
    return f"{before}{made}{after}"


_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_MONTH = re.compile(rf"\b(?:{'|'.join(f'{name[:3]}(?:{name[3:]})?' for name in _MONTHS)}|Sept)\b", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,4})(st|nd|rd|th)?")


def _split(value: str, month: re.Match[str]) -> tuple[str, str]:
    return value[: month.start()], value[month.end() :]


def _named_month(written: str, draw: Draw) -> str:
    made = draw.among([month for month in _MONTHS if month[:3].lower() != written[:3].lower()])
    made = made[:3] if len(written) <= 4 and written.lower() not in {"june", "july"} else made
    return made.upper() if written.isupper() else made.lower() if written.islower() else made


def _numbered(found: re.Match[str], draw: Draw) -> str:
    return f"{draw.between(4, 12)}th" if found[2] else _near(found[1], draw)


def _near(part: str, draw: Draw) -> str:
    """A year near the one in `part`, or a number that is a day and a month, as wide as `part` if that can be."""
    if len(part) == 4:
        return f"{int(part) + draw.between(1, 4) * (-1) ** draw.below(2):04}"
    return f"{draw.between(1, 9) if len(part) == 1 else draw.between(1, 12):0{len(part)}}"


def _shaped(value: str, made: str) -> str | None:
    """`made`, letter by letter, with what stands between the letters and digits of `value`."""
    if sum(character.isalnum() for character in value) != len(made):
        return None
    letters = iter(made)
    return "".join(next(letters) if character.isalnum() else character for character in value)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdecimal() and character.isascii())


MAKERS: dict[str, Maker] = {
    "CREDIT_CARD": card,
    "DATE_OF_BIRTH": date,
    "DATE_TIME": date,
    "IBAN_CODE": iban,
    "IP_ADDRESS": ip_address,
    "MAC_ADDRESS": mac_address,
    "PHONE_NUMBER": phone,
}
"""Which kinds of number have a stand-in."""
