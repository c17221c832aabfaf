"""Numbers of many countries: published samples and made-up valid ones are found, with one digit wrong they are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_agent.privacy import kinds
from edge_agent.privacy.finders.identifiers import known, vat

ANNOUNCED = [
    ("AT_SOCIAL_SECURITY", "Sozialversicherungsnummer: 1237 010180"),
    ("BE_NATIONAL_NUMBER", "rijksregisternummer 85.07.30-033.28"),
    ("BG_EGN", "EGN 7523169263"),
    ("CA_SOCIAL_INSURANCE", "his SIN is 046 454 286"),
    ("CH_SOCIAL_SECURITY", "AHV-Nummer 756.9217.0769.85"),
    ("CY_TAX_ID", "TIC 10259033P"),
    ("CZ_BIRTH_NUMBER", "rodné číslo 710319/2745"),
    ("DE_HEALTH_INSURANCE", "Versichertennummer A123456780"),
    ("DE_IDENTITY_CARD", "Personalausweis T220001293"),
    ("DE_SOCIAL_SECURITY", "Rentenversicherungsnummer 15 070649 C 103"),
    ("DE_TAX_ID", "Steuer-ID 36 574 261 809"),
    ("DK_CPR", "CPR-nummer 211062-5629"),
    ("EE_LT_PERSONAL_CODE", "isikukood 37605030299"),
    ("ES_NIE", "NIE X-2482300-W"),
    ("ES_NIF", "DNI 54362315K"),
    ("ES_SOCIAL_SECURITY", "Seguridad Social 28 12345678 40"),
    ("FI_PERSONAL_IDENTITY_CODE", "henkilötunnus 131052-308T"),
    ("FR_SOCIAL_SECURITY", "sécurité sociale 2 95 10 99 126 111 93"),
    ("FR_TAX_ID", "numéro fiscal 30 23 217 600 053"),
    ("GR_AMKA", "AMKA 01013099997"),
    ("GR_TAX_ID", "AFM 094259216"),
    ("HR_OIB", "OIB 33392005961"),
    ("HU_SOCIAL_SECURITY", "TAJ szám 111 111 110"),
    ("HU_TAX_ID", "adóazonosító jel 8071592153"),
    ("ICCID", "SIM 8944500102198304826"),
    ("IE_PPS", "PPS number 6433435F"),
    ("IMEI", "IMEI 49-015420-323751-8"),
    ("IMSI", "IMSI 310170845466094"),
    ("IT_FISCAL_CODE", "codice fiscale RCCMNL83S18D969H"),
    ("LU_NATIONAL_ID", "matricule 1893120105732"),
    ("LV_PERSONAL_CODE", "personas kods 161175-19997"),
    ("MT_IDENTITY_CARD", "ID card 123456M"),
    ("NL_BSN", "BSN 1112.22.333"),
    ("NO_IDENTITY_NUMBER", "fødselsnummer 151086 95088"),
    ("PL_IDENTITY_CARD", "dowód osobisty ABA300000"),
    ("PL_PESEL", "PESEL 44051401359"),
    ("PL_TAX_ID", "NIP 123-456-32-18"),
    ("PT_CITIZEN_CARD", "cartão de cidadão 00000000 0 ZZ4"),
    ("PT_TAX_ID", "NIF 501 964 843"),
    ("RO_CNP", "CNP 1630615123457"),
    ("ROUTING_NUMBER", "routing number 111000025"),
    ("SE_PERSONAL_NUMBER", "personnummer 880320-0016"),
    ("SI_EMSO", "EMŠO 0101006500006"),
    ("SI_TAX_ID", "davčna številka 50223054"),
    ("UK_NHS", "NHS number 943 476 5870"),
    ("UK_NINO", "National Insurance AB 12 34 56 C"),
    ("UK_TAX_REFERENCE", "UTR 1955839661"),
    ("US_BANK_NUMBER", "account number 12345678901"),
    ("US_DRIVER_LICENSE", "driver license H12234567"),
    ("US_ITIN", "ITIN 912-70-1234"),
    ("US_MEDICARE", "Medicare 1EG4-TE5-MK73"),
    ("US_PASSPORT", "passport 912803456"),
    ("VIN", "chassis 1M8GDM9AXKP042788"),
]


def believed(text: str) -> Iterator[tuple[str, str]]:
    for entity, (start, end, score) in known.identifiers(text):
        if score >= 0.4:
            yield entity, text[start:end]


@pytest.mark.parametrize(("entity", "text"), ANNOUNCED)
def test_an_announced_number_is_found_whole(entity: str, text: str):
    found = [value for kind, value in believed(text + ", please.") if kind == entity]
    digits = [character for character in text if character.isdigit()]
    assert any(text.endswith(value) and [*filter(str.isdigit, value)] == digits for value in found)


CHECKED = [row for row in ANNOUNCED if row[0] not in {
    "DK_CPR", "MT_IDENTITY_CARD", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_ITIN", "US_MEDICARE", "US_PASSPORT",
    "UK_NINO", "IMSI", "VIN",
}]  # fmt: skip


@pytest.mark.parametrize(("entity", "text"), CHECKED)
def test_with_a_digit_changed_it_is_another_number(entity: str, text: str):
    place = max(at for at, character in enumerate(text) if character.isdigit())
    wrong = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
    assert entity not in {found for found, _ in believed(wrong)}


def test_every_type_has_a_sample_and_is_masked_by_default():
    assert {entity for entity, _ in ANNOUNCED} == set(known.TYPES)
    assert known.TYPES <= kinds.DIRECT


VAT = [
    "ATU13585627", "BE0428759497", "BG175074752", "CHE107787577MWST", "CY10259033P", "CZ25123891", "DE136695976",
    "DK13585628", "EE100931558", "EL094259216", "ESB58378431", "FI20774740", "FR40303265045", "GB980780684",
    "HR33392005961", "HU12892312", "IE6433435F", "IT00743110157", "LT119511515", "LU15027442", "LV40003521600",
    "MT11679112", "NL004495445B01", "NO995525828MVA", "PL8567346215", "PT501964843", "RO18547290",
    "SE123456789701", "SI50223054", "SK2022749619",
]  # fmt: skip


@pytest.mark.parametrize("number", VAT)
def test_vat_numbers_of_all_countries(number: str):
    text = f"VAT no. {number}."
    assert [text[start:end] for start, end, _ in vat.vat_number(text)] == [number]
    letters = 3 if number[:3] in {"ATU", "CHE"} else 2
    spaced = f"({number[:letters]} {number[letters : letters + 3]} {number[letters + 3 :]})"
    assert spaced[1:-1] in [spaced[start:end] for start, end, _ in vat.vat_number(spaced)]


@pytest.mark.parametrize(
    "text",
    [
        "Version 3.11.4, build 20260112, released 2026-11-22 at 10:15:00.",
        "ISBN 978-3-16-148410-0 and 0-306-40615-2",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "550e8400-e29b-41d4-a716-446655440000",
        "unix time 1700000000, in ms 1700000000123",
        "1,234,567.89 EUR for 12345678 items",
        "pi is 3.14159265358979",
        "RFC 9421 and ISO 8601-1:2019",
        "lines 100-200, 300-400 and 12 34 56",
        "0x7fff5fbff8c0 at 127.0.0.1:8080",
        "96c 12345 00:15:22 pp 44 and 47",
        "The year 1984, the years 1990 to 1999, page 1234567890",
    ],
)
def test_other_numbers_are_none(text: str):
    assert list(believed(text)) == []
    assert list(vat.vat_number(text)) == []
