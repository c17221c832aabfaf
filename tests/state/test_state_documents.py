"""Documents in the state: sealed, each under a key of its own; what its file says now takes its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import conversation_from_json, conversation_to_json
from cloud_bridge.protocol.problems import InvalidRequest, NotFound
from edge_agent.recall import Library, MemoryRules, Recall
from edge_agent.state.documents import Documents, NewDocument
from edge_agent.state.log import DOCUMENTS
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State

EMPTY = conversation_to_json(Conversation(()))
TEXT = "Wilhelmina Achterberg keeps the ledger of 1931 in the attic. " * 20


def note(text: str = TEXT, name: str = "attic.txt", path: str | None = None) -> NewDocument:
    return NewDocument(name, "text", text, len(text), path)


def names(documents: Documents) -> list[str]:
    return [each.name for each in documents.listed()]


def test_a_document_comes_back_and_is_not_on_disk_in_the_clear(state: State, home: Path, open_at: Any) -> None:
    added = Documents(state.log).add(note(path="/home/w/attic.txt"))
    again = Documents(open_at().log)
    assert again.listed() == [added.document]
    assert again.text(added.document.id) == TEXT
    raw = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for words in ("Achterberg", "attic", "/home/w", added.document.digest):
        assert words.encode() not in raw


def test_the_same_text_is_the_same_document_and_a_changed_file_takes_its_place(state: State) -> None:
    documents = Documents(state.log)
    first = documents.add(note(path="/a"))
    assert first.is_new
    again = documents.add(note(name="copy.txt", path="/b"))
    assert (again.document, again.is_new, again.replaced) == (first.document, False, None)
    changed = documents.add(note("It burned.", path="/a"))
    assert (changed.is_new, changed.replaced) == (True, first.document.id)
    assert documents.text(first.document.id) is None
    other = documents.add(note("Another file of that name."))
    assert [each.id for each in documents.listed()] == [changed.document.id, other.document.id]


def test_a_removed_document_cannot_be_read_by_anybody(state: State, open_at: Any) -> None:
    documents, other = Documents(state.log), Documents(open_at().log)
    document = documents.add(note()).document
    assert other.listed() == [document]
    documents.forget(document.id)
    assert (other.listed(), other.text(document.id), documents.listed()) == ([], None, [])
    assert state.log.path.with_name("state.db-wal").stat().st_size == 0
    for unknown in (document.id, "x", document.id.lower(), "A" * 26):
        with pytest.raises(NotFound) as caught:
            documents.forget(unknown)
        assert caught.value.code == "unknown_document"


def test_documents_are_no_sessions_and_no_client_may_name_one(state: State, talk: Any) -> None:
    document = Documents(state.log).add(note()).document
    assert state.sessions() == []
    for name in (DOCUMENTS + document.id, DOCUMENTS + "mine"):
        with pytest.raises(InvalidRequest) as caught:
            state.accept_request(name, talk("Hello"))
        assert (caught.value.code, caught.value.param) == ("bad_session_id", "edge.session_id")
        with pytest.raises(NotFound):
            state.session(name)
    assert Documents(state.log).text(document.id) == TEXT


def test_they_outlive_a_rebuild_and_a_new_master_key(state: State, home: Path) -> None:
    documents = Documents(state.log)
    document = documents.add(note()).document
    state.rebuild()
    state.change_master_key(HomeKey(home / "other").open())
    assert documents.text(document.id) == TEXT
    assert Documents(state.log).listed() == [document]
    assert not documents.add(note(name="again")).is_new


def test_a_library_follows_what_other_processes_add_and_remove(state: State, open_at: Any) -> None:
    library, other = Library(Documents(state.log)), Documents(open_at().log)
    assert library.search("Who keeps the ledger?", limit=1) == []
    first = other.add(note()).document
    (found,) = library.search("Who keeps the ledger?", limit=1, min_score=0.6)
    assert (found.document, found.name) == (first.id, "attic.txt")
    second = other.add(note("The cellar is dry.", "cellar.md")).document
    other.forget(first.id)
    assert library.search("ledger", limit=1) == []
    assert library.search("cellar", limit=1)[0].document == second.id
    other.forget(second.id)
    assert library.search("cellar", limit=1) == []


def test_text_of_any_kind_comes_back_as_it_was(state: State) -> None:
    documents = Documents(state.log)
    for text in ("\x00", "\ud800 half", "会議", "x" * 100_000):
        assert documents.text(documents.add(note(text)).document.id) == text


def answered(state: State, talk: Any, report: Any, *texts: str, route: str = "local") -> str:
    request_id = state.accept_request("s", talk(*texts[:-1]))
    state.finish_request(request_id, texts[-1], report(route=route))
    return request_id


@pytest.mark.anyio
async def test_what_was_said_is_found_until_it_is_forgotten(state: State, talk: Any, report: Any) -> None:
    recall = Recall(Library(Documents(state.log)), state.log, MemoryRules())
    turns = [
        answered(state, talk, report, "The spare key hangs in the attic.", "Noted.", route="cloud"),
        answered(state, talk, report, "The ladder stands in the attic, too.", "Fine."),
        answered(state, talk, report, "Nothing else.", "Good."),
    ]

    async def found(*texts: str) -> list[tuple[str | None, bool]]:
        asked = conversation_from_json({**EMPTY, **talk(*texts)})
        notes = await recall.notes(asked, "s", on_record=False)
        return [(note.turn, note.leaves) for note in notes.all]

    assert await found("Where does the spare key hang?") == [(turns[0], True)]
    assert await found("Where is the ladder?") == [(turns[1], False)]
    assert await found("The spare key hangs in the attic.", "Noted.", "Where does the spare key hang?") == []
    # Who asks the same again is not told that it was asked.
    assert await found("The spare key hangs in the attic.") == []
    newest = answered(state, talk, report, "The spare wheel hangs in the attic.", "Noted.")
    assert (await found("Where does the spare wheel hang?"))[0] == (newest, False)
    state.forget("s")
    assert await found("Where does the spare key hang?") == []
    assert not recall._sessions
    answered(state, talk, report, "The spare fuse is in the cellar.", "Noted.")
    assert await found("Where does the spare key hang?") == []
