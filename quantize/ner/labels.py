"""What the token classifier tells apart, and how the corpora's own names for it translate."""

from __future__ import annotations

TYPES = (
    "PERSON",
    "ORGANIZATION",
    "LOCATION",
    "ADDRESS",
    "DATE_TIME",
    "AGE",
    "DEMOGRAPHIC",
    "QUANTITY",
    "ID_NUMBER",
    "PHONE_NUMBER",
    "EMAIL_ADDRESS",
    "USERNAME",
    "MISC",
)
"""Each is masked where it identifies somebody."""

OUTSIDE, PUBLIC = "O", "PUBLIC"
"""No entity, and an entity that identifies nobody: a court, a treaty's date, the country that is sued."""

LABELS = (OUTSIDE, *(f"{part}-{kind}" for kind in TYPES for part in "BI"), PUBLIC)
"""In the order of the model's outputs."""

CLS, SEP = 101, 102
"""BERT's special pieces; the same in every vocabulary of its family."""

MASKED = "MASKED"
"""Of a text whose annotation says what must be hidden, and not what it is: any of the types will do."""

TAB = {
    "PERSON": "PERSON",
    "CODE": "ID_NUMBER",
    "ORG": "ORGANIZATION",
    "LOC": "LOCATION",
    "DATETIME": "DATE_TIME",
    "DEM": "DEMOGRAPHIC",
    "QUANTITY": "QUANTITY",
    "MISC": "MISC",
}

GENERATED = {
    "PERSON": "PERSON",
    "ORG": "ORGANIZATION",
    "LOC": "LOCATION",
    "ADDRESS": "ADDRESS",
    "DATETIME": "DATE_TIME",
    "AGE": "AGE",
    "DEM": "DEMOGRAPHIC",
    "QUANTITY": "QUANTITY",
    "CODE": "ID_NUMBER",
    "PHONE": "PHONE_NUMBER",
    "EMAIL": "EMAIL_ADDRESS",
    "USERNAME": "USERNAME",
    "P": PUBLIC,
}
