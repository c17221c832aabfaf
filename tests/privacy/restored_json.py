"""Putting the values back into a JSON document, as into the arguments of a tool call."""

from __future__ import annotations

from collections import Counter

from edge_agent.privacy.mapping import SessionMapping
from edge_agent.privacy.restore import _Carry


def restore_json(document: str, mapping: SessionMapping) -> str:
    """The document with every known placeholder replaced by its value, escaped, so that it stays one."""
    carry = _Carry(mapping, Counter(), least_depth=1)
    return carry.push(document) + carry.flush()
