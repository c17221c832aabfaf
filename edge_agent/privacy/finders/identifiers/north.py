"""Denmark, Estonia, Finland, Latvia, Lithuania, Norway, Sweden."""

from __future__ import annotations

from edge_agent.privacy.finders.checksums import luhn, weighted
from edge_agent.privacy.finders.identifiers.identifier import Identifier, digits, is_date, shape, to_zero


def dk_cpr(number: str) -> bool:
    """CPR number: begins with a day of birth. Since 2007 its old sum no longer holds for all."""
    return is_date(number[:2], number[2:4])


def baltic_personal_code(number: str) -> bool:
    """Isikukood and asmens kodas: century and sex, day of birth, serial, a check with two rounds of weights."""
    check = weighted(number, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = weighted(number, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return check == int(number[10]) and is_date(number[5:7], number[3:5])


def fi_personal_identity_code(number: str) -> bool:
    """Henkilötunnus; its separator, a letter or a sign, says the century."""
    rest = int(number[:6] + number[-4:-1]) % 31
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[rest] == number[-1] and is_date(number[:2], number[2:4])


def lv_personal_code(number: str) -> bool:
    """Personas kods of the old kind: day of birth, century, serial, check."""
    right = (1 + weighted(number, (10, 5, 8, 4, 2, 1, 6, 3, 7, 9))) % 11 % 10 == int(number[10])
    return right and is_date(number[:2], number[2:4])


def no_identity_number(number: str) -> bool:
    """Fødselsnummer, and D-numbers, whose day has 40 added: two check digits."""
    first = to_zero((3, 7, 6, 1, 8, 9, 4, 5, 2, 1))(number[:10])
    return (
        first
        and to_zero((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))(number)
        and is_date(str(int(number[:2]) % 40 or 40), number[2:4])
    )


def se_personal_number(number: str) -> bool:
    """Personnummer, and coordination numbers, whose day has 60 added."""
    short = number[-10:]
    return luhn(short) and is_date(str(int(short[4:6]) % 60 or 60), short[2:4])


NORTH = (
    Identifier(
        "DK_CPR", "10 6-4", digits(10), dk_cpr, ("cpr", "cpr-nummer", "cpr-nr", "cpr number", "personnummer"),
        alone=0.1,
    ),
    Identifier(
        "EE_LT_PERSONAL_CODE", "11", shape(r"[1-6]\d{10}"), baltic_personal_code,
        ("isikukood", "asmens kodas", "personal code", "personal identification code", "a.k"), alone=0.3,
    ),
    Identifier(
        "FI_PERSONAL_IDENTITY_CODE", "11 6-4", shape(r"\d{6}[A-FU-Y]?\d{3}[0-9A-Y]"), fi_personal_identity_code,
        ("hetu", "henkilötunnus", "personbeteckningen", "personal identity code"), alone=0.9, spelled=0.9,
    ),
    Identifier(
        "LV_PERSONAL_CODE", "11 6-5", shape(r"\d{6}[0-2]\d{4}"), lv_personal_code,
        ("personas kods", "personal code"), spelled=0.8,
    ),
    Identifier(
        "NO_IDENTITY_NUMBER", "11 6-5", digits(11), no_identity_number,
        ("fødselsnummer", "fodselsnummer", "fnr", "personnummer", "d-nummer", "identity number"),
        alone=0.8, spelled=0.9,
    ),
    Identifier(
        "SE_PERSONAL_NUMBER", "10 6-4 12 8-4", shape(r"(?:19|20)?\d{10}"), se_personal_number,
        ("personnummer", "personal number", "samordningsnummer", "personnr"), spelled=0.8,
    ),
)  # fmt: skip
