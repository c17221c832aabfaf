"""Case numbers, references, addresses of machines and wallets, plates, coordinates, ages: found, and not overdone."""

from __future__ import annotations

import pytest

from edge_agent.privacy.finders import contacts, network, payment, people, places, references, vehicles, wallets
from edge_agent.privacy.finders.hits import Finder
from edge_agent.privacy.finders.keccak import keccak_256

FOUND: list[tuple[Finder, str, list[str]]] = [
    (references.case_number, "an application (no. 40593/04) against", ["40593/04"]),
    (references.case_number, "(nos. 1234/05 and 2345/06)", ["1234/05", "2345/06"]),
    (references.case_number, "nos. 1/99, 22/99 and 333/99.", ["1/99", "22/99", "333/99"]),
    (references.case_number, "75126/01, 682/02, 4810/02 and 14537/02", ["75126/01", "682/02", "4810/02", "14537/02"]),
    (references.case_number, "plots nos. 999, 998/1 and 12", ["999", "998/1", "12"]),
    (references.case_number, "case no. 2004/123 and docket no. D-1234", ["2004/123", "D-1234"]),
    (references.case_number, "see ECLI:EU:C:2014:317.", ["ECLI:EU:C:2014:317"]),
    (references.case_number, "Case C-131/12 and 1:21-cv-01234-ABC", ["C-131/12", "1:21-cv-01234-ABC"]),
    (references.case_number, "[2020] EWCA Civ 123; I ZR 123/20", ["[2020] EWCA Civ 123", "I ZR 123/20"]),
    (references.reference_number, "Invoice No. INV-2024-0012 is due", ["INV-2024-0012"]),
    (references.reference_number, "claim #: 88123 / policy number: KX-99812", ["88123", "KX-99812"]),
    (references.reference_number, "ticket id AB12345, ref: 20417", ["AB12345", "20417"]),
    (references.device_serial, "Serial number: C02XK1ABJGH5", ["C02XK1ABJGH5"]),
    (references.device_serial, "S/N F17-88A-20391", ["F17-88A-20391"]),
    (references.reference_number, "\u0130zmir, Invoice No. INV-2024-0012", ["INV-2024-0012"]),
    (references.device_serial, "\u0130zmir, Serial number: C02XK1ABJGH5", ["C02XK1ABJGH5"]),
    (places.coordinates, "\u0130zmir, LAT: 38.423733", ["38.423733"]),
    (network.mac_address, "00:1A:2B:3C:4D:5E, 00-1a-2b-3c-4d-5e", ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5e"]),
    (network.mac_address, "cisco 001a.2b3c.4d5e", ["001a.2b3c.4d5e"]),
    (vehicles.licence_plate, "number plate AB12 CDE", ["AB12 CDE"]),
    (vehicles.licence_plate, "Kennzeichen: M-AB 1234", ["M-AB 1234"]),
    (vehicles.licence_plate, "immatriculation AB-123-CD", ["AB-123-CD"]),
    (vehicles.licence_plate, "license plate 7ABC123", ["7ABC123"]),
    (places.coordinates, "GPS: 52.520008, 13.404954", ["52.520008, 13.404954"]),
    (places.coordinates, "at 52.5200\u00b0 N, 13.4049\u00b0 E", ["52.5200\u00b0 N, 13.4049\u00b0 E"]),
    (places.coordinates, "48\u00b051'24\"N 2\u00b021'03\"E", ["48\u00b051'24\"N 2\u00b021'03\"E"]),
    (places.coordinates, "lat: 52.520008\nlng: 13.404954", ["52.520008", "13.404954"]),
    (people.age, "aged 34, a 34-year-old, 34 years old", ["aged 34", "34-year-old", "34 years old"]),
    (people.age, "at the age of 17; age: 8; thirty-four years old",
     ["thirty-four years old", "at the age of 17", "age: 8"]),
    (people.date_of_birth, "geboren am 12.03.1984", ["12.03.1984"]),
    (wallets.wallet_address, "1BoatSLRHtKNngkdXEeobR76b53LETtpyT", ["1BoatSLRHtKNngkdXEeobR76b53LETtpyT"]),
    (wallets.wallet_address, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
     ["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]),
    (wallets.wallet_address, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
     ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"]),
    (wallets.wallet_address, "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", ["TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"]),
    (wallets.wallet_key, "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ",
     ["5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ"]),
    (contacts.email, "max (at) acme (dot) de", ["max (at) acme (dot) de"]),
    (contacts.email, "max.m[at]acme[dot]co[dot]uk", ["max.m[at]acme[dot]co[dot]uk"]),
    (contacts.email, "max at acme dot de please", ["max at acme dot de"]),
    (payment.iban, "DE89.3704.0044.0532.0130.00", ["DE89.3704.0044.0532.0130.00"]),
    (payment.iban, "DE89-3704-0044\n0532-0130-00", ["DE89-3704-0044\n0532-0130-00"]),
]  # fmt: skip


@pytest.mark.parametrize(("find", "text", "values"), FOUND)
def test_found(find: Finder, text: str, values: list[str]):
    found = {text[start:end] for start, end, score in find(text) if score >= 0.4}
    assert found == set(values)


@pytest.mark.parametrize(
    "text",
    [
        "Protocol No. 11, Law no. 5190, Directive no. 95/46 and Article 6 \u00a7 1 of the Convention, Rule 38",
        "The total of order 20417 is 1,250.00 EUR.",
        "the 2004/05 season, 24/7 support, 3/4 of them, on 12/03/2024",
        "no. 1 in the charts, No 10 Downing Street",
        "file: main.py, ref: master, order: ascending, ticket: open, account: yes",
        "case 1: x; case 2: y; claim: true; policy: 2024",
        "reference: 2024-01-05, ref 3F786850e387550fdab836ed7e6dc881de23001b, ref: V123",
        "the car has 4 wheels, regular plates of food, registration opens in May",
        "weights 0.123456, 0.654321 and 1.000000 2.000000",
        "00:15:22, 12:30:45 and 00:00:00:00:00:00",
        "0x7fff5fbff8c0 and 0xdeadbeef",
        "the middle ages, page 34, a 3-year plan, 10 years of law",
        "meet at the dot, look at this (at noon)",
        "serial port, serial killer, device id unknown",
        "1BoatSLRHtKNngkdXEeobR76b53LETtpyX and bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "XX00 1234 and DE89 3704 0044 0532 0130 01 and DE8937040044053201300",
        "4111111111111112 and 1234567890123456789012345 and id a4111111111111111",
        "127.0.0.1, ::1, 0.0.0.0, 1.2.3, 1.2.3.4.5, 256.1.1.1, 12:30:45, Foo::bar, a::b",
    ],
)
def test_left_alone(text: str):
    finders = {find for find, _, _ in FOUND} | {payment.card_number, network.ip_address}
    assert [text[start:end] for find in finders for start, end, score in find(text) if score >= 0.4] == []


def test_keccak_is_ethereum_s():
    assert keccak_256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak_256(b"a" * 200) != keccak_256(b"a" * 199)
    assert keccak_256(b"hello").hex() == "1c8aff950685c2ed4bc3174f3472287b56d9517b9c948127319a09a7a36deac8"


def test_an_address_in_mixed_case_with_a_wrong_sum_is_likely_all_the_same():
    (hit,) = wallets.wallet_address("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    assert 0.4 < hit[2] < 0.95
