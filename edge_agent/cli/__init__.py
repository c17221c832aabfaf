"""The command line: one file a command group. Nothing is decided here."""
