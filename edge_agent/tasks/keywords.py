"""What a text is about, in its own words, by counting: no model, and time linear in the text.

Candidates are the runs of words between function words and punctuation, as in RAKE (Rose, Engel, Cramer and Cowley,
"Automatic keyword extraction from individual documents", in Text Mining: Applications and Theory, 2010). RAKE's score
favours long runs that occur once; this weighs what recurs, early and in capitals, after YAKE (Campos et al.,
"YAKE! Keyword extraction from single documents using multiple local features", Information Sciences 509, 2020):

    word     w = log2(1 + sentences with it) * (1 + log2(occurrences)) * (1 + capital share) * early
    phrase   (1 + log2(occurrences)) * its words' w * (1 + (words - 1) / 4), of the mean w

`early` falls from 1.5 for the text's first sentence to 1 for its last. A phrase that occurs once, and is no name, may
be one by chance: it counts as its least word does. A phrase is dropped where better ones have said its words.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from edge_agent.function_words import function_words

LONGEST = 4
"""Words of a phrase."""

# Words with their apostrophes and hyphens, or the end of a phrase.
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019.&+\-][^\W_]+)*[+#]*|[.!?\u2026\u3002\uff01\uff1f]+(?=\s|$)|\n\s*\n|\S")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\n]")
_LONGEST_WORD = 60


@dataclass(frozen=True, slots=True)
class Keyword:
    """A phrase as the text spells it most often; `score` from 0 to 1, higher for what says more of the text."""

    text: str
    score: float


@dataclass(slots=True)
class _Word:
    occurrences: int = 0
    capitals: int = 0
    sentences: int = 0
    last_sentence: int = -1
    first_sentence: int = 0


@dataclass(slots=True)
class _Phrase:
    words: tuple[str, ...]
    first: int
    spellings: Counter[str] = field(default_factory=Counter)
    is_whole: bool = False

    @property
    def occurrences(self) -> int:
        return self.spellings.total()


def keywords(text: str, count: int) -> list[Keyword]:
    """The `count` phrases, or fewer, that say most of what `text` is about, the most telling first."""
    seen = _read(text)
    weights = {stem: _weight(word, seen.sentences) for stem, word in seen.words.items()}
    ranked = sorted(
        ((_phrase_weight(phrase, weights, seen), phrase) for phrase in _candidates(seen)),
        key=lambda found: (-found[0], -len(found[1].words), found[1].first),
    )
    return [
        Keyword(phrase.spellings.most_common(1)[0][0], round(weight / (1 + weight), 4))
        for weight, phrase in _without_twins(ranked, count, seen)
    ]


@dataclass(slots=True)
class _Read:
    """A text's words and phrases, under their stems."""

    words: dict[str, _Word] = field(default_factory=lambda: defaultdict(_Word))
    phrases: dict[tuple[str, ...], _Phrase] = field(default_factory=dict)
    sentences: int = 1

    def take(self, run: Sequence[tuple[str, str]], sentence: int, *, opens: bool) -> None:
        """A run of content words, as (stem, spelling) pairs. `opens`: it begins its sentence, as a capital does."""
        for place, (stem, spelling) in enumerate(run):
            word = self.words[stem]
            if not word.occurrences:
                word.first_sentence = sentence
            word.occurrences += 1
            word.capitals += spelling[0].isupper() and not (opens and place == 0)
            word.sentences += word.last_sentence != sentence
            word.last_sentence = sentence
        for size in range(1, min(LONGEST, len(run)) + 1):
            for start in range(len(run) - size + 1):
                self._candidate(run[start : start + size], is_whole=size == len(run))
        for name in _names(run[opens:]):
            self.phrases[tuple(stem for stem, _ in name)].is_whole = True

    def _candidate(self, run: Sequence[tuple[str, str]], *, is_whole: bool) -> None:
        stems = tuple(stem for stem, _ in run)
        phrase = self.phrases.setdefault(stems, _Phrase(stems, len(self.phrases)))
        phrase.spellings[" ".join(spelling for _, spelling in run)] += 1
        phrase.is_whole |= is_whole

    def holds_together(self, phrase: _Phrase) -> bool:
        """Whether its words belong together: it recurs, or is a name in a text that does not shout."""
        is_name = phrase.is_whole and all(self.words[stem].capitals for stem in phrase.words)
        return phrase.occurrences > 1 or is_name


