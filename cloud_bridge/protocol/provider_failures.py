"""What can go wrong while a provider answers, said without repeating a word of its answer."""

from __future__ import annotations

import json
import re
from typing import Any

from cloud_bridge.protocol.problems import Unavailable

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def provider_error(error: Any) -> Unavailable:
    """The provider reported an error; of its object only the type is kept, and that only where it is a plain name."""
    names = [error.get(key) for key in ("type", "code")] if isinstance(error, dict) else []
    name = next((name for name in names if isinstance(name, str) and _PLAIN_NAME.fullmatch(name)), "unknown")
    return Unavailable(
        f"The provider reported an error ({name}).",
        code="provider_error",
        hint="Try again; if it stays, look at the provider's status page and your account there.",
    )


def provider_malformed() -> Unavailable:
    """The provider sent something that its format does not know."""
    return Unavailable(
        "The provider's answer could not be read.",
        code="provider_error",
        hint="Check that the provider's `kind` and `base_url` fit each other.",
    )


def provider_cut() -> Unavailable:
    """The provider's stream ended in the middle of the answer."""
    return Unavailable(
        "The provider stopped in the middle of the answer.", code="provider_cut", hint="Send the request again."
    )


def read_object(data: str) -> dict[str, Any]:
    """A JSON object that a provider sent. Raises Unavailable code "provider_error" on anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise provider_malformed() from error
    if not isinstance(value, dict):
        raise provider_malformed()
    return value
