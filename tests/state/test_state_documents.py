"""Documents in the state: sealed, each under a key of its own; what its file says now takes its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import conversation_from_json, conversation_to_json
from cloud_bridge.protocol.problems import InvalidRequest, NotFound
from cloud_bridge.protocol.residency import Residency
from edge_agent.cli import docs
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
    assert (again.document.id, again.is_new, again.replaced) == (first.document.id, False, None)
    changed = documents.add(note("It burned.", path="/a"))
    assert (changed.is_new, changed.replaced) == (True, first.document.id)
    assert documents.text(first.document.id) == TEXT  # the other file says it still
    changed_too = documents.add(note("It burned, too.", path="/b"))
    assert documents.text(first.document.id) is None
    other = documents.add(note("Another file of that name."))
    assert [each.id for each in documents.listed()] == [
        *(changed.document.id, changed_too.document.id, other.document.id),
    ]


def test_a_removed_document_cannot_be_read_by_anybody(state: State, open_at: Any) -> None:
    documents, other = Documents(state.log), Documents(open_at().log)
    document = documents.add(note()).document
    assert other.listed() == [document]
    with state.log.reading() as tx:
        row = tx.key_row(DOCUMENTS + document.id)
    assert row is not None
    documents.forget(document.id)
    assert (other.listed(), other.text(document.id), documents.listed()) == ([], None, [])
    assert not any(row[1] in path.read_bytes() for path in state.log.path.parent.glob("state.db*"))
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


def answered(
    state: State, talk: Any, report: Any, *texts: str, route: str = "local", residency: Residency | None = None
) -> str:
    request_id = state.accept_request("s", talk(*texts[:-1]), {"residency": residency})
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


@pytest.mark.anyio
async def test_what_was_asked_under_a_residency_leaves_under_none_that_is_wider(
    state: State, talk: Any, report: Any
) -> None:
    recall = Recall(Library(Documents(state.log)), state.log, MemoryRules())
    words = ("The spare wheel lies under the carpet.", "Noted.")
    answered(state, talk, report, *words, route="cloud", residency=("eu", "uk"))
    unknown = state.accept_request("s", talk("The spare fuse lies under the bonnet."))
    state.finish_request(unknown, "Noted.", report(route="cloud"))
    answered(state, talk, report, "The spare bulb lies in the glovebox.", "Noted.", route="cloud")

    async def leaves(question: str, residency: Residency | None) -> bool:
        asked = conversation_from_json({**EMPTY, **talk(question)})
        notes = await recall.notes(asked, "s", on_record=False, residency=residency)
        return notes.all[0].leaves

    wheel = "Where is the spare wheel, under the carpet?"
    assert [await leaves(wheel, each) for each in (None, ("us",), ("eu", "us"), ("eu",), ("eu", "uk"))] == [
        *(False, False, False),
        *(True, True),
    ]
    assert not await leaves("Where is the spare fuse, under the bonnet?", None)
    assert await leaves("Where is the spare bulb, in the glovebox?", None)
    assert await leaves("Where is the spare bulb, in the glovebox?", ("eu",))


def test_what_waits_with_a_passage_of_a_removed_document_is_named(
    state: State, home: Path, report: Any, escalation: Any, talk: Any
) -> None:
    document = Documents(state.log).add(note()).document
    jobs = []
    for name, used in (("d1", document.id), ("d2", "another")):
        request = state.accept_request("s", talk("Who keeps the ledger?"))
        memory = [{"document": used, "passage": 0}]
        state.finish_request(request, None, report(decision_id=name, route="queued", memory=memory))
        jobs.append(state.enqueue(escalation(name), "offline", request_id=request, decision_id=name).id)
    told = CliRunner().invoke(docs.app, ["rm", document.id], env={"EDGE_AGENT_HOME": str(home)}).output
    assert jobs[0] in told
    assert jobs[1] not in told
    assert "outbox drop" in told


def test_one_damaged_document_ends_none_of_the_others(state: State) -> None:
    documents = Documents(state.log)
    good, bad, worse = (documents.add(note(text)).document for text in ("The hut is green.", "It is red.", "It burns."))
    with state.log.transaction() as tx:
        tx.db.execute("DROP TRIGGER events_are_immutable")
        sql = "UPDATE events SET body = zeroblob(90) WHERE session_id = ?"
        tx.db.execute(f"{sql} AND kind = 'document.text'", (DOCUMENTS + bad.id,))
        tx.db.execute(sql, (DOCUMENTS + worse.id,))
    documents = Documents(state.log)
    assert [(each.id, each.kind) for each in documents.listed()] == [
        *((good.id, "text"), (bad.id, "text"), (worse.id, "damaged")),
    ]
    assert [each.document for each in Library(documents).search("Which hut is green?", limit=5)] == [good.id]
    assert documents.add(note("Another.")).is_new
    for each in (bad, worse):
        documents.forget(each.id)
    assert [each.kind for each in documents.listed()] == ["text", "text"]


def test_a_text_of_two_files_stays_until_neither_says_it(state: State, open_at: Any) -> None:
    documents, other = Documents(state.log), Documents(open_at().log)
    first = documents.add(note(path="/a")).document
    again = other.add(note(name="copy.txt", path="/b"))
    assert (again.document.id, again.document.paths, again.is_new) == (first.id, ("/a", "/b"), False)
    changed = documents.add(note("It burned.", path="/a"))
    assert (changed.is_new, changed.replaced) == (True, first.id)
    assert other.text(first.id) == TEXT
    assert [(each.path, each.paths) for each in other.listed()] == [("/b", ("/b",)), ("/a", ("/a",))]
    documents.add(note(path="/a"))  # put back
    assert [each.paths for each in other.listed()] == [("/b", "/a")]
    documents.add(note("It burned.", path="/a"))
    documents.add(note("It burned, too.", path="/b"))
    assert other.text(first.id) is None
    assert [each.paths for each in documents.listed()] == [("/a",), ("/b",)]


def test_what_came_over_http_too_outlives_a_changed_file(state: State) -> None:
    documents = Documents(state.log)
    for first, second in ((None, "/a"), ("/b", None)):
        text = f"Between {first} and {second}."
        document = documents.add(note(text, path=first)).document
        assert not documents.add(note(text, path=second)).is_new
        documents.add(note(f"Changed: {text}", path=first or second))
        assert documents.text(document.id) == text
