"""How one request chooses its tokens: its own chain of samplers, its own grammar, its own dice."""

from __future__ import annotations

from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native

from cloud_bridge.protocol.events import TokenLogprob
from cloud_bridge.protocol.problems import Broken, InvalidRequest
from edge_agent.runtimes.llama_native import Candidates, Model
from edge_agent.runtimes.sampling import SamplerSettings

Logits = np.ndarray[Any, np.dtype[np.float32]]

_NO_REPEAT_PENALTY = 1.0


class RequestSampler:
    """Owns native memory: `close` it. `seed` rules every throw of the dice."""

    def __init__(self, model: Model, settings: SamplerSettings, *, seed: int, grammar: str | None) -> None:
        self._settings = settings
        self._is_argmax = settings.is_greedy and not settings.penalizes
        self._grammar = None if grammar is None else _grammar(model, grammar)
        self._chain = _chain(model, settings, seed)

    def choose(self, logits: Logits, candidates: Candidates) -> int:
        """The next token; it counts as said. Raises Broken code "inference_failed" where the grammar allows none."""
        token = self._pick(logits, candidates, None)
        if self._grammar is not None and not self._allows(token, candidates):
            token = self._pick(logits, candidates, self._grammar)
            if not self._allows(token, candidates):
                raise Broken(
                    "The model has no token that continues the answer as its format demands.",
                    code="inference_failed",
                    hint="Ask for a simpler `response_format`.",
                )
        if self._grammar is not None:
            native.llama_sampler_accept(self._grammar, token)
        native.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free the native memory; later calls do nothing."""
        chain, grammar, self._chain, self._grammar = self._chain, self._grammar, None, None
        if chain is not None:
            native.llama_sampler_free(chain)
        if grammar is not None:
            native.llama_sampler_free(grammar)

    def _pick(self, logits: Logits, candidates: Candidates, grammar: Any) -> int:
        if self._is_argmax and grammar is None:
            return int(np.argmax(logits))
        candidates.fill(logits)
        if grammar is not None:
            candidates.apply(grammar)
        candidates.apply(self._chain)
        return candidates.chosen

    def _allows(self, token: int, candidates: Candidates) -> bool:
        """Trying one token is far cheaper than passing the whole vocabulary through the grammar."""
        candidates.fill_one(token)
        candidates.apply(self._grammar)
        return candidates.first_is_allowed


def token_logprob(logits: Logits, token: int, model: Model, top: int) -> TokenLogprob:
    """Natural-log probabilities over the whole vocabulary, as the model gave them before any sampler."""
    peak = float(logits.max())
    total = peak + float(np.log(np.exp(logits - np.float32(peak)).sum(dtype=np.float64)))
    likeliest: tuple[tuple[str, float], ...] = ()
    if top:
        ids = np.argpartition(logits, -top)[-top:]
        ids = ids[np.argsort(-logits[ids], kind="stable")]
        likeliest = tuple((_spelling(model, int(i)), min(0.0, float(logits[i]) - total)) for i in ids)
    return TokenLogprob(_spelling(model, token), min(0.0, float(logits[token]) - total), likeliest)


def _spelling(model: Model, token: int) -> str:
    return model.piece(token).decode("utf-8", "replace") or model.special_text(token)


def _chain(model: Model, settings: SamplerSettings, seed: int) -> Any:
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    if settings.penalizes:
        penalties = (_NO_REPEAT_PENALTY, settings.frequency_penalty, settings.presence_penalty)
        _add(chain, native.llama_sampler_init_penalties(model.n_vocab, _penalty_window(model), *penalties))
    if settings.is_greedy:
        _add(chain, native.llama_sampler_init_greedy())
        return chain
    if settings.top_k:
        _add(chain, native.llama_sampler_init_top_k(min(settings.top_k, model.n_vocab)))
    if settings.top_p < 1:
        _add(chain, native.llama_sampler_init_top_p(settings.top_p, 1))
    if settings.min_p > 0:
        _add(chain, native.llama_sampler_init_min_p(settings.min_p, 1))
    _add(chain, native.llama_sampler_init_temp(settings.temperature))
    _add(chain, native.llama_sampler_init_dist(seed))
    return chain


def _penalty_window(model: Model) -> int:
    """The whole answer counts, as OpenAI defines it."""
    return model.context_length


def _add(chain: Any, sampler: Any) -> None:
    if not sampler:
        raise Broken("llama.cpp refused a sampler.", code="inference_failed", hint="Leave sampling settings out.")
    native.llama_sampler_chain_add(chain, sampler)


def _grammar(model: Model, text: str) -> Any:
    sampler = native.llama_sampler_init_grammar(model.vocab, text.encode(), b"root")
    if not sampler:
        raise InvalidRequest(
            "llama.cpp could not use the grammar of this response format.",
            code="unsupported_schema",
            hint="Simplify the JSON schema.",
            param="response_format",
        )
    return sampler
