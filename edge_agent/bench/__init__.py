"""A model on this machine, measured beside its bare library: what `edge-agent models bench` prints."""
