"""What a request may ask of the sampler, with every number checked before an engine sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloud_bridge.protocol.conversation import Sampling
from cloud_bridge.protocol.fields import invalid

MAX_STOPS = 16
MAX_STOP_CHARS = 1000
MAX_TOP_LOGPROBS = 20
MAX_ANSWERS = 8
_INT32_MAX = 2**31 - 1
_SEEDS = 2**64


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """Settings within their ranges. `seed` None: any. `max_tokens` None: what fits. `n` answers are made."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    n: int = 1

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def penalizes(self) -> bool:
        """Whether earlier tokens count."""
        return self.frequency_penalty != 0 or self.presence_penalty != 0


def checked_settings(asked: Sampling) -> SamplerSettings:
    """The request's settings over llama.cpp's own defaults. Raises InvalidRequest code "invalid_value"."""
    default = SamplerSettings()
    return SamplerSettings(
        temperature=_number("temperature", asked.temperature, 0, 2, default.temperature),
        top_k=_integer("top_k", asked.top_k, 0, _INT32_MAX, default.top_k),
        top_p=_number("top_p", asked.top_p, 0, 1, default.top_p),
        min_p=_number("min_p", asked.min_p, 0, 1, default.min_p),
        frequency_penalty=_number("frequency_penalty", asked.frequency_penalty, -2, 2, 0.0),
        presence_penalty=_number("presence_penalty", asked.presence_penalty, -2, 2, 0.0),
        seed=None if asked.seed is None else _integer("seed", asked.seed, -(2**63), 2**63 - 1, 0) % _SEEDS,
        max_tokens=None if asked.max_tokens is None else _integer("max_tokens", asked.max_tokens, 1, _INT32_MAX, 1),
        stop=_stops(asked.stop),
        top_logprobs=_integer("top_logprobs", asked.top_logprobs, 0, MAX_TOP_LOGPROBS, 0),
        n=_integer("n", asked.n, 1, MAX_ANSWERS, 1),
    )


def _number(name: str, value: float | None, low: float, high: float, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid(name, "must be a finite number")
    if not low <= value <= high:
        raise invalid(name, f"must be from {low:g} to {high:g}")
    return float(value)


def _integer(name: str, value: int | None, low: int, high: int, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(name, "must be an integer")
    if not low <= value <= high:
        raise invalid(name, f"must be from {low} to {high}")
    return value


def _stops(stops: tuple[str, ...]) -> tuple[str, ...]:
    if len(stops) > MAX_STOPS:
        raise invalid("stop", f"holds {len(stops)} strings; at most {MAX_STOPS} are allowed")
    for stop in stops:
        if not isinstance(stop, str) or not stop:
            raise invalid("stop", "must hold strings that are not empty")
        if len(stop) > MAX_STOP_CHARS:
            raise invalid("stop", f"holds a string of more than {MAX_STOP_CHARS} characters")
    return stops
