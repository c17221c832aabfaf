"""The models that judge a text: an encoder, and the classifier heads that were trained over its embeddings."""

from __future__ import annotations

from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING

from edge_agent.models.bundled import bundled_path

if TYPE_CHECKING:
    from edge_agent.routing.difficulty import Difficulty
    from edge_agent.routing.implicit import ImplicitScorer
    from edge_agent.routing.intent import IntentClassifier
    from edge_agent.runtimes.encoder import Encoder

ENCODER = "all-minilm-l6-v2-int8"


class TextModels:
    """Each is built by the first text that needs it: importing what they compute with takes longer than a start.

    Building blocks, and raises Broken code "model_file_missing" or "model_unreadable". May be used from any thread.
    """

    def __init__(self) -> None:
        # `cached_property` alone lets two first texts build two encoders; `intents` asks for the encoder in turn.
        self._building = RLock()

    @property
    def encoder(self) -> Encoder:
        """Texts to vectors; loads its model at first use."""
        with self._building:
            return self._encoder

    @property
    def intents(self) -> IntentClassifier:
        """What a text asks for."""
        with self._building:
            return self._intents

    @property
    def difficulty(self) -> Difficulty:
        """How likely a local model is to be right."""
        with self._building:
            return self._difficulty

    @property
    def implicit(self) -> ImplicitScorer:
        """Whether a text describes somebody without naming them."""
        with self._building:
            return self._implicit

    @cached_property
    def _encoder(self) -> Encoder:
        from edge_agent.runtimes.encoder import Encoder  # noqa: PLC0415 see above

        return Encoder(bundled_path(f"encoders/{ENCODER}"))

    @cached_property
    def _intents(self) -> IntentClassifier:
        from edge_agent.routing.intent import BUNDLED, IntentClassifier  # noqa: PLC0415 see above

        return IntentClassifier(self.encoder.embed, bundled_path(BUNDLED))

    @cached_property
    def _difficulty(self) -> Difficulty:
        from edge_agent.routing.difficulty import BUNDLED, Difficulty  # noqa: PLC0415 see above

        return Difficulty(bundled_path(BUNDLED))

    @cached_property
    def _implicit(self) -> ImplicitScorer:
        from edge_agent.routing.implicit import BUNDLED, ImplicitScorer  # noqa: PLC0415 see above

        return ImplicitScorer(self.encoder.embed, bundled_path(BUNDLED))