def _read(text: str) -> _Read:
    stop = function_words(text)
    found = _Read()
    sentence, run, is_first, opens = 0, list[tuple[str, str]](), True, False
    for token in _tokens(text):
        lower = token.lower().replace("\u2019", "'")
        if _is_content(lower, stop):
            if not run:
                opens = is_first
            run.append((stem(lower), token))
            is_first = False
            continue
        if run:
            found.take(run, sentence, opens=opens)
            run = []
        if _SENTENCE_END.match(token):
            sentence, is_first = sentence + (not is_first), True
        elif token[0].isalnum():
            is_first = False
    if run:
        found.take(run, sentence, opens=opens)
    found.sentences = sentence + 1
    return found


def _names(run: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    """The longest parts of `run` in capitals that a phrase can hold."""
    for is_name, part in groupby(run, key=lambda word: word[1][0].isupper()):
        if is_name and len(name := list(part)) <= LONGEST:
            yield name


def _tokens(text: str) -> Iterator[str]:
    # One form for characters that look the same; compatibility forms stay, so that keywords are the text's own words.
    return (match.group() for match in _TOKEN.finditer(unicodedata.normalize("NFC", text)))


def _is_content(word: str, stop: frozenset[str]) -> bool:
    """A word that a keyword may hold: no function word, no number, no single Latin letter."""
    if word in stop or len(word) > _LONGEST_WORD or not any(map(str.isalpha, word)):
        return False
    return len(word) > 1 or not word.isascii()


def stem(word: str) -> str:
    """`word`, in lower case, without what its number adds in English: "cards" and "card" have one stem.

    After Harman's S stemmer (How effective is suffixing?, JASIS 42, 1991).
    """
    word = word.removesuffix("'s").removesuffix("'")
    if word.endswith("ies") and len(word) > 4 and word[-4] not in "ae":
        return word[:-3] + "y"
    if word.endswith("es") and len(word) > 4 and word.endswith(("ses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and len(word) > 3 and word[-2] not in "usi":
        return word[:-1]
    return word


def _weight(word: _Word, sentences: int) -> float:
    spread = math.log2(1 + word.sentences)
    capital = 1 + word.capitals / word.occurrences
    early = 1.5 - 0.5 * word.first_sentence / sentences
    return spread * (1 + math.log2(word.occurrences)) * capital * early


def _phrase_weight(phrase: _Phrase, weights: dict[str, float], seen: _Read) -> float:
    of_words = [weights[stem] for stem in phrase.words]
    held = seen.holds_together(phrase)
    one = math.fsum(of_words) / len(of_words) if held else min(of_words)
    length = 1 + (len(of_words) - 1) / 4 if held else 1.0
    return (1 + math.log2(phrase.occurrences)) * one * length / 4


def _candidates(seen: _Read) -> Iterator[_Phrase]:
    """Words, whole runs, and parts of runs that recur: none of them a mere part of one that occurs as often."""
    parts: set[tuple[str, ...]] = set()
    for stems, phrase in seen.phrases.items():
        if len(stems) > 1 and seen.holds_together(phrase):
            inner = [stems[start:end] for start in range(len(stems)) for end in range(start + 1, len(stems) + 1)]
            parts |= {part for part in inner if part != stems and seen.phrases[part].occurrences == phrase.occurrences}
    for stems, phrase in seen.phrases.items():
        if stems not in parts and (len(stems) == 1 or phrase.is_whole or phrase.occurrences > 1):
            yield phrase


def _without_twins(ranked: Iterable[tuple[float, _Phrase]], count: int, seen: _Read) -> Iterator[tuple[float, _Phrase]]:
    """The best. One that occurs once must be new in every word, others in one."""
    said: set[str] = set()
    taken = 0
    for weight, phrase in ranked:
        if taken == count:
            return
        is_new = not said.issuperset(phrase.words) if seen.holds_together(phrase) else said.isdisjoint(phrase.words)
        if is_new:
            said.update(phrase.words)
            taken += 1
            yield weight, phrase
