"""How fast models and the cloud have been of late, measured on the answers that were given. Thread-safe."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from edge_agent.runtimes.resident import LoadedModel

NEWEST = 0.3
"""The share of the newest answer in what is remembered."""

FEWEST_TOKENS = 4
"""Shorter answers tell of the prompt, and not of the answer."""


class Speeds:
    """Milliseconds a token, all of an answer's time shared among its tokens, of a local model by its id, or `CLOUD`."""

    CLOUD = "cloud"

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._whole: dict[str, float] = {}
        self._lock = Lock()

    def expected_ms(self, name: str, tokens: int) -> float | None:
        """Until an answer of so many tokens would be whole; None where `name` has not answered yet."""
        known = self._known.get(name)
        return None if known is None else known * tokens

    def queue_ms(self, model_id: str, loaded: Sequence[LoadedModel], *, ram_mb: int, ram_budget_mb: int) -> float:
        """Until the model could begin: until a seat of it is free, or there is room for it beside those at work.

        Answers in the seats are taken to end one after the other, evenly over what a whole answer took of late; what
        nobody measured takes no time.
        """
        own = next((each for each in loaded if each.model_id == model_id), None)
        if own is not None:
            return self._whole.get(model_id, 0.0) * max(0, own.running - own.seats + 1) / own.seats
        busy = sorted((each for each in loaded if each.running), key=self._ends_ms)
        room, waits_ms = ram_budget_mb - ram_mb - sum(each.ram_mb for each in busy), 0.0
        for each in busy:
            if room >= 0:
                break
            room, waits_ms = room + each.ram_mb, self._ends_ms(each)
        return waits_ms

    def _ends_ms(self, model: LoadedModel) -> float:
        """Until a model has answered all who ask it now."""
        return self._whole.get(model.model_id, 0.0) * max(1.0, model.running / model.seats)

    def note(self, name: str, *, took_ms: float, tokens: int) -> None:
        """An answer of `tokens` tokens took `took_ms`, without a queue, loading a model, and what failed before."""
        if tokens < FEWEST_TOKENS or took_ms <= 0:
            return
        with self._lock:
            for known, new in ((self._known, took_ms / tokens), (self._whole, took_ms)):
                old = known.get(name, new)
                known[name] = old + NEWEST * (new - old)
