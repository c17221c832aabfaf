"""The text that importance matrices and learned methods read."""

from __future__ import annotations

from pathlib import Path

from cloud_bridge.protocol.problems import InvalidRequest, NotFound
from edge_agent.models.manifest import plain

BUNDLED_TEXT = Path(__file__).with_name("calibration.txt")
"""Some 9,000 tokens: instructions, prose, code, JSON, tables, dialogue, a dozen languages."""

_MOST_TEXT = 64 << 20


def check_text(text: Path) -> None:
    """Raises NotFound code "calibration_not_found" or InvalidRequest code "calibration_unreadable"."""
    try:
        if text.stat().st_size <= _MOST_TEXT:
            text.read_text("utf-8")
            return
        what = f"is longer than {_MOST_TEXT >> 20} MB"
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no file {plain(text.name)}.",
            code="calibration_not_found",
            hint="Name a text file, or leave it out: a text comes with this program.",
            param="calibration",
        ) from error
    except (OSError, ValueError) as error:
        what = "is no text in UTF-8" if isinstance(error, ValueError) else "cannot be read"
    raise InvalidRequest(
        f"The calibration text {plain(text.name)} {what}.",
        code="calibration_unreadable",
        hint="Name a text file in UTF-8 of some 10,000 words, like what the model will be asked.",
        param="calibration",
    )
