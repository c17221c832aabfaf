"""Anthropic's messages format, both directions; the parts lie in files of their own.

Our doors use `decode_request`, `StreamEncoder`, `encode_response` and `encode_error`; the bridge's providers use
`encode_request`, `StreamDecoder` and `decode_response`. A test plays the two against each other.
"""

from __future__ import annotations

from cloud_bridge.protocol.anthropic_answer import StreamDecoder, decode_response
from cloud_bridge.protocol.anthropic_door import StreamEncoder, encode_error, encode_response, error_type
from cloud_bridge.protocol.anthropic_request import decode_request
from cloud_bridge.protocol.anthropic_upstream import DEFAULT_MAX_TOKENS, check_request, encode_request

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "StreamDecoder",
    "StreamEncoder",
    "check_request",
    "decode_request",
    "decode_response",
    "encode_error",
    "encode_request",
    "encode_response",
    "error_type",
]
