"""The words by which a question finds passages: those that say what it is about."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from edge_agent.function_words import function_words

MOST_WORDS = 64
"""Words of a question that are looked for. Of a longer text its first and its last are: there people ask."""

# How people ask, which says nothing of what about.
_ASKING = frozenset(
    {
        *("answer", "check", "describe", "explain", "find", "hello", "help", "hi", "know", "list", "look", "mean"),
        *("need", "please", "question", "remember", "remind", "show", "suggest", "summarize", "summary", "tell"),
        *("thank", "thanks", "write"),
    }
)
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_APOSTROPHE = re.compile("['\u2019]")
_HIRAGANA = re.compile("[\u3040-\u309f ]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]")


def spaced(text: str) -> str:
    """`text` as it is indexed: ligatures and wide letters as plain ones, the signs of Chinese and Japanese apart."""
    whole = text.encode("utf-8", "replace").decode()  # SQLite takes no half of a surrogate pair
    return _UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFKC", whole))


def looked_for(text: str) -> tuple[str, ...]:
    """The question's words, each once, without those that hold any sentence together; in what is written without
    spaces, its pairs of signs ("a b"). Lower case; letters, digits and single spaces only.
    """
    stop = function_words(text) | _ASKING
    found: dict[str, None] = {}
    for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
        lower = word.lower()
        if lower in stop:
            continue
        if _UNSPACED.search(lower):
            found.update(dict.fromkeys(_pairs(lower)))
            continue
        # "grandma's", "l'eau"
        longest = max(_APOSTROPHE.split(lower), key=len)
        if longest not in stop:
            found[longest] = None
    words = tuple(found)
    return words if len(words) <= MOST_WORDS else (*words[: MOST_WORDS // 2], *words[-MOST_WORDS // 2 :])


def _pairs(run: str) -> list[str]:
    """Without those that are endings and particles only, written in hiragana."""
    signs = spaced(run).split()
    pairs = [" ".join(pair) for pair in pairwise(signs)] or signs
    return [pair for pair in pairs if not _HIRAGANA.fullmatch(pair)] or pairs
