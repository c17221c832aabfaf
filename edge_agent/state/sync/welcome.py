"""What brings a device to the group's newest keys: with an invitation, and after another device was removed."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.state.event import canonical
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.segments import damaged

_HINT = "Nothing of it was used. Have another device of the group run 'edge-agent sync invite', and join again."


@dataclass(frozen=True, slots=True)
class Welcome:
    """The group's keys of all epochs, and whose box keys its writer knew to be their own (by origin)."""

    keys: GroupKeys
    members: Mapping[str, bytes] = field(repr=False)

    def to_bytes(self) -> bytes:
        """In the clear, to be sealed by the caller. For each older epoch a tag shows that a member wrote it."""
        members = {origin: encoded(key) for origin, key in sorted(self.members.items())}
        text = canonical({"keys": self.keys.to_bytes().decode(), "members": members})
        tags = {str(epoch): encoded(self.keys.chain_tag(epoch, text.encode())) for epoch in self.keys.epochs}
        return canonical({"text": text, "tags": tags}).encode()

    @classmethod
    def from_bytes(cls, document: bytes, known: GroupKeys | None = None) -> Welcome:
        """The inverse of `to_bytes`, for a device that knows those keys already.

        Raises Broken `sync_damaged` where nobody wrote it who has the newest epoch of `known`. So no bridge does, and
        no device that was removed before that epoch. One removed since has it: together with a bridge that passes on
        what it writes, and keeps back the true keys, it can lead to keys of its own whoever has not heard of its
        removal; nobody who has. Without `known` the caller checks who wrote it.
        """
        try:
            outer = json.loads(document)
            text = outer["text"]
            inner = json.loads(text)
            members = {str(origin): decoded(key) for origin, key in inner["members"].items()}
            keys = GroupKeys.from_bytes(inner["keys"].encode())
            if known is not None:
                tag = decoded(outer["tags"][str(known.epoch)])
                if not hmac.compare_digest(tag, known.chain_tag(known.epoch, text.encode())):
                    raise damaged(_HINT)
                keys = known.joined_with(keys)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(_HINT) from error
        return cls(keys, members)


def encoded(data: bytes) -> str:
    """Bytes in JSON."""
    return base64.b64encode(data).decode()


def decoded(text: str) -> bytes:
    """The inverse of `encoded`. Raises ValueError."""
    return base64.b64decode(text, validate=True)
