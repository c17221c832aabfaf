"""The real detector, loaded once, and a vault kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mapping import MappingEntry
from edge_agent.privacy.vault import Vault


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What loads the models takes seconds."""
    for item in items:
        if {"detector", "models_home"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


class MemoryStore:
    """Keeps mappings as long as it lives."""

    def __init__(self) -> None:
        self.entries: dict[str, list[MappingEntry]] = {}

    def load(self, session_id: str) -> Sequence[MappingEntry]:
        return tuple(self.entries.get(session_id, ()))

    def began(self, session_id: str) -> str | None:
        return None

    def add(self, session_id: str, entries: Sequence[MappingEntry], began: str | None = None) -> None:
        self.entries.setdefault(session_id, []).extend(entries)


@pytest.fixture(scope="session")
def detector(models_home: Path) -> Detector:
    return Detector(ModelStore(models_home, Catalog.load()).path)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def vault(store: MemoryStore) -> Vault:
    return Vault(store)
