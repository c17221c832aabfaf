"""A person's documents: each an event of a session of its own, sealed under that session's key.

So forgetting one is forgetting a session: its key is destroyed. What is here is found by the keys that are: a document
without its key is none. A document is never changed; what its file says now is another document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from cloud_bridge.protocol.problems import Broken, NotFound
from edge_agent.state import bodies, sessions, ulid
from edge_agent.state.log import DOCUMENTS, Log, Reader, Transaction
from edge_agent.state.times import iso

# As text these are next to each other: the keys between them are those of documents.
_FIRST, _PAST = DOCUMENTS, DOCUMENTS[:-1] + chr(ord(DOCUMENTS[-1]) + 1)

Marker = tuple[int, str]
"""Says whether documents came or went: how many there are, and the newest. Ids rise, so no two states share one."""


@dataclass(frozen=True, slots=True)
class Document:
    """What is known of a document without its text. `paths`: of the files that say it; `path`: the first, or None.

    `size`: bytes of the file; `characters` of the text; `digest`: of the text, SHA-256. Of one of the kind "damaged"
    only the id is known.
    """

    id: str
    name: str
    path: str | None
    kind: str
    size: int
    characters: int
    digest: str
    added_at: str
    paths: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a door shows it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to be kept."""

    name: str
    kind: str
    text: str
    size: int
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of it: `is_new` False where its text was here already; `replaced`: what its file said before."""

    document: Document
    is_new: bool = True
    replaced: str | None = None


class Documents:
    """The documents of one log. Thread-safe; every call blocks and raises as `State` does."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[str, Document] = {}  # a document's head never changes, but for its paths

    def marker(self) -> Marker:
        """See `Marker`. Fast: for each request."""
        with self._log.reading() as tx:
            number, newest = tx.db.execute(
                "SELECT count(*), max(session_id) FROM session_keys WHERE session_id >= ? AND session_id < ?",
                (_FIRST, _PAST),
            ).fetchone()
        return number, newest or ""

    def listed(self) -> list[Document]:
        """All of them, the oldest first."""
        with self._log.reading() as tx:
            return self._listed(tx)

    def text(self, document_id: str) -> str | None:
        """The text, or None where the document was removed."""
        with self._log.reading() as tx:
            body = _body(tx, document_id, "document.text")
        return None if body is None else body.decode("utf-8", "surrogatepass")

    def add(self, new: NewDocument) -> Added:
        """Keep a document, durably, unless its text is here. What the file at its path said before is removed.

        Where another file says the same text, or it came over HTTP, too, it is one document: it stays until no file
        says it any more; what came over HTTP stays until it is forgotten.
        """
        content = new.text.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(content).hexdigest()
        with self._log.transaction() as tx:
            known = self._listed(tx)
            sources = _sources(tx, self._known)
            same = next((each for each in known if each.digest == digest), None)
            if same is None:
                document = _append(tx, self._log, new, content, digest)
                self._known[document.id] = document
            elif new.path in sources[same.id]:
                document = same
            else:
                _note_path(tx, same.id, new.path, is_there=True)
                document = _at(same, [*sources[same.id], new.path])
            former = [
                each.id for each in known if new.path is not None and new.path in each.paths and each.digest != digest
            ]
            for each in former:
                if sources[each] == [new.path]:
                    sessions.forget_in(tx, DOCUMENTS + each)
                else:
                    _note_path(tx, each, new.path, is_there=False)
        sessions.erase(self._log)
        return Added(document, same is None, former[0] if former else None)

    def forget(self, document_id: str) -> None:
        """Destroy the document's key, as `sessions.forget` does. Raises NotFound "unknown_document"."""
        if len(document_id) != ulid.LENGTH:
            raise _unknown()
        try:
            sessions.forget(self._log, DOCUMENTS + document_id)
        except NotFound as error:
            raise _unknown() from error

    def _listed(self, tx: Reader) -> list[Document]:
        keys = tx.db.execute(
            "SELECT session_id FROM session_keys WHERE session_id >= ? AND session_id < ? ORDER BY session_id",
            (_FIRST, _PAST),
        )
        ids = [session_id.removeprefix(DOCUMENTS) for (session_id,) in keys.fetchall()]
        found = {each: self._known.get(each) or _head(tx, each) for each in ids}
        self._known = {each: head for each, head in found.items() if head is not None}
        sources = _sources(tx, self._known)
        return [_at(each, sources[each.id]) for each in self._known.values()]


def _append(tx: Transaction, log: Log, new: NewDocument, content: bytes, digest: str) -> Document:
    document_id = log.new_id()
    head: dict[str, Any] = {
        "name": new.name,
        "path": new.path,
        "kind": new.kind,
        "size": new.size,
        "characters": len(new.text),
        "digest": digest,
    }
    event = tx.append("document.added", DOCUMENTS + document_id, bodies.to_json(head))
    tx.append("document.text", DOCUMENTS + document_id, content, parent=event.id)
    return _at(Document(document_id, **head, added_at=iso(event.at_ms)), [new.path])


def _at(document: Document, sources: Sequence[str | None]) -> Document:
    paths = tuple(each for each in sources if each is not None)
    return replace(document, path=paths[0] if paths else None, paths=paths)


def _note_path(tx: Transaction, document_id: str, path: str | None, *, is_there: bool) -> None:
    tx.append("document.path", DOCUMENTS + document_id, bodies.to_json({"path": path, "is_there": is_there}))


def _sources(tx: Reader, heads: Mapping[str, Document]) -> dict[str, list[str | None]]:
    """Where each document is from: the paths of files, and None for HTTP."""
    found: dict[str, list[str | None]] = {each: [head.path] for each, head in heads.items()}
    rows = tx.db.execute(
        "SELECT id FROM events WHERE session_id >= ? AND session_id < ? AND kind = 'document.path' ORDER BY id",
        (_FIRST, _PAST),
    )
    for event in [tx.event(event_id) for (event_id,) in rows.fetchall()]:
        sources = None if event is None else found.get(event.session_id.removeprefix(DOCUMENTS))
        if event is None or sources is None:
            continue
        with suppress(Broken):
            body = tx.body(event)
            noted = {} if body is None else bodies.from_json(body)
            if noted.get("is_there") and noted["path"] not in sources:
                sources.append(noted["path"])
            elif noted and not noted["is_there"] and noted["path"] in sources:
                sources.remove(noted["path"])
    return found


def _head(tx: Reader, document_id: str) -> Document | None:
    (event, *_) = (*tx.events(DOCUMENTS + document_id, "document.added"), None)
    if event is None:
        return None
    try:
        body = tx.body(event)
    except Broken:
        return Document(document_id, "", None, "damaged", 0, 0, "", iso(event.at_ms))
    return None if body is None else Document(document_id, **bodies.from_json(body), added_at=iso(event.at_ms))


def _body(tx: Reader, document_id: str, kind: str) -> bytes | None:
    (event, *_) = (*tx.events(DOCUMENTS + document_id, kind), None)
    return None if event is None else tx.body(event)


def _unknown() -> NotFound:
    return NotFound("There is no such document.", code="unknown_document", hint="'edge-agent docs list' shows them.")
