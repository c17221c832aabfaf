"""What the device remembers, in one encrypted append-only log.

ulid, hlc      names and order of events          keys        the master key and the sessions' keys
master_key/    where the master key lives          rekey       all that hangs on it, under another one
database       opening SQLite; its pragmas         migrations  the schema, forward only
log            immutable events, transactions      projection  the tables that are views of the log
sessions, history, decisions, ledger, outbox, mappings, export        one noun each
state          `State`: all of them behind one door
"""
