"""How several devices of one person come to the same sessions."""
