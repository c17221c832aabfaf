"""In which regions a text may be processed. A residency is a tuple of region names, or None: anywhere.

A region is whatever the configuration calls it; names are equal or they are not, but for case and outer white space.
A provider that names no region is in none. An empty residency allows nobody.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloud_bridge.protocol.problems import NotAllowed

Residency = tuple[str, ...]

RESIDENCY = "residency"
"""The code of the problem, and so what a decision gives as its reason."""

MAX_REGIONS = 32


def regions(names: Iterable[str]) -> Residency:
    """The names as they are compared, each once, in order."""
    return tuple(sorted({_plain(name) for name in names} - {""}))


def narrowed(first: Residency | None, second: Residency | None) -> Residency | None:
    """What both allow."""
    if first is None or second is None:
        return first if second is None else second
    return tuple(region for region in first if region in second)


def allows(residency: Residency | None, region: str) -> bool:
    """Whether a text may be processed in `region`."""
    return residency is None or _plain(region) in residency


def nobody_there(residency: Residency | None) -> NotAllowed:
    """No provider is in an allowed region."""
    names = ", ".join(residency or ())
    return NotAllowed(
        f"No provider is in a region where this may be processed: {names}."
        if names
        else "The request and the settings allow no region in common.",
        code=RESIDENCY,
        hint='Ask for "model": "local", or set region of a provider, or [privacy] residency, in config.toml.',
        param="edge.residency",
    )


def _plain(name: str) -> str:
    return name.strip().casefold()
