"""The HTTP doors: authenticate, decode, encode. Nothing is decided here."""
