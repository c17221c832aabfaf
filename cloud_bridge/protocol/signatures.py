"""HTTP Message Signatures (RFC 9421) over a request, with its body's digest (RFC 9530).

Here are the signature base and the headers; the key stays with the caller, who passes in what signs or verifies.
The part of RFC 9421 that is spoken: Ed25519, derived components and whole header fields, no component parameters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from cloud_bridge.protocol.problems import NotAuthenticated

TAG = "cloud-bridge"
MAX_AGE_S = 300

DERIVED = ("@method", "@authority", "@path", "@query")
REQUIRED = (*DERIVED, "content-digest")
IF_PRESENT = ("content-type", "idempotency-key")
"""Fields that must be covered wherever the request has them. Not `traceparent`: proxies may rewrite it."""

Sign = Callable[[bytes], bytes]
"""The Ed25519 signature of a signature base."""

Verify = Callable[[str, bytes, bytes], None]
"""Given key id, signature and base; raises NotAuthenticated where the key is unknown or the signature does not fit."""

_LABEL = "device"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_KEY = r"[a-z*][a-z0-9_.*-]*"
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_COMPONENT = r"\"@?[a-z0-9!#$%&'*+.^_`|~-]+\""
_INNER_LIST = rf"\((?:{_COMPONENT}(?: {_COMPONENT})*)?\)"
_PARAMETER = rf";({_KEY})=({_STRING}|-?\d{{1,15}})"
_INPUT_MEMBER = re.compile(rf"({_KEY})=({_INNER_LIST}(?:{_PARAMETER})*)")
_BYTES_MEMBER = re.compile(rf"({_KEY})=:([A-Za-z0-9+/=]*):")
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*")
_DIGESTS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is signed. A field that comes more than once is in `headers` more than once."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def field(self, name: str) -> str | None:
        """All values of a header field, joined as RFC 9421 has it, or None."""
        values = [value.strip() for key, value in self.headers if key.lower() == name]
        return ", ".join(values) if values else None

    def component(self, name: str) -> str | None:
        """The value of a component: a derived one (`@path`) or a field's; None where the request has none."""
        if not name.startswith("@"):
            return self.field(name)
        try:
            url = urlsplit(self.url)
            match name:
                case "@method":
                    return self.method
                case "@authority":
                    return _authority(url)
                case "@path":
                    return url.path or "/"
                case "@query":
                    return f"?{url.query}"
        except ValueError:
            pass  # a Host header that is none
        return None


