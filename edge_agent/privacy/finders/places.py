"""A finder of geographic coordinates."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit, announced, holds_any


def coordinates(text: str) -> Iterator[Hit]:
    """Pairs of latitude and longitude to some metres. Bare pairs must be announced: any two decimals look like them."""
    if holds_any(text.lower(), ("lat", "lng", "lon")):
        for match in _KEYED.finditer(text):
            yield match.start("value"), match.end("value"), 0.9
    for match in _PAIR.finditer(text):
        latitude, longitude = float(match["latitude"]), float(match["longitude"])
        if abs(latitude) <= 90 and abs(longitude) <= 180:
            marked = match["marked"] is not None or "\u00b0" in match.group()
            told = marked or text[: match.start()].endswith(("geo:", "@")) if match.start() else marked
            yield match.start(), match.end(), 0.96 if told or announced(text, *match.span(), _WORDS) else 0.3
    if "\u00b0" in text:
        for match in _DEGREES.finditer(text):
            yield match.start(), match.end(), 0.96


_WORDS = ("lat", "latitude", "lon", "lng", "longitude", "gps", "coordinates", "coordinate", "coords", "location",
          "position", "geo", "geolocation", "wgs84", "koordinaten", "coordonnées")  # fmt: skip
_KEYED = re.compile(
    r"(?<![a-z])(?:lat|lng|lon|long)(?:itude)?[\"'`]?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>[+\-]?\d{1,3}\.\d{3,15})(?!\d)",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"(?<![\w.])(?P<latitude>[+\-]?\d{1,2}\.\d{4,15})\u00b0? ?(?P<marked>[NSns](?![A-Za-z]))?(?: ?[,;/] ?| |%2C)"
    r"(?P<longitude>[+\-]?\d{1,3}\.\d{4,15})(?:\u00b0? ?[EWOew](?![A-Za-z])|\u00b0)?(?![\w]|\.\d)"
)
_DEGREE = r"\d{1,3} ?\u00b0 ?(?:\d{1,2}(?:\.\d+)? ?['\u2032] ?)?(?:\d{1,2}(?:\.\d+)? ?(?:\"|''|\u2033|\u2032\u2032) ?)?"
_DEGREES = re.compile(rf"(?<![\w.]){_DEGREE}[NS][,;]? {{0,2}}{_DEGREE}[EWO](?![A-Za-z])")
