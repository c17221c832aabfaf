"""Cyprus, Greece, Italy, Malta, Portugal, Spain."""

from __future__ import annotations

from edge_agent.privacy.finders.checksums import luhn, luhn_base_36, weighted
from edge_agent.privacy.finders.identifiers.identifier import Identifier, digits, is_date, shape

_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def cy_tax_id(number: str) -> bool:
    """Tax identification code: eight digits and a letter that checks them."""
    odd = sum(_ODD[int(digit)] for digit in number[0:8:2])
    return chr((odd + sum(map(int, number[1:8:2]))) % 26 + 65) == number[8]


def gr_amka(number: str) -> bool:
    """Social security number: day of birth, serial, Luhn."""
    return luhn(number) and is_date(number[:2], number[2:4])


def gr_tax_id(number: str) -> bool:
    """AFM."""
    return weighted(number, (256, 128, 64, 32, 16, 8, 4, 2)) % 11 % 10 == int(number[8])


def it_fiscal_code(number: str) -> bool:
    """Codice fiscale: characters at odd places count by a table of their own."""
    odd = sum(_ODD[int(character) if character.isdigit() else ord(character) - 65] for character in number[0:15:2])
    even = sum(int(character) if character.isdigit() else ord(character) - 65 for character in number[1:15:2])
    return chr((odd + even) % 26 + 65) == number[15]


def pt_tax_id(number: str) -> bool:
    """NIF."""
    rest = -weighted(number, range(9, 1, -1)) % 11
    return rest % 10 == int(number[8])


def es_nif(number: str) -> bool:
    """DNI and NIF of a person."""
    return _LETTERS[int(number[:-1]) % 23] == number[-1]


def es_nie(number: str) -> bool:
    """NIE of a foreigner: its first letter counts as a digit."""
    return es_nif(str("XYZ".index(number[0])) + number[1:])


def es_social_security(number: str) -> bool:
    """Número de la Seguridad Social: province, serial, the rest modulo 97."""
    province, serial = int(number[:2]), int(number[2:10])
    whole = province * 10_000_000 + serial if serial < 10_000_000 else int(number[:10])
    return whole % 97 == int(number[10:]) and 1 <= province <= 66


_FISCAL_MONTHS = "[ABCDEHLMPRST]"
_OMOCODE = "[0-9LMNPQRSTUV]"
_FISCAL = rf"[A-Z]{{6}}{_OMOCODE}{{2}}{_FISCAL_MONTHS}{_OMOCODE}{{2}}[A-Z]{_OMOCODE}{{3}}[A-Z]"

SOUTH = (
    Identifier(
        "CY_TAX_ID", "9 8-1", shape(r"\d{8}[A-Z]"), cy_tax_id, ("tic", "tin", "tax", "αφτ"), alone=0.3,
    ),
    Identifier(
        "GR_AMKA", "11 6-5", digits(11), gr_amka, ("amka", "αμκα", "a.m.k.a", "social security"), alone=0.3,
    ),
    Identifier(
        "GR_TAX_ID", "9 3-3-3", digits(9), gr_tax_id, ("afm", "αφμ", "tax"), alone=0.1, spelled=0.1,
    ),
    Identifier(
        "IT_FISCAL_CODE", "16 3-3-5-5", shape(_FISCAL), it_fiscal_code,
        ("codice fiscale", "cf", "fiscal code", "tax code"), alone=1.0, spelled=1.0,
    ),
    Identifier(
        "MT_IDENTITY_CARD", "5 6 7 8 7-1", shape(r"\d{4,7}[ABGHLMPZ]"), lambda _: True,
        ("karta tal-identita", "id card", "identity card", "maltese"), alone=0.1, spelled=0.1, checked=False,
    ),
    Identifier(
        "PT_TAX_ID", "9 3-3-3", shape(r"[1-9]\d{8}"), pt_tax_id,
        ("nif", "contribuinte", "número de contribuinte", "número fiscal", "tax"), alone=0.1, spelled=0.1,
    ),
    Identifier(
        "PT_CITIZEN_CARD", "12 8-1-3 8-4 9-3", shape(r"\d{9}[A-Z0-9]{2}\d"), luhn_base_36,
        ("cartão de cidadão", "cartao de cidadao", "cc", "documento", "citizen card"), alone=0.1,
    ),
    Identifier(
        "ES_NIF", "8 9 8-1 7-1 2-3-3-1", shape(r"\d{7,8}[A-Z]"), es_nif,
        ("documento nacional de identidad", "dni", "nif", "identificación"), alone=0.6, spelled=0.7,
    ),
    Identifier(
        "ES_NIE", "9 1-7-1 8-1 1-8", shape(r"[XYZ]\d{7}[A-Z]"), es_nie,
        ("número de identificación de extranjero", "nie"), alone=0.96, spelled=0.96,
    ),
    Identifier(
        "ES_SOCIAL_SECURITY", "12 2-8-2 2-10", digits(12), es_social_security,
        ("seguridad social", "nss", "naf", "número de afiliación", "social security"), alone=0.3, spelled=0.8,
    ),
)  # fmt: skip
