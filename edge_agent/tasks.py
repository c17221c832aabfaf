"""What needs no conversation: classify, embed, anonymize, restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio.to_thread

from cloud_bridge.protocol.problems import NotFound
from cloud_bridge.protocol.report import Intent
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mask import anonymize_text
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.vault import Vault
from edge_agent.readers import Readers

EMBEDDING_MODELS = ("all-minilm-l6-v2", "all-minilm-l6-v2-int8")


class Tasks:
    """Small jobs on the encoder and the detector. Their blocking work is done in threads."""

    def __init__(
        self,
        *,
        readers: Readers,
        detector: Detector,
        vault: Vault,
        new_id: Callable[[], str],
    ) -> None:
        self._readers = readers
        self._detector = detector
        self._vault = vault
        self._new_id = new_id

    async def classify(self, texts: Sequence[str], labels: Sequence[str] | None) -> list[Intent]:
        """Each text's intent, or the closest of `labels`."""
        return await anyio.to_thread.run_sync(lambda: self._readers.intents.classify(texts, labels))

    async def embed(self, texts: Sequence[str], model: str | None) -> tuple[list[list[float]], int]:
        """Unit vectors of 384 numbers, and the tokens read. Raises NotFound for a model that is not the encoder."""
        if model is not None and model not in {"auto", "local", *EMBEDDING_MODELS}:
            raise NotFound(
                f"There is no embedding model {model!r}.",
                code="model_not_found",
                hint=f"Ask for {EMBEDDING_MODELS[0]!r}.",
                param="model",
            )
        vectors = await anyio.to_thread.run_sync(lambda: self._readers.encoder.embed(texts))
        tokens = await anyio.to_thread.run_sync(self._readers.encoder.token_counts, texts)
        return vectors.tolist(), sum(tokens)

    async def anonymize(self, text: str, mapping_id: str | None) -> dict[str, Any]:
        """The contract's answer; `mapping_id` continues an earlier mapping."""
        session_id = mapping_id or self._new_id()
        masked, entities = await anonymize_text(text, self._detector, self._vault, session_id)
        return {"text": masked, "entities": entities, "mapping_id": session_id}

    async def restore(self, text: str, mapping_id: str) -> str:
        """`text` with its placeholders turned back. Raises NotFound where nothing is known of the mapping."""
        mapping = await self._vault.session(mapping_id)
        if not len(mapping):
            raise NotFound(
                "There is no such mapping.", code="unknown_mapping", hint="Use the mapping_id that anonymize gave."
            )
        return restore_text(text, mapping)
