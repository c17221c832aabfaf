"""Bulgaria, Croatia, Czechia, Hungary, Poland, Romania, Slovakia, Slovenia."""

from __future__ import annotations

from edge_agent.privacy.finders.checksums import mod_11_10, weighted
from edge_agent.privacy.finders.identifiers.identifier import Identifier, by_weights, digits, is_date, shape


def bg_egn(number: str) -> bool:
    """EGN: day of birth with the century in the month."""
    month = int(number[2:4]) % 20
    return weighted(number, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == int(number[9]) and is_date(
        number[4:6], str(month)
    )


def cz_birth_number(number: str) -> bool:
    """Rodné číslo, Czech and Slovak: women's months have 50 added, overflowing ones 20 or 70."""
    right = int(number) % 11 == 0 or (int(number[:9]) % 11 == 10 and number[9] == "0")
    return right and is_date(number[4:6], str(int(number[2:4]) % 50 % 20))


def hu_tax_id(number: str) -> bool:
    """Adóazonosító jel."""
    return weighted(number, range(1, 10)) % 11 == int(number[9])


def pl_pesel(number: str) -> bool:
    """PESEL: day of birth with the century in the month."""
    right = -weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10 == int(number[10])
    return right and is_date(number[4:6], str(int(number[2:4]) % 20))


def pl_identity_card(number: str) -> bool:
    """Dowód osobisty: three letters, the check digit, five digits."""
    values = (int(character, 36) for character in number)
    return sum(value * weight for value, weight in zip(values, (7, 3, 1, 9, 7, 3, 1, 7, 3), strict=True)) % 10 == 0


def ro_cnp(number: str) -> bool:
    """CNP: sex and century, day of birth, county, serial."""
    rest = weighted(number, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (1 if rest == 10 else rest) == int(number[12]) and is_date(number[5:7], number[3:5])


def emso(number: str) -> bool:
    """EMŠO, JMBG: the personal number of former Yugoslavia."""
    right = -weighted(number, (7, 6, 5, 4, 3, 2) * 2) % 11 % 10 == int(number[12])
    return right and is_date(number[:2], number[2:4])


def si_tax_id(number: str) -> bool:
    """Davčna številka."""
    rest = 11 - weighted(number, range(8, 1, -1)) % 11
    return rest != 11 and rest % 10 == int(number[7])


_PESEL_WORDS = ("pesel", "numer pesel", "nr pesel")

EAST = (
    Identifier("BG_EGN", "10", digits(10), bg_egn, ("egn", "егн", "единен граждански номер"), alone=0.3),
    Identifier("HR_OIB", "11", digits(11), mod_11_10, ("oib", "osobni identifikacijski broj"), alone=0.2),
    Identifier(
        "CZ_BIRTH_NUMBER", "10 6-4", digits(10), cz_birth_number,
        ("rodné číslo", "rodne cislo", "rč", "r.č", "birth number"), alone=0.3, spelled=0.8,
    ),
    Identifier(
        "HU_TAX_ID", "10", shape(r"8\d{9}"), hu_tax_id, ("adóazonosító", "adoazonosito", "adóazonosító jel", "tax"),
    ),
    Identifier(
        "HU_SOCIAL_SECURITY", "9 3-3-3", digits(9), by_weights((3, 7) * 4, 10),
        ("taj", "taj szám", "taj-szám", "tajszám"), alone=0.1, spelled=0.1,
    ),
    Identifier("PL_PESEL", "11", digits(11), pl_pesel, _PESEL_WORDS, alone=0.3),
    Identifier(
        "PL_TAX_ID", "10 3-3-2-2 3-2-2-3", digits(10), by_weights((6, 5, 7, 2, 3, 4, 5, 6, 7)),
        ("nip", "numer nip", "numer identyfikacji podatkowej"), spelled=0.5,
    ),
    Identifier(
        "PL_IDENTITY_CARD", "9 3-6", shape(r"[A-Z]{3}\d{6}"), pl_identity_card,
        ("dowód", "dowod", "dowód osobisty", "dowodu osobistego", "identity card"),
    ),
    Identifier(
        "RO_CNP", "13", shape(r"[1-9]\d{12}"), ro_cnp, ("cnp", "cod numeric personal", "personal numeric code"),
        alone=0.6,
    ),
    Identifier(
        "SI_EMSO", "13", digits(13), emso, ("emšo", "emso", "jmbg", "matična številka", "matični broj"), alone=0.6,
    ),
    Identifier(
        "SI_TAX_ID", "8", shape(r"[1-9]\d{7}"), si_tax_id, ("davčna številka", "davcna stevilka", "davčna"), alone=0.1,
    ),
)  # fmt: skip
