"""What the models folder tells of its models."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the catalog, or one that was made here; `size_on_disk` in bytes, partial downloads included."""

    manifest: Manifest
    installed: bool
    bundled: bool
    size_on_disk: int

    @property
    def made_here(self) -> bool:
        """Whether it was made on this machine, and is not of the catalog."""
        return self.manifest.made is not None


@dataclass(frozen=True, slots=True)
class Damaged:
    """A model that is here and cannot be run; `problem` says why, and what to do. `remove` takes it away."""

    model_id: str
    problem: Broken


@dataclass(frozen=True, slots=True)
class Verified:
    """A model whose every file was read and had the right sha256."""

    model_id: str
    files: int
    size: int
