"""VAT numbers with their country's letters in front: the European Union's, Great Britain's, Norway's, Switzerland's.

The checks are those of the European Commission's VIES documentation, country by country.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from edge_agent.privacy.finders.checksums import digit_sums, luhn, mod_11_10, weighted
from edge_agent.privacy.finders.hits import Hit, announced
from edge_agent.privacy.finders.identifiers.east import bg_egn, cz_birth_number, si_tax_id
from edge_agent.privacy.finders.identifiers.identifier import by_weights, to_zero
from edge_agent.privacy.finders.identifiers.south import cy_tax_id, es_nie, es_nif, gr_tax_id, pt_tax_id
from edge_agent.privacy.finders.identifiers.west import ie_pps


def vat_number(text: str) -> Iterator[Hit]:
    """VAT numbers whose check holds; short ones only where they are announced."""
    for match in _VAT.finditer(text):
        end = match.end()
        while end - match.end("country") >= 2:  # another number or a word may follow it
            number = _SEPARATORS.sub("", text[match.end("country") : end])
            if _valid(match["country"], number):
                said = announced(text, match.start(), end, _WORDS)
                yield match.start(), end, 1.0 if said else 0.96 if len(number) >= 8 else 0.3
                break
            end = max(text.rfind(mark, match.end("country"), end) for mark in " .-")


_WORDS = (
    "vat",
    "vat no",
    "vat number",
    "ust-idnr",
    "ust-id",
    "ustid",
    "umsatzsteuer",
    "tva",
    "iva",
    "btw",
    "moms",
    "alv",
)
_SEPARATORS = re.compile(r"[ .\-]")


def _valid(country: str, number: str) -> bool:
    pattern, check = _NUMBERS[country]
    return pattern.fullmatch(number) is not None and check(number)


def _at(number: str) -> bool:
    return -(digit_sums(number, (1, 2, 1, 2, 1, 2, 1)) + 4) % 10 == int(number[7])


def _be(number: str) -> bool:
    return (int(number[:-2]) + int(number[-2:])) % 97 == 0


def _bg(number: str) -> bool:
    if len(number) == 10:
        person = bg_egn(number) or by_weights((21, 19, 17, 13, 11, 9, 7, 3, 1), 10)(number)
        return person or -weighted(number, (4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11 == int(number[9])
    rest = weighted(number, range(1, 9)) % 11
    if rest == 10:
        rest = weighted(number, range(3, 11)) % 11 % 10
    return rest == int(number[8])


def _cz(number: str) -> bool:
    if len(number) == 8:
        rest = (11 - weighted(number, range(8, 1, -1)) % 11) % 11
        return (rest or 1) % 10 == int(number[7]) or (rest == 10 and number[7] == "0")
    return len(number) == 9 or cz_birth_number(number)


def _es(number: str) -> bool:
    if number[0].isdigit():
        return es_nif(number)
    if number[0] in "XYZ":
        return es_nie(number)
    if number[0] in "KLM":
        return es_nif(number[1:])
    check = (10 - digit_sums(number[1:8], (2, 1, 2, 1, 2, 1, 2)) % 10) % 10
    return number[8] in {str(check), "JABCDEFGHI"[check]}


def _fr(number: str) -> bool:
    if not number.isdigit():
        return luhn(number[2:])
    return int(number[2:] + "12") % 97 == int(number[:2])


def _gb(number: str) -> bool:
    total = weighted(number, range(8, 1, -1)) + int(number[7:9])
    return total % 97 in {0, 42, 55}


def _lt(number: str) -> bool:
    count = len(number) - 1
    check = weighted(number, [1 + place % 9 for place in range(count)]) % 11
    if check == 10:
        check = weighted(number, [1 + (place + 2) % 9 for place in range(count)]) % 11 % 10
    return check == int(number[-1])


def _lv(number: str) -> bool:
    if number[0] > "3":
        return weighted(number, (9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1)) % 11 == 3
    return True  # a person's


def _mt(number: str) -> bool:
    return weighted(number, (3, 4, 6, 7, 8, 9, 10, 1)) % 37 == 0


def _nl(number: str) -> bool:
    """Either the old kind, a BSN's sum, or since 2020 a mod 97 over the whole, letters counted from A = 10."""
    if weighted(number, range(9, 1, -1)) % 11 % 10 == int(number[8]):
        return True
    return int("".join(str(int(character, 36)) for character in "NL" + number)) % 97 == 1


