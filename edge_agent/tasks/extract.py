"""A summary in the text's own sentences, by counting: what is given where no model can write one.

After SumBasic (Nenkova and Vanderwende, The Impact of Frequency on Summarization, MSR-TR-2005-101): again and again the
sentence whose content words are the most frequent on average is taken, and the words in it then count by the square of
their share, so that the next one says something else.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

from edge_agent.function_words import function_words
from edge_agent.tasks.keywords import stem
from edge_agent.tasks.pieces import sentences

MOST_SENTENCES = 2_000
"""Sentences that are looked at; a longer text is judged by every second, third ... of its sentences."""

_JUDGED_WORDS = 60
_LEAST_SHARE = 0.15

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Extract:
    """Sentences in the text's order, and the share of all its content words that are among theirs."""

    sentences: tuple[str, ...]
    coverage: float


def extract(text: str, max_words: int) -> Extract:
    """The sentences that say most, of at most `max_words` words together; at least one, cut where it must be."""
    found = list(sentences(text))
    found = found[:: math.ceil(len(found) / MOST_SENTENCES) or 1]
    stop = function_words(text)
    contents = [[stem(word) for word in _words(sentence) if word not in stop] for sentence in found]
    counts = Counter(word for content in contents for word in content)
    chosen = _chosen(found, contents, counts, max_words)
    said = {word for place in chosen for word in contents[place]}
    coverage = sum(counts[word] for word in said) / max(1, counts.total())
    if not chosen:
        return Extract((shortened(text, max_words),), coverage)
    return Extract(tuple(found[place] for place in sorted(chosen)), coverage)


def says_enough(text: str, summary: str, max_words: int) -> bool:
    """Whether `summary` can be one of `text`: it says at least a part of what the text's own sentences would.

    What a model writes that was talked into something else, or went astray, hardly shares a word with the text.
    """
    best = extract(text, min(max_words, _JUDGED_WORDS)).coverage
    stop = function_words(text)
    counts = Counter(stem(word) for word in _words(text) if word not in stop)
    said = sum(counts[word] for word in {stem(word) for word in _words(summary)})
    return said >= _LEAST_SHARE * best * counts.total()


def shortened(text: str, max_words: int) -> str:
    """`text` cut to `max_words` words: behind its last whole sentence within them where there is one."""
    words = list(re.finditer(r"\S+", text))
    if len(words) <= max_words:
        return text.strip()
    kept = text[: words[max_words - 1].end()]
    whole = [match.end() for match in re.finditer(r"[.!?\u2026]['\")\]]*(?=\s|$)", kept)]
    return kept[: whole[-1]].strip() if whole else kept.rstrip(" ,;:-") + "\u2026"


def _chosen(found: list[str], contents: list[list[str]], counts: Counter[str], max_words: int) -> list[int]:
    """Places of the sentences taken, the best first."""
    share = {word: number / counts.total() for word, number in counts.items()}
    room, chosen = max_words, list[int]()
    left = {place for place, content in enumerate(contents) if content}
    while left:
        left = {place for place in left if len(found[place].split()) <= room}
        if not left:
            break
        best = max(
            left, key=lambda place: (math.fsum(share[w] for w in contents[place]) / len(contents[place]), -place)
        )
        left.discard(best)
        chosen.append(best)
        room -= len(found[best].split())
        for word in set(contents[best]):
            share[word] **= 2
    return chosen


def _words(sentence: str) -> list[str]:
    return [match.group().lower() for match in _WORD.finditer(sentence)]
