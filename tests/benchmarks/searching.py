"""Documents of a person's own: putting 10 MB of text into the index, and looking into it for each request."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from pathlib import Path

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from edge_agent.recall import Library, MemoryRules, Recall
from edge_agent.state.documents import Documents, NewDocument
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.benchmarks.figure import Figure, alternating, compared, milliseconds

DOCUMENTS = 100
WORDS = 13_000
"""Of one document; all together have some 10 MB."""

VOCABULARY = 30_000
QUESTIONS = ("Where does {} of {} end?", "What of {}, {} and {} in {}?", "{}?")


def measure(models: Path, scratch: Path) -> list[Figure]:
    """The first search, which reads, opens, splits and indexes all, beside the bare index; then a request's look."""
    texts = [_text(number) for number in range(DOCUMENTS)]
    megabytes = sum(map(len, texts)) / 1e6
    draw = random.Random(7)  # noqa: S311 - no secret
    with State.open(scratch / "state.db", HomeKey(scratch).open()) as state:
        empty = Recall(Library(Documents(state.log)), state.log, MemoryRules())
        nothing = milliseconds(lambda _: _look(empty, draw), times=200)
        documents = Documents(state.log)
        for number, text in enumerate(texts):
            documents.add(NewDocument(f"{number}.txt", "text", text, len(text)))
        library = Library(Documents(state.log))
        started = time.perf_counter()
        library.search(_question(draw), limit=1)
        ours = time.perf_counter() - started
        full = Recall(library, state.log, MemoryRules())
        bare, theirs = _bare(texts)
        works = {
            "ours": lambda _: milliseconds(lambda _: _look(full, draw), times=1),
            "theirs": lambda _: milliseconds(lambda _: _ranked(bare, _question(draw)), times=1),
        }
        found = alternating(works, rounds=100)
        bare.close()
    return [
        compared(f"first search in {megabytes:.0f} MB of documents", ours, theirs, "a bare FTS5 table, indexing", "s"),
        compared(f"a request's look into {megabytes:.0f} MB", found["ours"], found["theirs"], "the bare table", "ms"),
        Figure("a request's look where there are no documents", f"{nothing:.4g} ms"),
    ]


def _look(recall: Recall, draw: random.Random) -> None:
    asyncio.run(recall.notes(Conversation((Message("user", (Text(_question(draw)),)),)), None))


def _ranked(bare: sqlite3.Connection, question: str) -> None:
    words = " OR ".join(word for word in question.replace("?", "").replace(",", "").split() if word[:4] == "word")
    bare.execute("SELECT rowid FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT 48", (words,)).fetchall()


def _bare(texts: list[str]) -> tuple[sqlite3.Connection, float]:
    """The same paragraphs in a table of SQLite's, and how long it took, in seconds."""
    bare = sqlite3.connect(":memory:", isolation_level=None)
    started = time.perf_counter()
    bare.execute("CREATE VIRTUAL TABLE passages USING fts5(text, content = '', tokenize = 'porter unicode61')")
    bare.execute("BEGIN")
    for text in texts:
        bare.executemany("INSERT INTO passages (text) VALUES (?)", [(each,) for each in text.split("\n\n")])
    bare.execute("COMMIT")
    return bare, time.perf_counter() - started


def _text(number: int) -> str:
    """Paragraphs of words whose frequencies fall as those of a language do (Zipf)."""
    draw = random.Random(number)  # noqa: S311 - no secret
    words = [_word(draw) for _ in range(WORDS)]
    sentences = [" ".join(words[at : at + 12]) + "." for at in range(0, WORDS, 12)]
    return "\n\n".join(" ".join(sentences[at : at + 12]) for at in range(0, len(sentences), 12))


def _word(draw: random.Random) -> str:
    return f"word{int(VOCABULARY ** draw.random())}"


def _question(draw: random.Random) -> str:
    form = draw.choice(QUESTIONS)
    return form.format(*(_word(draw) for _ in range(form.count("{}"))))
