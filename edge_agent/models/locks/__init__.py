"""Who uses, fetches or replaces a model just now, across processes."""
