"""Keys, tokens, passwords and connection strings, in the forms in which files and commands hold them."""

from __future__ import annotations

import json

import pytest

from edge_agent.privacy.finders import credentials, secrets
from edge_agent.privacy.finders.hits import Finder

RANDOM = "Zq3vN8xK1mB7tR5wJ9cL2hF6dG4sP0aYeUiO"

KEYS = [
    *(f"{prefix}{RANDOM}" for prefix in ("sk-proj-", "sk-ant-api03-", "sk-or-v1-", "sk_live_", "rk_test_", "whsec_")),
    *(f"{prefix}{RANDOM}" for prefix in ("ghp_", "gho_", "github_pat_", "glpat-", "hf_", "npm_", "pypi-", "ya29.")),
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdefghijklmnopqrstu",
    "xoxb-1234567890-1234567890-abcdefghijkl",
    "xapp-1-A0123456789-1234567890-abcdef0123456789",
    "https://hooks.slack.com/services/T0123ABCD/B0123ABCD/abcdefghijklmnopqrst",
    f"SG.{RANDOM[:22]}.{RANDOM}",
    "SK0123456789abcdef0123456789abcdef",
    "AC0123456789abcdef0123456789abcdef",
    "key-0123456789abcdef0123456789abcdef",
    "dop_v1_" + "0123456789abcdef" * 4,
    "shpat_0123456789abcdef0123456789abcdef",
    "dapi0123456789abcdef0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
    "abc8Q~abcdefghijklmnopqrstuvwxyz0123456789"[:40],
    "A" * 40 + "b1" * 23 + "==",
    "123456789:AA" + "abcdefghijklmnopqrstuvwxyz0123456",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", ["{}", "key: {}", '{{"k": "{}"}}', "curl -H 'X-Key: {}' https://x.org", "({}), ok"])
def test_keys_of_known_issuers(key: str, around: str):
    text = around.format(key)
    covered = {place for start, end, _ in secrets.api_key(text) for place in range(start, end)}
    start = text.index(key)
    assert not set(range(start, start + len(key))) - covered


ASSIGNED = [
    (secrets.api_key, "API_KEY=9f86d081884c7d659a2f"),
    (secrets.api_key, "export GITHUB_TOKEN=9f86d081884c7d659a2f"),
    (secrets.api_key, "x-api-key: 9f86d081884c7d659a2f"),
    (secrets.api_key, '"private_key_id": "9f86d081884c7d659a2f"'),
    (secrets.api_key, "secret: 9f86d081884c7d659a2f"),
    (secrets.api_key, "client_secret = '9f86d081884c7d659a2f'"),
    (secrets.api_key, "Authorization: Bearer 9f86d081884c7d659a2f"),
    (secrets.api_key, "Authorization: Basic dXNlcjpodW50ZXIyMTIzNA=="),
    (secrets.api_key, "https://x.blob.core.windows.net/c?sv=2022&sig=abcDEF123abcDEF123abcDEF123%3D"),
    (credentials.password, "DB_PASSWORD=hunter2!"),
    (credentials.password, "POSTGRES_PASSWORD: hunter2!"),
    (credentials.password, '"password": "hunter2 and \\"more\\""'),
    (credentials.password, "'passwd' => 'hunter2!'"),
    (credentials.password, "<password>hunter2!</password>"),
    (credentials.password, "deploy --password hunter2! --force"),
    (credentials.password, "curl -u anna:hunter2! https://x.org"),
    (credentials.password, "mysql -u root -phunter2! shop"),
    (credentials.password, "Passwort: hunter2!"),
    (credentials.password, "my passphrase is correct-horse-9"),
    (credentials.connection_string, "postgres://app:s3cret@db.acme.io:5432/app"),
    (credentials.connection_string, "mongodb+srv://app:s3cret@cluster0.acme.net/?w=majority"),
    (credentials.connection_string, "redis://:s3cret@cache:6379/0"),
    (credentials.connection_string, "amqp://guest:s3cret@mq"),
    (credentials.connection_string, "jdbc:postgresql://db.acme.io/app?user=app&password=s3cret"),
    (
        credentials.connection_string,
        "Server=tcp:db.acme.io,1433;Database=app;User Id=sa;Password=s3cret!;Encrypt=True;",
    ),
    (credentials.connection_string, "Driver={ODBC Driver 18};Server=db;UID=sa;PWD={a;b}"),
    (credentials.connection_string, "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=abcd1234=="),
]


@pytest.mark.parametrize(("find", "text"), ASSIGNED)
def test_secrets_as_files_and_commands_hold_them(find: Finder, text: str):
    for shown in (text, f"line one\n{text}\nline three"):
        found = "".join(shown[start:end] for start, end, _ in find(shown))
        secret = next(part for part in ("hunter2", "s3cret", "9f86d0", "dXNlcj", "abcDEF", "horse", "a;b", "abcd1234")
                      if part in text)  # fmt: skip
        assert secret in found


@pytest.mark.parametrize(
    "text",
    [
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "id 550e8400-e29b-41d4-a716-446655440000",
        "The password is required. Forgot password?",
        "an api key is a secret; the token is missing; sk-ipping",
        "max_tokens=4096, next_token: null, tokenizer: gpt2, key: value",
        "basic internationalization of bearer instruments",
        "token = get_token(request)  # secret = os.environ['SECRET']",
        "password=${PASSWORD} and pwd={{ vault.pwd }}",
        "pin it to the opinion board: spinning",
        "public key cryptography: a keyboard is: fine",
        "https://example.org:8080/path?q=a@b and a=1;b=2;c=3",
        "color=red;size=10;server=west",
        "The passage was long: see compass=north.",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    ],
)
def test_what_only_looks_alike_is_left(text: str):
    for find in (secrets.api_key, secrets.private_key, credentials.password, credentials.connection_string):
        assert [text[start:end] for start, end, _ in find(text)] == []


def test_a_service_account_s_key_is_found_in_its_json():
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\n"
    text = json.dumps({"type": "service_account", "private_key_id": "0a1b2c3d4e5f", "private_key": key})
    assert [text[start:end] for start, end, _ in secrets.private_key(text)] == [json.dumps(key.strip())[1:-1]]
    assert "0a1b2c3d4e5f" in {text[start:end] for start, end, _ in secrets.api_key(text)}
