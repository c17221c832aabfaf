"""The text that models are judged by."""

from __future__ import annotations

import codecs
from pathlib import Path

from cloud_bridge.protocol.problems import InvalidRequest, NotFound

BUNDLED = Path(__file__).with_name("judging.txt")
"""Some 4,000 tokens of everything: ours, written for this, and used for no calibration."""

_MOST_BYTES = 4 * 2**20


def read(text: Path | None) -> str:
    """The text, of a very long one the first 4 MiB; None: the bundled one.

    Raises NotFound code "text_not_found" and InvalidRequest code "text_unreadable".
    """
    path = text or BUNDLED
    if not path.is_file():
        raise NotFound(
            f"There is no text {path.name}.",
            code="text_not_found",
            hint="Name a text file, or none for the one that comes with edge-quantize.",
        )
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        # A character may be cut in two by the limit, and by nothing else.
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=len(data) < _MOST_BYTES)
    except OSError as error:
        raise InvalidRequest(
            f"The text {path.name} cannot be read.",
            code="text_unreadable",
            hint="Give yourself the right to read it, or name another.",
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"The text {path.name} is not UTF-8.", code="text_unreadable", hint="Save it as UTF-8, or name another."
        ) from error
