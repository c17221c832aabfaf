"""Which types of value exist, and which are masked by default."""

from __future__ import annotations

SECRETS = frozenset({"API_KEY", "CONNECTION_STRING", "PASSWORD", "PRIVATE_KEY"})

CONTACT = frozenset({"EMAIL_ADDRESS", "GPS_COORDINATES", "IP_ADDRESS", "MAC_ADDRESS", "PHONE_NUMBER", "URL"})

FINANCIAL = frozenset({"BANK_ACCOUNT", "CREDIT_CARD", "CRYPTO", "IBAN_CODE", "ROUTING_NUMBER", "US_BANK_NUMBER"})

THINGS = frozenset({"DEVICE_SERIAL", "ICCID", "IMEI", "IMSI", "LICENSE_PLATE", "VIN"})
"""What names a thing, and so its owner."""

REFERENCES = frozenset({"CASE_NUMBER", "ID_NUMBER", "REFERENCE_NUMBER"})

NATIONAL = frozenset(
    {
        *("AT_SOCIAL_SECURITY", "BE_NATIONAL_NUMBER", "BG_EGN", "CA_SOCIAL_INSURANCE", "CH_SOCIAL_SECURITY"),
        *("CY_TAX_ID", "CZ_BIRTH_NUMBER", "DE_HEALTH_INSURANCE", "DE_IDENTITY_CARD", "DE_SOCIAL_SECURITY"),
        *("DE_TAX_ID", "DK_CPR", "EE_LT_PERSONAL_CODE", "ES_NIE", "ES_NIF", "ES_SOCIAL_SECURITY"),
        *("FI_PERSONAL_IDENTITY_CODE", "FR_SOCIAL_SECURITY", "FR_TAX_ID", "GR_AMKA", "GR_TAX_ID", "HR_OIB"),
        *("HU_SOCIAL_SECURITY", "HU_TAX_ID", "IE_PPS", "IT_FISCAL_CODE", "LU_NATIONAL_ID", "LV_PERSONAL_CODE"),
        *("MT_IDENTITY_CARD", "NL_BSN", "NO_IDENTITY_NUMBER", "PL_IDENTITY_CARD", "PL_PESEL", "PL_TAX_ID"),
        *("PT_CITIZEN_CARD", "PT_TAX_ID", "RO_CNP", "SE_PERSONAL_NUMBER", "SI_EMSO", "SI_TAX_ID", "UK_NHS"),
        *("UK_NINO", "UK_TAX_REFERENCE", "US_DRIVER_LICENSE", "US_ITIN", "US_MEDICARE", "US_PASSPORT", "US_SSN"),
    }
)
"""Of one country each, which the name says."""

IDENTIFIERS = (
    frozenset({"DATE_OF_BIRTH", "DRIVER_LICENSE", "GOVERNMENT_ID", "PASSPORT", "TAX_ID", "VAT_NUMBER"})
    | NATIONAL
    | REFERENCES
    | THINGS
)

PEOPLE = frozenset({"ADDRESS", "PERSON", "USERNAME"})

DIRECT = SECRETS | CONTACT | FINANCIAL | IDENTIFIERS | PEOPLE
"""Each says something of somebody by itself, and is masked wherever it stands."""

INDIRECT = frozenset(
    {"AGE", "DATE_TIME", "DEMOGRAPHIC", "HOSTNAME", "LOCATION", "MISC", "ORGANIZATION", "QUANTITY", "TITLE"}
)
"""Masked where the same text holds a direct one. "What is the capital of France?" names nobody and stays."""

DEFAULT_TYPES = DIRECT | INDIRECT

CUSTOM = "CUSTOM"
"""What the user says must be masked, where no type is given."""

LITERAL = "LITERAL"
"""Not a finding: text of the user's own that looks like a placeholder, kept apart so that it comes back exact."""

READ = PEOPLE | frozenset(
    {
        *("AGE", "BANK_ACCOUNT", "DATE_TIME", "DEMOGRAPHIC", "DRIVER_LICENSE", "EMAIL_ADDRESS", "GOVERNMENT_ID"),
        *("ID_NUMBER", "LOCATION", "MISC", "ORGANIZATION", "PASSPORT", "PHONE_NUMBER", "QUANTITY", "ROUTING_NUMBER"),
        "TAX_ID",
    }
)
"""What the models that read a text may report."""

NAMED_BY_MODEL = frozenset({"PERSON", "LOCATION", "ORGANIZATION"})
"""Guessed by a language model rather than matched, so filtered against its usual mistakes."""