def _authority(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    return host if url.port in {None, _DEFAULT_PORTS.get(url.scheme)} else f"{host}:{url.port}"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was found good. `nonce` is for the caller to refuse a second time."""

    key_id: str
    created: int
    nonce: str


def content_digest(body: bytes) -> str:
    """The value of the Content-Digest field for a body."""
    return f"sha-256=:{_base64(hashlib.sha256(body).digest())}:"


def sign_request(request: HttpRequest, *, key_id: str, sign: Sign, created: int, nonce: str) -> dict[str, str]:
    """The header fields to add to `request`. `created` is Unix time in seconds, `nonce` new for each request."""
    digest = content_digest(request.body)
    signed = HttpRequest(request.method, request.url, (*request.headers, ("content-digest", digest)), request.body)
    covered = (*REQUIRED, *(name for name in IF_PRESENT if signed.field(name) is not None))
    names = " ".join(_quoted(name) for name in covered)
    texts = {"keyid": key_id, "alg": "ed25519", "nonce": nonce, "tag": TAG}
    parameters = "".join(f";{name}={_quoted(value)}" for name, value in texts.items())
    params = f"({names});created={created}{parameters}"
    signature = sign(signature_base(signed, covered, params))
    return {
        "Content-Digest": digest,
        "Signature-Input": f"{_LABEL}={params}",
        "Signature": f"{_LABEL}=:{_base64(signature)}:",
    }


def verify_request(request: HttpRequest, *, verify: Verify, now: float, max_age_s: float = MAX_AGE_S) -> Signature:
    """Who signed the request. Raises NotAuthenticated where it is not signed, wholly, lately and by a known key."""
    label, covered, params, values = _our_input(request)
    must = {*REQUIRED, *(name for name in IF_PRESENT if request.field(name) is not None)}
    if not must <= set(covered) or len(set(covered)) < len(covered):
        raise _refused("signature_incomplete", "The signature does not cover the whole request.")
    check_digest(request)
    created = values.get("created")
    if not isinstance(created, int) or values.get("alg", "ed25519") != "ed25519":
        raise _malformed()
    if abs(now - created) > max_age_s:
        raise _refused("signature_expired", "The signature is too old, or from the future.", "Set the device's clock.")
    key_id, nonce = values.get("keyid"), values.get("nonce")
    if not isinstance(key_id, str) or not isinstance(nonce, str):
        raise _malformed()
    signature = dict(_bytes_members(request.field("signature") or "")).get(label)
    if signature is None:
        raise _malformed()
    verify(key_id, signature, signature_base(request, covered, params))
    return Signature(key_id, created, nonce)


def check_digest(request: HttpRequest) -> None:
    """Raise NotAuthenticated where the body is not the one that Content-Digest tells of."""
    known = [(name, digest) for name, digest in _bytes_members(request.field("content-digest") or "")]
    known = [(name, digest) for name, digest in known if name in _DIGESTS]
    fits = [hmac.compare_digest(_DIGESTS[name](request.body).digest(), digest) for name, digest in known]
    if not fits or not all(fits):
        raise _refused("digest_mismatch", "The body is not the one that was signed.")


def signature_base(request: HttpRequest, covered: Iterable[str], params: str) -> bytes:
    """The bytes that are signed (RFC 9421, section 2.5). `params` is the member of Signature-Input, as written."""
    lines = []
    for name in covered:
        value = request.component(name)
        if value is None or not value.isascii() or "\n" in value:
            raise _malformed()
        lines.append(f"{_quoted(name)}: {value}")
    lines.append(f'"@signature-params": {params}')
    return "\n".join(lines).encode("ascii")


def _our_input(request: HttpRequest) -> tuple[str, tuple[str, ...], str, dict[str, str | int]]:
    """Label, covered components, parameters as written and as values, of the one signature that bears our tag."""
    text = request.field("signature-input")
    if text is None or request.field("signature") is None:
        raise _refused("signature_missing", "The request is not signed.")
    ours = []
    for match in _members(_INPUT_MEMBER, text):
        label, params = match[1], match[2]
        inner, _, rest = params.partition(")")
        values = {name: _value(value) for name, value in re.findall(_PARAMETER, rest)}
        if values.get("tag") == TAG:
            ours.append((label, tuple(item[1:-1] for item in re.findall(_COMPONENT, inner)), params, values))
    if len(ours) != 1:
        raise _malformed()
    return ours[0]


def _members(pattern: re.Pattern[str], text: str) -> Iterable[re.Match[str]]:
    """The members of a structured dictionary; anything that does not fit the pattern is an error."""
    position = 0
    while match := pattern.match(text, position):
        yield match
        if match.end() == len(text):
            return
        separator = _SEPARATOR.match(text, match.end())
        if separator is None:
            break
        position = separator.end()
    raise _malformed()


def _bytes_members(text: str) -> list[tuple[str, bytes]]:
    try:
        return [(match[1], base64.b64decode(match[2], validate=True)) for match in _members(_BYTES_MEMBER, text)]
    except binascii.Error as error:
        raise _malformed() from error


def _value(text: str) -> str | int:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else int(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    quoted = f'"{escaped}"'
    if not re.fullmatch(_STRING, quoted):
        raise ValueError("only printable ASCII can be written in a signature's parameters")
    return quoted


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _malformed() -> NotAuthenticated:
    return _refused("signature_malformed", "The signature cannot be read.")


def _refused(code: str, message: str, hint: str = "") -> NotAuthenticated:
    hint = hint or "Sign the request with an enrolled device's key; see `cloud-bridge devices enroll`."
    return NotAuthenticated(message, code=code, hint=hint)
