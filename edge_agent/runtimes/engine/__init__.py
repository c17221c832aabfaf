"""Continuous batching over any decoder: which tokens are evaluated when, and how the next ones are chosen."""
