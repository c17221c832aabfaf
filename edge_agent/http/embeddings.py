"""OpenAI's embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Any

from fastapi import APIRouter

from cloud_bridge.protocol.fields import Fields, as_text, invalid
from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.http.requests import JsonObject, TheDaemon

MAX_INPUTS = 2048
"""Texts in one request, as at OpenAI."""

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post("/embeddings")
async def embeddings(body: JsonObject, daemon: TheDaemon) -> dict[str, Any]:
    """Unit vectors: of 384 numbers from the encoder that runs here, or a local language model's own."""
    fields = Fields(body)
    texts = _texts(fields)
    dimensions = fields.integer("dimensions", 1)
    encoding = fields.choice("encoding_format", ("float", "base64")) or "float"
    found = await daemon.tasks.embed(texts, fields.text("model"))
    if dimensions not in {None, len(found.vectors[0])}:
        raise InvalidRequest(
            f"These embeddings have {len(found.vectors[0])} dimensions and cannot be shortened.",
            code="unsupported_value",
            hint="Leave 'dimensions' out.",
            param="dimensions",
        )
    return {
        "object": "list",
        "model": found.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _vector(vector, encoding)}
            for index, vector in enumerate(found.vectors)
        ],
        "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
    }


def _texts(fields: Fields) -> list[str]:
    given = fields.require("input")
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list) and len(texts) > MAX_INPUTS:
        raise InvalidRequest(
            f"'input' holds {len(texts)} texts; at most {MAX_INPUTS} are allowed.",
            code="invalid_value",
            hint="Send them in several requests.",
            param="input",
        )
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise invalid("input", "must be a text or a list of texts, none of them empty; token ids are not accepted")
    return [as_text(text, "input") for text in texts]


def _vector(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
