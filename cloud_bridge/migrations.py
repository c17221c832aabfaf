"""The schema of the bridge's database, as numbered steps forward. Only ever added to."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

SCHEMA = Migrations("cloud_bridge")


def m001_bridge(db: Database) -> None:
    """Calls and their answers, devices, nonces, and the audit chain."""
    db.executescript(
        """
        CREATE TABLE calls (
            caller TEXT NOT NULL,          -- the device's name; "" inside a device
            key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,     -- sha256 of the masked conversation: a key names one only
            status TEXT NOT NULL,          -- started, done, failed, expired
            attempts INTEGER NOT NULL,
            repeated INTEGER NOT NULL,     -- an earlier call may have been answered, see store.Call
            started_at REAL NOT NULL,
            ended_at REAL,
            provider TEXT,
            code TEXT,                     -- why it failed
            events TEXT,                   -- the masked answer, until its retention is over
            PRIMARY KEY (caller, key)
        ) WITHOUT ROWID;
        CREATE INDEX calls_by_end ON calls (ended_at);
        CREATE TABLE devices (
            name TEXT PRIMARY KEY,
            public_key TEXT NOT NULL UNIQUE,
            enrolled_at REAL NOT NULL,
            revoked_at REAL
        ) WITHOUT ROWID;
        CREATE TABLE nonces (
            public_key TEXT NOT NULL,
            nonce TEXT NOT NULL,
            created REAL NOT NULL,
            PRIMARY KEY (public_key, nonce)
        ) WITHOUT ROWID;
        CREATE INDEX nonces_by_time ON nonces (created);
        CREATE TABLE audit (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, hash TEXT NOT NULL);
        CREATE TABLE audit_head (only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);
        CREATE TRIGGER audit_is_immutable BEFORE UPDATE ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit is immutable'); END;
        CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit is kept'); END;
        """
    )


def m002_groups(db: Database) -> None:
    """Groups of one person's devices, and invitations into them."""
    db.executescript(
        """
        CREATE TABLE sync_groups (
            name TEXT PRIMARY KEY,
            epoch INTEGER NOT NULL,        -- of the newest group key that the bridge was told of
            rotation TEXT NOT NULL,        -- sha256 of the removal that brought it, to know a repetition by
            bytes INTEGER NOT NULL         -- what the group takes of its quota
        ) WITHOUT ROWID;
        CREATE TABLE sync_members (
            grp TEXT NOT NULL,
            origin TEXT NOT NULL,          -- the device's id in its events
            caller TEXT NOT NULL,          -- its name in `devices`
            box_key BLOB NOT NULL,
            card BLOB NOT NULL,
            joined_at REAL NOT NULL,
            last_seen REAL NOT NULL,
            box_epoch INTEGER,             -- the group keys sealed to it by the newest removal
            box BLOB,
            PRIMARY KEY (grp, origin)
        ) WITHOUT ROWID;
        CREATE UNIQUE INDEX sync_members_by_caller ON sync_members (caller, grp);
        CREATE TABLE sync_invitations (
            grp TEXT NOT NULL,
            token_hash TEXT NOT NULL,
            sealed BLOB NOT NULL,
            expires_at REAL NOT NULL,
            used_by TEXT NOT NULL,         -- the caller that joined with it; '' while it is open
            PRIMARY KEY (grp, token_hash)
        ) WITHOUT ROWID;
        """
    )


def m003_segments(db: Database) -> None:
    """What the devices of a group share: sealed by them, for them."""
    db.executescript(
        """
        CREATE TABLE sync_origins (
            grp TEXT NOT NULL,
            origin TEXT NOT NULL,
            through INTEGER NOT NULL,      -- this origin's events are here up to this number, without gaps
            PRIMARY KEY (grp, origin)
        ) WITHOUT ROWID;
        CREATE TABLE sync_segments (
            arrival INTEGER PRIMARY KEY,
            grp TEXT NOT NULL,
            origin TEXT NOT NULL,
            after INTEGER NOT NULL,
            through INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            keys TEXT NOT NULL,            -- names of key objects, as JSON
            sealed BLOB NOT NULL
        );
        CREATE UNIQUE INDEX sync_segments_by_number ON sync_segments (grp, origin, through);
        CREATE TABLE sync_keys (
            grp TEXT NOT NULL,
            name TEXT NOT NULL,
            subject TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            sealed BLOB NOT NULL,
            PRIMARY KEY (grp, name)
        ) WITHOUT ROWID;
        CREATE INDEX sync_keys_by_subject ON sync_keys (grp, subject);
        CREATE TABLE sync_gone (grp TEXT NOT NULL, subject TEXT NOT NULL, PRIMARY KEY (grp, subject)) WITHOUT ROWID;
        """
    )


def m004_wall_clock(db: Database) -> None:
    """What the wall clock said last."""
    db.executescript("CREATE TABLE wall_clock (only INTEGER PRIMARY KEY CHECK (only = 1), seen REAL NOT NULL);")


def m005_receipt_of_nonces(db: Database) -> None:
    """When a nonce came, by the bridge's clock and moved with it (`ages`); `created` stays as it was signed."""
    db.execute("ALTER TABLE nonces ADD COLUMN received REAL NOT NULL DEFAULT 0")
    db.execute("UPDATE nonces SET received = created")


# Called, not decorated: sqlite-utils is untyped here, and an untyped decorator would untype the function.
_ALL = (m001_bridge, m002_groups, m003_segments, m004_wall_clock, m005_receipt_of_nonces)
for _migration in _ALL:
    SCHEMA()(_migration)


def unknown_to_this_version(db: Database) -> set[str]:
    """The steps that a newer version took."""
    return {migration.name for migration in SCHEMA.applied(db)} - {migration.__name__ for migration in _ALL}
