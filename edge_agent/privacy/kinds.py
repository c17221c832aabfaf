"""Which types of value exist, and which are masked by default."""

from __future__ import annotations

SECRETS = frozenset({"API_KEY", "CONNECTION_STRING", "PASSWORD", "PRIVATE_KEY"})

CONTACT = frozenset({"EMAIL_ADDRESS", "IP_ADDRESS", "MAC_ADDRESS", "PHONE_NUMBER", "URL"})

FINANCIAL = frozenset({"BANK_ACCOUNT", "CREDIT_CARD", "CRYPTO", "IBAN_CODE", "ROUTING_NUMBER", "US_BANK_NUMBER"})

IDENTIFIERS = frozenset(
    {
        "DATE_OF_BIRTH",
        "DRIVER_LICENSE",
        "ES_NIE",
        "ES_NIF",
        "FI_PERSONAL_IDENTITY_CODE",
        "GOVERNMENT_ID",
        "ID_NUMBER",
        "IT_FISCAL_CODE",
        "PASSPORT",
        "PL_PESEL",
        "TAX_ID",
        "UK_NHS",
        "UK_NINO",
        "US_DRIVER_LICENSE",
        "US_ITIN",
        "US_PASSPORT",
        "US_SSN",
    }
)

PEOPLE = frozenset({"PERSON", "ADDRESS"})

DIRECT = SECRETS | CONTACT | FINANCIAL | IDENTIFIERS | PEOPLE
"""Each says something of somebody by itself, and is masked wherever it stands."""

INDIRECT = frozenset({"LOCATION", "ORGANIZATION", "HOSTNAME"})
"""Masked where the same text holds a direct one. "What is the capital of France?" names nobody and stays."""

DEFAULT_TYPES = DIRECT | INDIRECT

LITERAL = "LITERAL"
"""Not a finding: text of the user's own that looks like a placeholder, kept apart so that it comes back exact."""

NEEDS_CONTEXT = frozenset({"PL_PESEL", "UK_NHS", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_PASSPORT", "US_ITIN"})
"""Plain runs of digits and letters: believed only where a word beside them says what they are."""

NAMED_BY_MODEL = frozenset({"PERSON", "LOCATION", "ORGANIZATION"})
"""Guessed by a language model rather than matched, so filtered against its usual mistakes."""
