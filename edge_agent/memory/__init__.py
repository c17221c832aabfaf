"""Documents as they are read, split into passages, and searched. Nothing here is kept on disk."""
