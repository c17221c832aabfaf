"""A finder of number plates."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit, announced, holds_any

_WORDS = (
    "plate", "plates", "number plate", "licence plate", "license plate", "registration", "registration number", "vrn",
    "reg", "kennzeichen", "kfz-kennzeichen", "immatriculation", "matrícula", "matricula", "targa", "kenteken",
    "rejestracyjny", "registered", "car", "vehicle", "tag number",
)  # fmt: skip
_PARTS = ("plate", "regist", "vrn", "reg", "kennzeichen", "immatriculation", "matr", "targa", "kenteken", "rejestr",
          "car", "vehicle", "tag number")  # fmt: skip


def licence_plate(text: str) -> Iterator[Hit]:
    """Plates as the United Kingdom, the European Union's larger countries and the United States write them, where
    a word announces one: by themselves they look like any code.
    """
    if not holds_any(text.lower(), _PARTS):
        return
    for match in _PLATE.finditer(text):
        found = match.group()
        if any(map(str.isdigit, found)) and any(map(str.isupper, found)) and announced(text, *match.span(), _WORDS):
            yield match.start(), match.end(), 0.8


_PLATE = re.compile(
    r"(?<![\w\-/.])(?:"
    r"[A-Z]{2}\d{2} ?[A-Z]{3}"  # United Kingdom
    r"|[A-Z]\d{1,3} ?[A-Z]{3}|[A-Z]{3} ?\d{1,3}[A-Z]"
    r"|[A-ZÄÖÜ]{1,3}[ \-:][A-Z]{1,2}[ \-]?\d{1,4}[EH]?"  # Germany
    r"|[A-Z]{2}[ \-]?\d{3}[ \-]?[A-Z]{2}"  # France, Italy
    r"|\d{4}[ \-]?[B-DF-HJ-NP-TV-Z]{3}"  # Spain
    r"|(?:[A-Z]{1,3}|\d{1,3})-(?:[A-Z]{2,3}|\d{2,3})-(?:[A-Z]{1,2}|\d{1,2})"  # the Netherlands, Portugal
    r"|[A-Z]{2,3}[ \-]?\d{3,5}[A-Z]{0,2}"  # Poland, Sweden, Denmark, many of the United States
    r"|[1-9][A-Z]{3}[ \-]?\d{3}|\d{3}[ \-][A-Z]{3}|\d-[A-Z]{3}-\d{3}"  # California, others, Belgium
    r"|\d{2,3}-[A-Z]{1,2}-\d{1,6}"  # Ireland
    r")(?![\w\-/]|\.\d)"
)
