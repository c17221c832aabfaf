from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_bridge.protocol.problems import NotAuthenticated
from cloud_bridge.protocol.signatures import (
    HttpRequest,
    Signature,
    content_digest,
    sign_request,
    signature_base,
    verify_request,
)

# The key, the request and the signature of RFC 9421, appendix B.
RFC_KEY = Ed25519PrivateKey.from_private_bytes(base64.b64decode("n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU="))
RFC_REQUEST = HttpRequest(
    "POST",
    "https://example.com/foo?param=Value&Pet=dog",
    (
        ("Host", "example.com"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Length", "18"),
    ),
    b'{"hello": "world"}',
)
RFC_COVERED = ("date", "@method", "@path", "@authority", "content-type", "content-length")
RFC_PARAMS = (
    '("date" "@method" "@path" "@authority" "content-type" "content-length")'
    ';created=1618884473;keyid="test-key-ed25519"'
)
RFC_SIGNATURE = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = 1_700_000_000
REQUEST = HttpRequest(
    "POST",
    "https://Bridge.example:8443/v1/escalations?x=%20y",
    (("Content-Type", "application/json"), ("Idempotency-Key", "key-1"), ("traceparent", "00-1")),
    b'{"masked": "<PERSON_1>"}',
)


def verify(key_id: str, signature: bytes, base: bytes) -> None:
    if key_id != 'device "1"':
        raise NotAuthenticated("Unknown device.", code="unknown_device")
    try:
        KEY.public_key().verify(signature, base)
    except InvalidSignature as error:
        raise NotAuthenticated("The signature does not fit.", code="signature_wrong") from error


def signed(request: HttpRequest = REQUEST, **options) -> HttpRequest:
    options = {"key_id": 'device "1"', "sign": KEY.sign, "created": NOW, "nonce": "n-1", **options}
    return replace(request, headers=(*request.headers, *sign_request(request, **options).items()))


def changed(request: HttpRequest, name: str, change) -> HttpRequest:
    headers = tuple((key, change(value) if key.lower() == name else value) for key, value in request.headers)
    return replace(request, headers=headers)


def refusal(request: HttpRequest, now: float = NOW) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        verify_request(request, verify=verify, now=now)
    return caught.value.code


def test_the_standard_s_own_example():
    base = signature_base(RFC_REQUEST, RFC_COVERED, RFC_PARAMS)
    assert base64.b64encode(RFC_KEY.sign(base)).decode() == RFC_SIGNATURE


def test_the_digest_s_own_example():
    assert content_digest(b'{"hello": "world"}') == "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


def test_a_signed_request_is_accepted_and_says_who_signed():
    assert verify_request(signed(), verify=verify, now=NOW + 200) == Signature('device "1"', NOW, "n-1")


def test_a_request_without_a_body_can_be_signed():
    bare = HttpRequest("GET", "http://[::1]:8041", ())
    assert verify_request(signed(bare), verify=verify, now=NOW).key_id == 'device "1"'


def test_the_default_port_may_be_written_or_not():
    plain = replace(REQUEST, url="https://bridge.example/v1")
    assert verify_request(replace(signed(plain), url="https://BRIDGE.example:443/v1"), verify=verify, now=NOW)


def test_a_second_signature_by_someone_else_does_no_harm():
    request = signed()
    request = changed(request, "signature-input", lambda value: f'proxy=("@method");created=1;tag="proxy", {value}')
    request = changed(request, "signature", lambda value: f"{value}, proxy=:AAAA:")
    assert verify_request(request, verify=verify, now=NOW)


def test_a_header_that_proxies_rewrite_is_not_signed():
    assert verify_request(changed(signed(), "traceparent", lambda _: "00-2"), verify=verify, now=NOW)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda request: REQUEST, "signature_missing"),
        (lambda request: replace(request, method="PUT"), "signature_wrong"),
        (lambda request: replace(request, url=request.url.replace("8443", "8444")), "signature_wrong"),
        (lambda request: replace(request, url=request.url.replace("v1", "v2")), "signature_wrong"),
        (lambda request: replace(request, url=request.url + "z"), "signature_wrong"),
        (lambda request: replace(request, url="https://[not-a-host/"), "signature_malformed"),
        (lambda request: replace(request, body=b"{}"), "digest_mismatch"),
        (lambda request: changed(request, "idempotency-key", lambda _: "key-2"), "signature_wrong"),
        (lambda request: changed(request, "content-digest", lambda _: "md5=:AAAA:"), "digest_mismatch"),
        (lambda request: changed(request, "content-digest", lambda _: "sha-256=:A:"), "signature_malformed"),
        (lambda request: changed(request, "signature", lambda _: "device=:AAAA:"), "signature_wrong"),
        (lambda request: changed(request, "signature", lambda _: "other=:AAAA:"), "signature_malformed"),
        (lambda request: changed(request, "signature", lambda _: "device"), "signature_malformed"),
        (lambda request: changed(request, "signature-input", lambda v: v.replace("n-1", "n-2")), "signature_wrong"),
        (
            lambda request: changed(request, "signature-input", lambda v: v.replace("ed25519", "rsa")),
            "signature_malformed",
        ),
        (lambda request: changed(request, "signature-input", lambda v: v.replace("cloud-", "")), "signature_malformed"),
        (lambda request: changed(request, "signature-input", lambda v: f"{v}, {v}"), "signature_malformed"),
        (lambda request: changed(request, "signature-input", lambda v: f"{v},"), "signature_malformed"),
        (
            lambda request: changed(request, "signature-input", lambda v: v.replace(' "@query"', "")),
            "signature_incomplete",
        ),
        (
            lambda request: changed(request, "signature-input", lambda v: v.replace(' "idempotency-key"', "")),
            "signature_incomplete",
        ),
        (lambda request: replace(request, headers=(*request.headers, ("Idempotency-Key", "x"))), "signature_wrong"),
    ],
)
def test_whatever_is_changed_on_the_way_is_noticed(change, code):
    assert refusal(change(signed())) == code


@pytest.mark.parametrize("now", [NOW + 301, NOW - 301])
def test_an_old_signature_is_refused_with_advice(now):
    with pytest.raises(NotAuthenticated) as caught:
        verify_request(signed(), verify=verify, now=now)
    assert caught.value.code == "signature_expired"
    assert "clock" in caught.value.hint


def test_an_unknown_device_is_refused():
    assert refusal(signed(key_id="another")) == "unknown_device"


def test_parameters_that_cannot_be_written_are_refused():
    with pytest.raises(ValueError, match="ASCII"):
        signed(key_id="a\nb")
