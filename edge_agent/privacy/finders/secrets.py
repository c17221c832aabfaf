"""Finders of keys and tokens, by their issuer's format or by the name they are given to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit, holds_any


def api_key(text: str) -> Iterator[Hit]:
    """Keys and tokens: of a known issuer's format, as a bearer or JSON web token, or assigned to a telling name."""
    yield from issued_key(text)
    lower = text.lower()
    if holds_any(lower, ("bearer", "basic")):
        for match in _BEARER.finditer(text):
            if _random(match["value"]):
                yield match.start("value"), match.end("value"), 0.97
    if _ASSIGNMENT.search(lower):
        for match in _ASSIGNED_KEY.finditer(text):
            yield match.start("value"), match.end("value"), 0.97
        for match in _ASSIGNED_TOKEN.finditer(text):
            if _random(match["value"]):
                yield match.start("value"), match.end("value"), 0.97


def issued_key(text: str) -> Iterator[Hit]:
    """Those of a known issuer's format. Run over a whole text, too: a web token may be longer than a window."""
    for marks, pattern in _ISSUERS:
        if holds_any(text, marks):
            yield from ((match.start(), match.end(), 1.0) for match in pattern.finditer(text))


# What stands in every such key, so that most patterns never run; then its format, from the issuers' documentation.
_FORMATS = (
    ("sk-", r"sk-(?:[a-z0-9]+-){0,3}[A-Za-z0-9_\-]{16,}"),  # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-v1-)
    ("k_live_ k_test_ whsec_", r"(?:[srp]k_(?:live|test)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{16,})"),  # Stripe
    ("AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])"),  # AWS
    ("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,})"),
    ("glpat- gldt- glrt- glcbt- glptt- glft- glsoat-", r"gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[\w\-.]{16,}"),  # GitLab
    ("xox xapp-", r"(?:xox[abeoprs]-[A-Za-z0-9\-]{10,}|xapp-\d-[A-Za-z0-9\-]{16,})"),  # Slack
    ("hooks.slack.com", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/]{20,}"),
    ("discord", r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d+/[\w\-]{20,}"),
    ("AIza ya29. GOCSPX-", r"(?:AIza[0-9A-Za-z_\-]{30,}|ya29\.[\w\-]{16,}|GOCSPX-[\w\-]{20,})"),  # Google
    ("hf_ api_org_", r"(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z]{30,})"),  # Hugging Face
    ("npm_ pypi- rubygems_", r"(?:npm_[A-Za-z0-9]{30,}|pypi-[\w\-]{16,}|rubygems_[a-f0-9]{48})"),
    ("SG.", r"SG\.[\w\-]{16,}\.[\w\-]{16,}"),  # SendGrid
    ("key- pubkey-", r"(?:pub)?key-[a-f0-9]{32}"),  # Mailgun
    ("dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{32,}"),  # DigitalOcean
    ("eyJ", r"eyJ[\w\-]{8,}\.[\w\-]{4,}\.[\w\-]*"),  # JSON web tokens, RFC 7519
    ("AC SK", r"[AS][CK][a-f0-9]{32}(?![0-9A-Za-z])"),  # Twilio
    ("8Q~ 7Q~", r"[\w~.\-]{3}[78]Q~[\w~.\-]{31,34}"),  # Microsoft Entra client secrets
    ("==", r"[A-Za-z0-9+/]{86}==(?![A-Za-z0-9+/=])"),  # Azure storage and Cosmos DB
    ("AccountKey= SharedAccessKey=", r"(?<=Key=)[A-Za-z0-9+/]{20,}={0,2}"),
    ("&sig= ?sig=", r"(?<=sig=)[A-Za-z0-9%+/]{20,}(?:%3D|=)*"),  # Azure shared access signatures
    ("X-Amz-Signature=", r"(?<=X-Amz-Signature=)[a-f0-9]{64}"),
    ("amzn.mws.", r"amzn\.mws\.[a-f0-9\-]{36}"),
    ("shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),  # Shopify
    ("sq0atp- sq0csp- EAAA", r"(?:sq0(?:atp|csp)-[\w\-]{22,}|EAAA[\w\-]{60})"),  # Square
    ("dapi", r"dapi[a-f0-9]{32}(?:-\d)?"),  # Databricks
    ("PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),  # Postman
    ("glsa_ glc_", r"(?:glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}|glc_[A-Za-z0-9+/=]{32,})"),  # Grafana
    ("hvs. hvb.", r"hv[sb]\.[\w\-]{24,}"),  # HashiCorp Vault
    (".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w\-]{60,}"),  # Terraform Cloud
    ("NRAK- NRJS-", r"NR(?:AK|JS)-[A-Za-z0-9]{19,}"),  # New Relic
    ("sntrys_ sntryu_", r"sntry[su]_[\w+/=.\-]{32,}"),  # Sentry
    ("lin_api_", r"lin_api_[A-Za-z0-9]{40}"),  # Linear
    ("secret_ ntn_", r"(?:secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,})"),  # Notion
    ("figd_ pat-", r"(?:figd_[\w\-]{36,}|pat-(?:na|eu)\d-[a-f0-9\-]{36})"),  # Figma, HubSpot
    # Groq, xAI, Perplexity, Replicate, Fireworks, NVIDIA
    ("gsk_ xai- pplx- r8_ nvapi- fw_", r"(?:(?:gsk_|xai-|pplx-|r8_|fw_)[A-Za-z0-9]{20,}|nvapi-[\w\-]{40,})"),
    ("sbp_ sb_secret_", r"(?:sbp_[a-f0-9]{40}|sb_secret_[\w\-]{20,})"),  # Supabase
    ("vercel_ nfp_", r"(?:vercel_[A-Za-z0-9]{20,}|nfp_[A-Za-z0-9]{36})"),  # Vercel, Netlify
    ("FLWSECK ATATT ATCTT", r"(?:FLWSECK(?:_TEST)?-[A-Za-z0-9\-]{12,}|AT[AC]TT[\w\-=]{60,})"),  # Flutterwave, Atlassian
    (":AA", r"\d{8,10}:AA[\w\-]{33}"),  # Telegram bots
    ("age-secret-key- AGE-SECRET-KEY-", r"(?i:AGE-SECRET-KEY-1)[0-9A-Za-z]{58}"),
)  # fmt: skip
_ISSUERS = tuple(
    (marks.split(), re.compile(pattern if pattern.startswith("(?<=") else r"(?<![A-Za-z0-9])" + pattern))
    for marks, pattern in _FORMATS
)
_BEARER = re.compile(r"\b(?:bearer|basic)[ \t]+(?P<value>[\w.~+/\-]{16,}=*)", re.IGNORECASE)
_NAMED = r"[\"'`]?\s{0,3}(?:[:=]|\bis\b)+>?\s{0,3}[\"'`]?"
_ASSIGNED_KEY = re.compile(
    r"(?:api|access|secret|auth|private|signing|encryption|session|refresh|bearer|client|account|subscription|webhook)"
    r"[_\- ]?(?:key|token|secret)"
    rf"(?:[_\- ]?id)?{_NAMED}(?P<value>(?=[^\s\"'`,;]*\d)[^\s\"'`,;<>]{{8,}})",
    re.IGNORECASE,
)
_ASSIGNED_TOKEN = re.compile(
    rf"(?:token|secret|credentials?|apikey|api-key|signature|_key)\b{_NAMED}"
    r"(?P<value>(?![^\s\"'`,;]*[(\[{])[^\s\"'`,;<>]{8,})",
    re.IGNORECASE,
)


_ASSIGNMENT = re.compile(r"(?:key|token|secret|credentials?|signature)(?:[_\- ]?id)?[\"'`]?\s{0,3}(?:[:=]|is\b)")


def _random(value: str) -> bool:
    """Whether `value` is rather drawn than written: letters mixed with digits, or capitals inside."""
    letters = [character for character in value if character.isalpha()]
    digits = any(character.isdigit() for character in value)
    inside = value.strip("\"'")[1:]
    return bool(letters) and (digits or (any(map(str.isupper, inside)) and any(map(str.islower, inside))))


def private_key(text: str) -> Iterator[Hit]:
    """Armoured private keys, whole, also where the end is missing. Run over a whole text: they are long."""
    if "PRIVATE KEY" not in text:
        return
    for match in _PRIVATE_KEY.finditer(text):
        yield match.start(), match.end(), 1.0


_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END )[\s\S])*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)
