"""Finding what must not leave: Presidio's analyzer over bounded windows, remembered, failing closed."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, Problem
from edge_agent.models.locks.in_use import Hold
from edge_agent.models.locks.place import Place
from edge_agent.privacy import kinds, names, plain
from edge_agent.privacy.finders import secrets
from edge_agent.privacy.spans import Span, resolve, shifted

SPACY_MODEL = "spacy-en-core-web-sm"
RAMPART_MODEL = "rampart-pii-q4"

WINDOW = 3_000
"""Characters that are analysed at once. Some of Presidio's steps are quadratic; over windows all are linear."""

OVERLAP = 200
"""Characters that two windows share: longer than any value but a private key, which is looked for in the whole."""

REMEMBERED_CHARACTERS = 20_000_000


class Detector:
    """Finds values in text. Blocking (call it in a thread), safe to call from several threads, never online.

    The models are loaded by the first text, or by `warm`, and are in use from then on. Findings are remembered per
    window under a hash, so that text which comes again, in a later turn or at the front of a longer one, costs nothing.
    """

    def __init__(
        self,
        spacy_dir: Path,
        rampart_dir: Path | None,
        *,
        types: frozenset[str] = kinds.DEFAULT_TYPES,
        remembered_characters: int = REMEMBERED_CHARACTERS,
    ) -> None:
        self._folders = (spacy_dir, rampart_dir)
        self._types = types
        self._lock = threading.Lock()
        self._engine: Any = None
        self._held: Sequence[Hold] = ()
        self._remembered: OrderedDict[bytes, tuple[int, tuple[Span, ...]]] = OrderedDict()
        self._room = remembered_characters

    @classmethod
    def on(cls, folder_of: Callable[[str], Path]) -> Detector:
        """A detector on pulled models: `Detector.on(store.path)`. Raises what `folder_of` raises."""
        return cls(folder_of(SPACY_MODEL), folder_of(RAMPART_MODEL))

    def warm(self) -> None:
        """Load everything. Raises Broken where a model's files are bad."""
        self.detect("Warm up.")

    def detect(self, text: str) -> list[Span]:
        """Non-overlapping spans of `text`, in reading order. Raises Problem on any failure, never returns half."""
        try:
            return self._detect(text)
        except Problem:
            raise
        except Exception as error:
            raise privacy_failed("The detector failed.") from error

    def _detect(self, text: str) -> list[Span]:
        if not text or text.isspace():
            return []
        seen = plain.plain(text)
        spans = [Span(start, end, "PRIVATE_KEY", score) for start, end, score in secrets.private_key(seen.text)]
        for start, window in windows(seen.text):
            spans.extend(shifted(self._window(window), start))
        kept = [span for span in names.plausible(spans, seen.text) if span.type in self._types]
        kept.extend(names.repeated(kept, seen.text))
        return seen.original(resolve(_weighed(kept), seen.text))

    def _window(self, window: str) -> tuple[Span, ...]:
        key = hashlib.blake2b(window.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            known = self._remembered.get(key)
            if known is not None:
                self._remembered.move_to_end(key)
                return known[1]
            spans = self._analyze(window)
            self._remembered[key] = (len(window), spans)
            self._room -= len(window)
            while self._room < 0 and self._remembered:
                self._room += self._remembered.popitem(last=False)[1][0]
            return spans

    def _analyze(self, window: str) -> tuple[Span, ...]:
        engine = self._loaded()
        # spaCy keeps every string it has seen; the zone lets go of them.
        with engine.nlp_engine.get_nlp("en").memory_zone():
            results = engine.analyze(window, "en")
            return tuple(Span(result.start, result.end, result.entity_type, result.score) for result in results)

    def _loaded(self) -> Any:
        if self._engine is None:
            self._held = [Place(folder.parent, folder.name).hold() for folder in self._folders if folder is not None]
            try:
                from edge_agent.privacy import presidio  # noqa: PLC0415 (takes seconds)

                self._engine = presidio.build(*self._folders)
            except Exception as error:
                for held in self._held:
                    held.release()
                raise privacy_failed("The detector's models cannot be loaded.") from error
        return self._engine


def privacy_failed(message: str) -> Broken:
    """The problem that stops a request rather than letting it out unmasked."""
    return Broken(
        message,
        code="privacy_failed",
        hint="Nothing was sent. Check the models: edge-agent models verify. Get them: edge-agent models pull --default",
    )


def windows(text: str, size: int = WINDOW, overlap: int = OVERLAP) -> Iterator[tuple[int, str]]:
    """Overlapping windows with their offsets, cut at white space where there is some near."""
    start = 0
    while len(text) - start > size:
        end = _cut(text, start + size - overlap, start + size)
        yield start, text[start:end]
        start = _cut(text, end - overlap, end - overlap // 2)
    yield start, text[start:]


def _cut(text: str, low: int, high: int) -> int:
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, low, high)
        if found >= low:
            return found + len(mark)
    return high


def _weighed(spans: list[Span]) -> list[Span]:
    """Without the indirect ones, unless something direct stands in the same text."""
    if any(span.type in kinds.DIRECT for span in spans):
        return spans
    return [span for span in spans if span.type not in kinds.INDIRECT]
