"""Full-text search over passages, in memory only: SQLite's FTS5, whose plaintext must never be in a file.

Candidates are ranked by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond",
Foundations and Trends in Information Retrieval 3.4, 2009), as FTS5 computes it over stems (Porter). Whether one is good
enough is said by another number, since BM25's scale depends on the corpus:

    score = idf of the question's words that the passage, or its heading or name, has / idf of all of them
    idf(w) = ln((passages + 1000) / (passages with w + 1))

The thousand are passages of nobody's that hold none of the words: so a word's weight, and with it the score, is nearly
the same in one's first document as among ten thousand. A passage must also have words of EVIDENCE together: one word is
enough only where few passages have it.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.memory.passages import Stretch, split
from edge_agent.memory.question import looked_for, spaced

CANDIDATES = 48
"""Passages that are looked at closely."""

AROUND = 4_000
"""Characters of the document before and after a passage that are told with it."""

EVIDENCE = math.log(200)
"""The idf that a passage's words must have together: of one word in five passages of the first few, in 55 of 10,000."""

KEY_AROUND = 20_000
"""The same where a private key is near: one of 16,384 bits has 13,000 characters."""

_OTHERS = 1_000
_TOKENS = "tokenize = 'porter unicode61 remove_diacritics 2'"
_SCHEMA = f"""
    CREATE VIRTUAL TABLE passages USING fts5(title, text, content = '', {_TOKENS});
    CREATE VIRTUAL TABLE stems USING fts5vocab(passages, 'row');
    CREATE VIRTUAL TABLE asked USING fts5(words, {_TOKENS});
    CREATE VIRTUAL TABLE asked_stems USING fts5vocab(asked, 'instance');
"""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that was found. `before` and `after`: what stands around it in the document.

    `score`: the share of the question that it speaks to, from 0 to 1.
    """

    document: str
    number: int
    name: str
    heading: str
    text: str
    score: float
    before: str = ""
    after: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a door shows it."""
        return {
            "document": self.document,
            "passage": self.number,
            "name": self.name,
            "heading": self.heading,
            "score": round(self.score, 4),
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class _Held:
    """A document: its passages have the rows from `first` on."""

    id: str
    name: str
    text: str
    stretches: tuple[Stretch, ...]
    first: int

    def row(self, number: int) -> tuple[int, str, str]:
        stretch = self.stretches[number]
        title = f"{self.name} {stretch.heading}"
        return self.first + number, spaced(title), spaced(self.text[stretch.start : stretch.end])


class PassageIndex:
    """Documents, in memory. Thread-safe; blocks: some 0.3 s to add a megabyte, milliseconds to search."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.executescript(_SCHEMA)
        self._held: dict[str, _Held] = {}
        self._firsts: list[tuple[int, str]] = []  # by row, the documents that have any

    @property
    def documents(self) -> frozenset[str]:
        """The ids of what is in it."""
        return frozenset(self._held)

    def add(self, document: str, name: str, text: str) -> None:
        """Put a document in; one of the same id is replaced."""
        stretches = split(text)
        with self._lock:
            self._remove(document)
            newest = self._held[self._firsts[-1][1]] if self._firsts else None
            held = _Held(document, name, text, stretches, newest.first + len(newest.stretches) if newest else 1)
            self._write("INSERT INTO passages (rowid, title, text) VALUES (?, ?, ?)", held)
            self._held[document] = held
            if stretches:
                self._firsts.append((held.first, document))

    def remove(self, document: str) -> None:
        """Take a document out, if it is in."""
        with self._lock:
            self._remove(document)

    def search(self, question: str, *, limit: int, min_score: float) -> list[Passage]:
        """At most `limit` passages that score at least `min_score`, the best first; equal ones as they were added.

        `min_score` 0: whatever has one of the words.
        """
        words = looked_for(question)
        if not words:
            return []
        with self._lock:
            idf = self._idf(words) if self._held else {}
            if not idf:
                return []
            near = self._db.execute(
                "SELECT rowid, bm25(passages) FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT ?",
                (" OR ".join(map(_quoted, _telling(idf, min_score))), CANDIDATES),
            ).fetchall()
            scores = self._scores(idf, [row for row, _ in near])
            least = max(min_score, EVIDENCE / sum(idf.values()))
            ranked = sorted((-round(scores[row], 1), rank, row) for row, rank in near if scores[row] >= least)
            return [self._passage(row, scores[row]) for _, _, row in ranked[:limit]]

    def _idf(self, words: Sequence[str]) -> dict[str, float]:
        """How much each word tells. Of words with one stem, the first stands for all."""
        self._db.execute("DELETE FROM asked")
        self._db.executemany("INSERT INTO asked (rowid, words) VALUES (?, ?)", enumerate(map(spaced, words)))
        stems: dict[int, list[str]] = {}
        for number, stem in self._db.execute("SELECT doc, term FROM asked_stems ORDER BY doc, offset"):
            stems.setdefault(number, []).append(stem)
        passages = sum(len(held.stretches) for held in self._held.values())
        found: dict[tuple[str, ...], tuple[str, float]] = {}
        for number, parts in stems.items():
            if tuple(parts) not in found:
                # A pair of signs is at most as frequent as its rarer one.
                known = [self._db.execute("SELECT doc FROM stems WHERE term = ?", (part,)).fetchone() for part in parts]
                frequency = min(row[0] if row else 0 for row in known)
                found[tuple(parts)] = words[number], math.log((passages + _OTHERS) / (frequency + 1))
        return dict(found.values())

    def _scores(self, idf: dict[str, float], rows: Sequence[int]) -> dict[int, float]:
        scores = dict.fromkeys(rows, 0.0)
        everything = sum(idf.values())
        marks = ", ".join("?" * len(rows))
        for word, weight in idf.items():
            sql = f"SELECT rowid FROM passages WHERE passages MATCH ? AND rowid IN ({marks})"  # noqa: S608 - marks
            for (row,) in self._db.execute(sql, (_quoted(word), *rows)):
                scores[row] += weight / everything
        return scores

    def _passage(self, row: int, score: float) -> Passage:
        place = bisect_right(self._firsts, row, key=lambda each: each[0]) - 1
        held = self._held[self._firsts[place][1]]
        number = row - held.first
        stretch = held.stretches[number]
        written = held.text[stretch.start : stretch.end]
        start = stretch.start + len(written) - len(written.lstrip())
        end = start + len(written.strip())
        near_key = "PRIVATE KEY" in held.text[max(0, start - KEY_AROUND) : end + KEY_AROUND]
        around = KEY_AROUND if near_key else AROUND
        return Passage(
            document=held.id,
            number=number,
            name=held.name,
            heading=stretch.heading,
            text=held.text[start:end],
            score=score,
            before=held.text[max(0, start - around) : start],
            after=held.text[end : end + around],
        )

    def _remove(self, document: str) -> None:
        held = self._held.get(document)
        if held is None:
            return
        # Without its content, FTS5 must be told what it forgets.
        self._write("INSERT INTO passages (passages, rowid, title, text) VALUES ('delete', ?, ?, ?)", held)
        del self._held[document]
        if held.stretches:
            self._firsts.remove((held.first, document))

    def _write(self, sql: str, held: _Held) -> None:
        """Write all of its passages or none; it is registered by what follows."""
        self._db.execute("BEGIN")
        try:
            self._db.executemany(sql, _rows(held))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise


def _telling(idf: dict[str, float], min_score: float) -> list[str]:
    """Words of which a passage must have one to score `min_score`: the others, the most frequent, are not looked up.

    As in MaxScore (Turtle and Flood, "Query evaluation: strategies and optimizations", Information Processing and
    Management 31.6, 1995).
    """
    words = sorted(idf, key=idf.__getitem__)
    least, known = min_score * sum(idf.values()), 0.0
    for place, word in enumerate(words):
        known += idf[word]
        if known >= least:
            return words[place:]
    return words


def _rows(held: _Held) -> Iterable[tuple[int, str, str]]:
    return map(held.row, range(len(held.stretches)))


def _quoted(word: str) -> str:
    """A word, or words in a row, as FTS5's query language has them; `looked_for` lets no quotation mark through."""
    return f'"{spaced(word)}"'
