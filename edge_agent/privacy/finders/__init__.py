"""Finders of values by their format: pure functions from a text to (start, end, score). No model, no network."""
