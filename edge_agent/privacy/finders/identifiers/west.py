"""Austria, Belgium, France, Germany, Ireland, Luxembourg, the Netherlands, Switzerland, the United Kingdom."""

from __future__ import annotations

from collections import Counter

from edge_agent.privacy.finders.checksums import digit_sums, ean, luhn, mod_11_10, verhoeff, weighted
from edge_agent.privacy.finders.identifiers.identifier import Identifier, digits, is_date, shape, to_zero


def at_social_security(number: str) -> bool:
    """Sozialversicherungsnummer: the fourth digit checks the other nine, six of which are a day of birth."""
    return weighted(number, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == int(number[3]) and int(number[6:8]) <= 15


def be_national_number(number: str) -> bool:
    """Rijksregisternummer: 97 less the rest of the first nine digits, with a 2 before them from the year 2000."""
    return 97 - int(number[9:]) in {int(number[:9]) % 97, int("2" + number[:9]) % 97}


def fr_social_security(number: str) -> bool:
    """Numéro de sécurité sociale (NIR): Corsican departments count as numbers."""
    return 97 - int(number[:13].replace("2A", "19").replace("2B", "18")) % 97 == int(number[13:])


def fr_tax_id(number: str) -> bool:
    """Numéro fiscal de référence (SPI)."""
    return int(number[:10]) % 511 == int(number[10:])


def de_tax_id(number: str) -> bool:
    """Steuerliche Identifikationsnummer: of the first ten digits exactly one comes two or three times."""
    often = sorted(count for count in Counter(number[:10]).values() if count > 1)
    return often in ([2], [3]) and mod_11_10(number)


def de_social_security(number: str) -> bool:
    """Rentenversicherungsnummer: area, day of birth, initial, serial, check."""
    spelled = number[:8] + f"{ord(number[8]) - 64:02}" + number[9:11]
    right = digit_sums(spelled, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)) % 10 == int(number[11])
    return right and is_date(str(int(number[2:4]) % 50 or 31), number[4:6])


def de_health_insurance(number: str) -> bool:
    """Krankenversichertennummer: a letter and nine digits."""
    spelled = f"{ord(number[0]) - 64:02}" + number[1:9]
    return digit_sums(spelled, (1, 2) * 5) % 10 == int(number[9])


def de_identity_card(number: str) -> bool:
    """Personalausweis and passport: nine characters, weights 7, 3, 1, and the check digit."""
    values = (int(character, 36) for character in number[:9])
    return sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10 == int(number[9])


def ie_pps(number: str) -> bool:
    """Personal Public Service number: the eighth character checks the rest."""
    extra = 0 if len(number) == 8 or number[8] in "TWX" else 9 * (ord(number[8]) - 64)
    return "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(number[:7], range(8, 1, -1)) + extra) % 23] == number[7]


def lu_national_id(number: str) -> bool:
    """Matricule: day of birth, serial, Luhn's and Verhoeff's check digits."""
    return luhn(number[:12]) and verhoeff(number[:11] + number[12]) and is_date(number[6:8], number[4:6])


def uk_nhs(number: str) -> bool:
    """NHS number."""
    return -weighted(number, range(10, 1, -1)) % 11 == int(number[9])


def uk_tax_reference(number: str) -> bool:
    """Unique Taxpayer Reference: the first digit checks the other nine."""
    return "21987654321"[weighted(number[1:], (6, 7, 8, 9, 10, 5, 4, 3, 2)) % 11] == number[0]


def ch_social_security(number: str) -> bool:
    """AHV number: an EAN-13 of the country 756."""
    return ean(number)


_NINO = r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]"
_NHS_WORDS = ("national health service", "nhs", "nhs number", "health services authority", "health authority")
_TAX = ("tax", "tax id", "tin", "steuer")