def _ro(number: str) -> bool:
    padded = number.zfill(10)
    return weighted(padded, (7, 5, 3, 2, 1, 7, 5, 3, 2)) * 10 % 11 % 10 == int(padded[9])


def _se(number: str) -> bool:
    return luhn(number[:10])


def _ch(number: str) -> bool:
    return -weighted(number, (5, 4, 3, 2, 7, 6, 5, 4)) % 11 == int(number[8])


def _no(number: str) -> bool:
    return -weighted(number, (3, 2, 7, 6, 5, 4, 3, 2)) % 11 == int(number[8])


def _ee(number: str) -> bool:
    return to_zero((3, 7, 1, 3, 7, 1, 3, 7, 1), 10)(number)


def _lu(number: str) -> bool:
    return int(number[:6]) % 89 == int(number[6:])


Check = Callable[[str], bool]
_DEFINITIONS: Mapping[str, tuple[str, Check]] = {
    "ATU": (r"\d{8}", _at),
    "BE": (r"[01]?\d{9}", _be),
    "BG": (r"\d{9,10}", _bg),
    "CHE": (r"\d{9}(?:MWST|TVA|IVA)?", _ch),
    "CY": (r"\d{8}[A-Z]", cy_tax_id),
    "CZ": (r"\d{8,10}", _cz),
    "DE": (r"[1-9]\d{8}", mod_11_10),
    "DK": (r"[1-9]\d{7}", to_zero((2, 7, 6, 5, 4, 3, 2, 1))),
    "EE": (r"\d{9}", _ee),
    "EL": (r"\d{9}", gr_tax_id),
    "ES": (r"[A-Z0-9]\d{7}[A-Z0-9]", _es),
    "FI": (r"\d{8}", to_zero((7, 9, 10, 5, 8, 4, 2, 1))),
    "FR": (r"[0-9A-HJ-NP-Z]{2}\d{9}", _fr),
    "GB": (r"\d{9}(?:\d{3})?", _gb),
    "HR": (r"\d{11}", mod_11_10),
    "HU": (r"\d{8}", to_zero((9, 7, 3, 1, 9, 7, 3, 1), 10)),
    "IE": (r"\d{7}[A-W][A-ITWX]?", ie_pps),
    "IT": (r"\d{11}", luhn),
    "LT": (r"\d{9}|\d{12}", _lt),
    "LU": (r"\d{8}", _lu),
    "LV": (r"\d{11}", _lv),
    "MT": (r"[1-9]\d{7}", _mt),
    "NL": (r"\d{9}B\d\d", _nl),
    "NO": (r"\d{9}(?:MVA)?", _no),
    "PL": (r"\d{10}", by_weights((6, 5, 7, 2, 3, 4, 5, 6, 7))),
    "PT": (r"[1-9]\d{8}", pt_tax_id),
    "RO": (r"[1-9]\d{3,9}", _ro),
    "SE": (r"\d{10}01", _se),
    "SI": (r"[1-9]\d{7}", si_tax_id),
    "SK": (r"\d{10}", lambda number: int(number) % 11 == 0),
    "XI": (r"\d{9}(?:\d{3})?", _gb),
}
_NUMBERS = {country: (re.compile(pattern, re.ASCII), check) for country, (pattern, check) in _DEFINITIONS.items()}

_VAT = re.compile(
    r"(?<![A-Za-z0-9])(?P<country>" + "|".join(sorted(_DEFINITIONS, key=len, reverse=True)) + r")"
    r"[ .\-]?(?:[0-9A-Z]{1,2}[ .\-]?)?\d(?:[ .\-]?[0-9A-Z]){3,14}(?![A-Za-z0-9])"
)
