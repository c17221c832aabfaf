"""`/edge/v1/documents`: what the user lets answers draw on. Added, listed, searched, removed; the text stays sealed."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request

from cloud_bridge.protocol.fields import Fields
from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.http.requests import JsonObject, TheDaemon
from edge_agent.memory.reading import read_bytes, read_text
from edge_agent.state.documents import Added, NewDocument

router = APIRouter(prefix="/edge/v1/documents", tags=["edge"])

MAX_NAME = 255
FOUND = 10
MAX_FOUND = 100


@router.get("")
def documents(daemon: TheDaemon) -> dict[str, Any]:
    """All documents, the oldest first, without their text."""
    return {"documents": [each.to_json() for each in daemon.library.documents.listed()]}


@router.post("")
async def add(body: JsonObject, daemon: TheDaemon) -> dict[str, Any]:
    """Keep a document: its `name`, and its `text`, or the bytes of a text, Markdown or PDF file as `data` (base64)."""
    fields = Fields(body)
    name = fields.required_text("name").strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidRequest(
            f"'name' must have 1 to {MAX_NAME} printable characters.",
            code="invalid_value",
            hint='Send the file\'s name: {"name": "notes.md", "text": "..."}.',
            param="name",
        )
    text, data = fields.text("text"), fields.text("data")
    if (text is None) == (data is None):
        raise InvalidRequest(
            "Either 'text' or 'data' must be there.",
            code="invalid_value",
            hint="Send the document's text, or its file's bytes in base64.",
            param="text",
        )

    def added() -> Added:
        content = read_bytes(_decoded(data), name) if data is not None else read_text(text or "", name)
        return daemon.library.documents.add(NewDocument(name, content.kind, content.text, content.size))

    found = await anyio.to_thread.run_sync(added)
    return {"document": found.document.to_json(), "added": found.is_new}


@router.get("/search")
async def search(daemon: TheDaemon, request: Request) -> dict[str, Any]:
    """The passages that speak to `?q=`, the best first; `?limit=` of them."""
    question = request.query_params.get("q", "")
    limit = request.query_params.get("limit", str(FOUND))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= MAX_FOUND):
        raise InvalidRequest(
            f"'limit' must be a number from 1 to {MAX_FOUND}.",
            code="invalid_value",
            hint="Leave it out.",
            param="limit",
        )
    if not question.strip():
        raise InvalidRequest("'q' is empty.", code="empty_text", hint="Ask with some words.", param="q")
    found = await anyio.to_thread.run_sync(lambda: daemon.library.search(question, limit=int(limit)))
    return {"passages": [each.to_json() for each in found]}


@router.delete("/{document_id}")
def forget(document_id: str, daemon: TheDaemon) -> dict[str, Any]:
    """Destroy a document's key: nothing can read it again."""
    daemon.library.documents.forget(document_id)
    return {"forgotten": document_id}


def _decoded(data: str | None) -> bytes:
    try:
        return base64.b64decode(data or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(
            "'data' is not base64.", code="invalid_value", hint="Encode the file's bytes in base64.", param="data"
        ) from error
