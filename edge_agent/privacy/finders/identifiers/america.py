"""The United States, and Canada's social insurance number."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.checksums import luhn
from edge_agent.privacy.finders.hits import Hit
from edge_agent.privacy.finders.identifiers.identifier import Identifier, shape, to_zero

_MBI = r"[1-9](?P<l>[AC-HJKMNP-RT-Y])[0-9AC-HJKMNP-RT-Y]\d[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d[AC-HJKMNP-RT-Y]{2}\d\d"
_LICENCE = r"(?=.*\d)[A-Z]{0,2}\d[A-Z0-9]{3,16}"


def _any(_: str) -> bool:
    return True


AMERICA = (
    Identifier(
        "US_ITIN", "9 3-2-4", shape(r"9\d\d(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])\d{4}"), _any,
        ("individual taxpayer", "itin", "tax id", "taxpayer", "taxid", "tax"), alone=0.1, spelled=0.5,
    ),
    Identifier(
        "US_PASSPORT", "9", shape(r"[A-Z]\d{8}|\d{9}"), _any,
        ("passport", "travel document", "passport number"), alone=0.1, checked=False,
    ),
    Identifier(
        "US_BANK_NUMBER", "8 9 10 11 12 13 14 15 16 17", shape(r"\d{8,17}"), _any,
        ("bank account", "account number", "account no", "account #", "savings account", "checking account", "acct"),
        alone=0.05, checked=False,
    ),
    Identifier(
        "US_DRIVER_LICENSE", "5 6 7 8 9 10 11 12 13 14 1-3-3-3-3 4-4-4 3-3-3", shape(_LICENCE), _any,
        ("driver license", "driver's license", "drivers license", "driving licence", "driver licence", "dl number",
         "dl#", "driver permit", "permis de conduire", "führerschein"),
        alone=0.05, spelled=0.05, checked=False,
    ),
    Identifier(
        "ROUTING_NUMBER", "9", shape(r"(?:0\d|1[0-2]|2[1-9]|3[0-2]|6[1-9]|7[0-2]|80)\d{7}"),
        to_zero((3, 7, 1, 3, 7, 1, 3, 7, 1), 10), ("routing", "aba", "routing number", "rtn", "bank transit"),
        alone=0.1,
    ),
    Identifier(
        "US_MEDICARE", "11 4-3-4", shape(_MBI), _any, ("medicare", "mbi", "beneficiary"), alone=0.6, spelled=0.8,
    ),
    Identifier(
        "CA_SOCIAL_INSURANCE", "9 3-3-3", shape(r"[0-79]\d{8}"), luhn,
        ("social insurance", "sin", "numéro d'assurance sociale", "nas"), alone=0.1,
    ),
)  # fmt: skip


def us_ssn(text: str) -> Iterator[Hit]:
    """US social security numbers, grouped 3-2-4. Sample numbers count: a policy must see them, too."""
    for match in _SSN.finditer(text):
        area, group, serial = match["area"], match["group"], match["serial"]
        if area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000":
            yield match.start(), match.end(), 0.96 if match["mark"] else 0.3


_SSN = re.compile(
    r"(?<![A-Za-z0-9\-])(?P<area>\d{3})(?P<mark>[ \-.]?)(?P<group>\d\d)(?P=mark)(?P<serial>\d{4})(?![A-Za-z0-9\-])"
)
