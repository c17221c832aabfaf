r"""How a token is shown whose bytes are no text by themselves, such as a part of an emoji: as OpenAI does.

b"\xf0\x9f"  <->  "bytes:\\xf0\\x9f"
"""

from __future__ import annotations

import re

_MARK = "bytes:"
_SHOWN = re.compile(rf"{_MARK}(?:\\x[0-9a-f]{{2}})+")


def shown(piece: bytes) -> str:
    """The token's text, or its bytes spelled out where they are no UTF-8."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return _MARK + "".join(f"\\x{byte:02x}" for byte in piece)


def bytes_of(token: str) -> bytes:
    """The bytes of a token as `shown` gives it."""
    if _SHOWN.fullmatch(token):
        return bytes.fromhex(token.removeprefix(_MARK).replace("\\x", ""))
    return token.encode("utf-8", "replace")