WEST = (
    Identifier(
        "AT_SOCIAL_SECURITY", "10 4-6", digits(10), at_social_security,
        ("svnr", "sv-nummer", "sozialversicherungsnummer", "versicherungsnummer", "social security", "e-card"),
    ),
    Identifier(
        "BE_NATIONAL_NUMBER", "11 2-2-2-3-2 6-3-2 6-5", digits(11), be_national_number,
        ("rijksregisternummer", "rijksregister", "insz", "niss", "national number", "numéro national",
         "registre national", "numéro de registre national", "nationalregisternummer"),
        alone=0.3, spelled=0.9,
    ),
    Identifier(
        "FR_SOCIAL_SECURITY", "15 13-2 1-2-2-2-3-3-2", shape(r"[1-478]\d{4}(?:\d{2}|2[AB])\d{8}"), fr_social_security,
        ("sécurité sociale", "securite sociale", "nir", "insee", "numéro de sécu", "social security", "carte vitale"),
        alone=0.5, spelled=0.96,
    ),
    Identifier(
        "FR_TAX_ID", "13 2-2-3-3-3 1-2-3-3-4", shape(r"[0-3]\d{12}"), fr_tax_id,
        ("numéro fiscal", "numero fiscal", "spi", "fiscal", "impôt", "impots", "tax"),
    ),
    Identifier(
        "DE_TAX_ID", "11 2-3-3-3", shape(r"[1-9]\d{10}"), de_tax_id,
        ("steuer-id", "steuerid", "steuer-identifikationsnummer", "steueridentifikationsnummer", "idnr", "id-nr",
         "steuernummer", "identifikationsnummer", *_TAX),
        spelled=0.6,
    ),
    Identifier(
        "DE_SOCIAL_SECURITY", "12 2-6-1-3 8-1-3 2-6-4", shape(r"\d{8}[A-Z]\d{3}"), de_social_security,
        ("rentenversicherungsnummer", "sozialversicherungsnummer", "versicherungsnummer", "rvnr", "sv-nummer", "svnr"),
        alone=0.8, spelled=0.96,
    ),
    Identifier(
        "DE_HEALTH_INSURANCE", "10", shape(r"[A-Z]\d{9}"), de_health_insurance,
        ("krankenversichertennummer", "versichertennummer", "kvnr", "krankenkasse", "krankenversicherung",
         "health insurance", "egk"),
    ),
    Identifier(
        "DE_IDENTITY_CARD", "10 9-1", shape(r"[CFGHJKLMNPRTVWXYZ0-9]{9}\d"), de_identity_card,
        ("personalausweis", "ausweisnummer", "ausweis", "reisepass", "passnummer", "identity card", "passport"),
        alone=0.1, spelled=0.1,
    ),
    Identifier(
        "IE_PPS", "8 9 7-1 7-2", shape(r"\d{7}[A-W][A-ITWX]?"), ie_pps,
        ("pps", "ppsn", "pps number", "personal public service", "revenue"), alone=0.6,
    ),
    Identifier(
        "LU_NATIONAL_ID", "13 8-5 4-2-2-5 4-4-5", digits(13), lu_national_id,
        ("matricule", "numéro d'identification", "identification nationale", "cns"), alone=0.8, spelled=0.9,
    ),
    Identifier(
        "NL_BSN", "9 4-2-3 3-3-3", digits(9), to_zero((9, 8, 7, 6, 5, 4, 3, 2, -1)),
        ("bsn", "burgerservicenummer", "sofinummer", "sofi-nummer", "citizen service number"),
    ),
    Identifier("UK_NHS", "10 3-3-4", digits(10), uk_nhs, _NHS_WORDS),
    Identifier(
        "UK_NINO", "9 2-6-1 2-2-2-2-1 8-1", shape(_NINO), lambda _: True,
        ("national insurance", "ni number", "nino", "ni no"), alone=0.6, spelled=0.9,
    ),
    Identifier(
        "UK_TAX_REFERENCE", "10 5-5", digits(10), uk_tax_reference,
        ("utr", "unique taxpayer reference", "taxpayer reference", "hmrc", "self assessment"),
    ),
    Identifier(
        "CH_SOCIAL_SECURITY", "13 3-4-4-2", shape(r"756\d{10}"), ch_social_security,
        ("ahv", "avs", "ahv-nummer", "ahv-nr", "sozialversicherungsnummer", "numéro avs", "social security"),
        alone=0.6, spelled=0.96,
    ),
)  # fmt: skip
