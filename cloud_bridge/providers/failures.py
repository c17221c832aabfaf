"""Why a provider did not answer, in words that show neither key nor body. All of them let the next one try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloud_bridge.protocol.problems import Unavailable

if TYPE_CHECKING:
    import httpx

REJECTED = "provider_rejected"
"""The provider understood and refused this request: sending it again as it is will not help."""

_REJECTED = frozenset({400, 404, 405, 413, 415, 422})
_MAX_RETRY_AFTER_S = 3600


def no_api_key(name: str, variable: str) -> Unavailable:
    """There is no key to send."""
    return Unavailable(
        f"Provider {name!r} has no API key.", code="no_api_key", hint=f"Set the environment variable {variable}."
    )


def status_failure(name: str, response: httpx.Response) -> Unavailable:
    """The provider answered with a status that is no success."""
    status = response.status_code
    if status in {401, 403}:
        return Unavailable(
            f"Provider {name!r} refused the API key ({status}).",
            code="wrong_api_key",
            hint="Check the key in the variable that its api_key_env names, and what the key may do.",
        )
    if status in _REJECTED:
        return Unavailable(
            f"Provider {name!r} refused the request ({status}).",
            code=REJECTED,
            hint="Check its base_url and model, your account there, and the length of the prompt.",
        )
    if response.is_redirect:
        return Unavailable(
            f"Provider {name!r} points to another address ({status}).",
            code="provider_moved",
            hint="Keys never follow a redirect; write the new address into base_url.",
        )
    return Unavailable(
        f"Provider {name!r} cannot answer now ({status}).",
        code="rate_limited" if status == 429 else "provider_down",
        hint="Try again later.",
        retry_after_s=_retry_after(response),
    )


def transport_failure(name: str, error: httpx.HTTPError) -> Unavailable:
    """The connection could not be made, or did not last."""
    import httpx  # noqa: PLC0415 slow, and a device without a cloud needs none

    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        what, code = "could not be reached in time", "connect_timeout"
    elif isinstance(error, httpx.TimeoutException):
        what, code = "did not answer in time", "provider_timeout"
    elif isinstance(error, httpx.ConnectError):
        what, code = "could not be reached", "connection_failed"
    else:
        what, code = "broke the connection", "connection_broken"
    return Unavailable(f"Provider {name!r} {what}.", code=code, hint="Check the network, and the provider's base_url.")


def answer_too_large(name: str, limit: int) -> Unavailable:
    """The provider does not stop."""
    return Unavailable(
        f"Provider {name!r} sent more than {limit} bytes.", code="answer_too_large", hint="Ask for a shorter answer."
    )


def none_configured() -> Unavailable:
    """There is nobody to ask."""
    return Unavailable(
        "No provider is configured.",
        code="cloud_unreachable",
        hint="Add [[bridge.providers]] on a device, [[providers]] at a bridge, to config.toml.",
    )


def none_answered(causes: Sequence[Unavailable]) -> Unavailable:
    """All were tried. The hint is the first one's cause, since the first is the one that was meant to answer."""
    if not causes:
        return none_configured()
    waits = [cause.retry_after_s for cause in causes if cause.retry_after_s is not None]
    rejected = all(cause.code == REJECTED for cause in causes)
    return Unavailable(
        "Every provider refused the request." if rejected else "No provider could answer.",
        code=REJECTED if rejected else "cloud_unreachable",
        hint=f"[{causes[0].code}] {causes[0]}",
        retry_after_s=min(waits, default=None),
    )


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(min(int(value), _MAX_RETRY_AFTER_S)) if value.isascii() and value.isdigit() else None
