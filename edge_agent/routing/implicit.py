"""Whether a text describes one person, team or organisation without naming them ("the only female judge here").

Masking cannot hide that: there is no value to put a placeholder for. It is scored, so that it can stay on the device.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.conversation import Conversation, Message, Text, ToolCall, ToolResult
from cloud_bridge.protocol.problems import Broken, Problem
from cloud_bridge.protocol.report import ImplicitIdentity, ImplicitPassage
from edge_agent.routing.descriptions import NAMES, Passage, describing, passages
from edge_agent.routing.difficulty import CLIP
from edge_agent.routing.head import Floats, Head, unreadable

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to L2-normalised rows. Blocks."""

BUNDLED = "heads/implicit"

MOST_PASSAGES = 32
AT_ONCE = 8
"""Passages are embedded by eights, those first that look most telling by their words, until eight held a telling one.

So a short text is read whole, and the cost of a document is bounded.
"""

REMEMBERED_TEXTS = 4_096


@dataclass(frozen=True, slots=True)
class Scored:
    """A passage of a text and how likely it is to identify somebody, in [0, 1]."""

    start: int
    end: int
    score: float


class ImplicitScorer:
    """Scores texts by their passages; the highest counts, and from `threshold` on somebody is identified.

    Thread-safe where `embed` is; blocks while it embeds. What was scored is remembered under a hash, so that a turn
    pays only for new text. Raises Broken code "model_file_missing" or "model_unreadable" when built on a bad folder.
    """

    def __init__(self, embed: Embed, head_dir: Path) -> None:
        self._embed = embed
        head = Head.load(head_dir)
        try:
            if tuple(head.parameters["features"]) != NAMES:
                raise unreadable(head_dir.name)
            arrays = head.arrays
            self._embedding, self._features = arrays["embedding_weights"], arrays["feature_weights"]
            self._mean, self._scale = arrays["feature_mean"], arrays["feature_scale"]
            self._bias, self.threshold = float(head.parameters["bias"]), float(head.parameters["threshold"])
        except (LookupError, TypeError, ValueError) as error:
            raise unreadable(head_dir.name) from error
        if not self._features.shape == self._mean.shape == self._scale.shape == (len(NAMES),):
            raise unreadable(head_dir.name)
        if self._embedding.ndim != 1 or not 0 < self.threshold < 1:
            raise unreadable(head_dir.name)
        self._lock = threading.Lock()
        self._remembered: OrderedDict[bytes, tuple[Scored, ...]] = OrderedDict()

    def passages(self, text: str) -> tuple[Scored, ...]:
        """Passages of `text` in which somebody is described, in reading order; of a long text, the most telling."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            known = self._remembered.get(key)
            if known is not None:
                self._remembered.move_to_end(key)
                return known
        found = self._scored(text)
        with self._lock:
            self._remembered[key] = found
            while len(self._remembered) > REMEMBERED_TEXTS:
                self._remembered.popitem(last=False)
        return found

    def score(self, text: str) -> float:
        """The score of the most telling passage; 0 where nobody is described."""
        return max((passage.score for passage in self.passages(text)), default=0.0)

    def assess(self, conversation: Conversation) -> ImplicitIdentity:
        """The same for all that the messages of a conversation say, with where the telling passages are.

        Raises Problem on any failure, never returns half.
        """
        try:
            return self._assess(conversation)
        except Problem:
            raise
        except Exception as error:
            raise Broken(
                "The check for people who are described without a name failed.",
                code="privacy_failed",
                hint="Nothing was sent. Check the installation: edge-agent doctor",
            ) from error

    def _assess(self, conversation: Conversation) -> ImplicitIdentity:
        best, telling = 0.0, []
        for number, message in enumerate(conversation.messages):
            for stretch in _stretches(message):
                for passage in self.passages(stretch.text):
                    best = max(best, passage.score)
                    if passage.score >= self.threshold:
                        part, begin = stretch.part_at(passage.start)
                        where = (number, part, passage.start - begin, passage.end - begin)
                        telling.append(ImplicitPassage(*where, passage.score))
        return ImplicitIdentity(best, self.threshold, tuple(telling))

    def _scored(self, text: str) -> tuple[Scored, ...]:
        found = list(_described(text))
        if not found:
            return ()
        scaled = np.clip((np.array([numbers for _, numbers in found]) - self._mean) / self._scale, -CLIP, CLIP)
        by_words: Floats = scaled @ self._features
        order = np.argsort(-by_words, kind="stable")[:MOST_PASSAGES]
        scored: list[Scored] = []
        for start in range(0, len(order), AT_ONCE):
            chosen = order[start : start + AT_ONCE]
            logits = self._embed([found[place][0].text for place in chosen]) @ self._embedding + by_words[chosen]
            for place, logit in zip(chosen, logits, strict=True):
                passage = found[place][0]
                scored.append(Scored(passage.start, passage.end, _sigmoid(float(logit) + self._bias)))
            if any(passage.score >= self.threshold for passage in scored):
                break
        return tuple(sorted(scored, key=lambda passage: passage.start))


def _described(text: str) -> Iterator[tuple[Passage, NDArray[np.float64]]]:
    for passage in passages(text):
        numbers = describing(passage.text)
        if numbers is not None:
            yield passage, numbers


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Text of one message that is read as one: `begins` are the numbers of its parts, and where each begins in it."""

    text: str
    begins: tuple[tuple[int, int], ...]

    def part_at(self, place: int) -> tuple[int, int]:
        return next(each for each in reversed(self.begins) if each[1] <= place)


def _stretches(message: Message) -> Iterator[_Stretch]:
    """What was said, asked of tools and answered by them. Parts of text in a row are one text, cut anywhere."""
    text, begins = "", []
    for number, part in enumerate(message.parts):
        match part:
            case Text():
                begins.append((number, len(text)))
                text += part.text
            case ToolCall():
                yield _Stretch(part.arguments, ((number, 0),))
            case ToolResult():
                yield _Stretch(part.content, ((number, 0),))
    if begins:
        yield _Stretch(text, tuple(begins))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))
