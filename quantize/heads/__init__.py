"""The small heads over embeddings that routing asks, trained from named data with fixed seeds."""
