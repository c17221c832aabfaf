"""The audit chain: whatever is changed in it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_bridge.audit import AuditLog
from cloud_bridge.database import BridgeDatabase
from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Broken


@pytest.fixture
def database(tmp_path: Path):
    database = BridgeDatabase(tmp_path / "bridge.db")
    yield database
    database.close()


@pytest.fixture
def audit(database: BridgeDatabase) -> AuditLog:
    audit = AuditLog(database, now=lambda: 1_000.0)
    for number in range(3):
        audit.record("laptop", f"key-{number}", Departure("first", "https://a.example", b"masked"), repeated=False)
    return audit


def test_a_whole_chain_is_whole(audit: AuditLog):
    first = audit.verify()
    assert first.entries == 3
    audit.record("laptop", "key-3", Departure("first", "https://a.example", b"masked"), repeated=True)
    assert audit.verify().head != first.head


def test_an_empty_chain_is_whole(database: BridgeDatabase):
    assert AuditLog(database).verify().entries == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET record = replace(record, 'laptop', 'phone') WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit",
        "UPDATE audit SET seq = 9 WHERE seq = 3",
    ],
)
def test_what_was_changed_shows(change, audit: AuditLog, database: BridgeDatabase):
    with database.transaction() as db:
        db.execute("DROP TRIGGER audit_is_immutable")
        db.execute("DROP TRIGGER audit_is_kept")
        db.execute(change)
    with pytest.raises(Broken) as caught:
        audit.verify()
    assert caught.value.code == "audit_broken"


def test_the_database_itself_refuses_to_change_a_record(audit: AuditLog, database: BridgeDatabase):
    for change in ("UPDATE audit SET record = ''", "DELETE FROM audit"):
        with pytest.raises(Exception, match="audit is"), database.transaction() as db:
            db.execute(change)
    assert audit.verify().entries == 3
