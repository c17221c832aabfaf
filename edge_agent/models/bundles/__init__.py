"""One file with models for a device without a network."""
