"""The Rampart token classifier on onnxruntime: names, addresses and numbers of people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import tokenizers

from edge_agent.privacy.spans import Span

MAX_TOKENS = 254
"""A window's size. The model takes 512, but attention grows with the square and short windows cost least."""

OVERLAP = 32
"""Tokens that two windows share, so that no value is only ever seen cut."""

TYPES = {
    "GIVEN_NAME": "PERSON",
    "SURNAME": "PERSON",
    "EMAIL": "EMAIL_ADDRESS",
    "PHONE": "PHONE_NUMBER",
    "TAX_ID": "TAX_ID",
    "BANK_ACCOUNT": "BANK_ACCOUNT",
    "ROUTING_NUMBER": "ROUTING_NUMBER",
    "GOVERNMENT_ID": "GOVERNMENT_ID",
    "PASSPORT": "PASSPORT",
    "DRIVERS_LICENSE": "DRIVER_LICENSE",
    "BUILDING_NUMBER": "ADDRESS",
    "STREET_NAME": "ADDRESS",
    "SECONDARY_ADDRESS": "ADDRESS",
    "CITY": "LOCATION",
    "STATE": "LOCATION",
    "ZIP_CODE": "LOCATION",
}
"""The model's labels to our types. Its URLs are left to the patterns."""


class _Token(NamedTuple):
    start: int
    end: int
    label: str
    score: float


class Rampart:
    """The loaded model. Blocking; safe to call from several threads."""

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        labels = json.loads((folder / "config.json").read_text())["id2label"]
        self._labels = [labels[str(index)] for index in range(len(labels))]
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._edges = (self._tokenizer.token_to_id("[CLS]"), self._tokenizer.token_to_id("[SEP]"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning threads halve the speed where a language model keeps the cores busy.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(
            str(next(folder.rglob("*.onnx"))), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {value.name for value in self._session.get_inputs()}

    def find(self, text: str, *, threshold: float = 0.5) -> list[Span]:
        """Spans of `text` whose mean probability over their tokens is at least `threshold`."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids, offsets, words = encoding.ids, encoding.offsets, encoding.word_ids
        spans: list[Span] = []
        for start, end in windows(words):
            tokens = self._classify(ids[start:end], offsets[start:end])
            spans.extend(span for span in decode(tokens, text) if span.score >= threshold)
        return spans

    def _classify(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[_Token]:
        row = np.array([[self._edges[0], *ids, self._edges[1]]], dtype=np.int64)
        feed = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        logits = self._session.run(None, {name: feed[name] for name in self._inputs})[0][0, 1:-1]
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = odds / odds.sum(axis=-1, keepdims=True)
        best = probabilities.argmax(axis=-1)
        return [
            _Token(start, end, self._labels[label], float(probabilities[index, label]))
            for index, ((start, end), label) in enumerate(zip(offsets, best.tolist(), strict=True))
            if end > start
        ]


def windows(words: Sequence[int | None], size: int = MAX_TOKENS, overlap: int = OVERLAP) -> Iterator[tuple[int, int]]:
    """Overlapping token ranges that cover all tokens; none starts inside a word that fits the overlap."""
    start, count = 0, len(words)
    while start < count:
        end = min(start + size, count)
        yield start, end
        if end == count:
            return
        following = end - overlap
        while following > start + 1 and words[following] == words[following - 1]:
            following -= 1
        start = following


def decode(tokens: Iterable[_Token], text: str) -> Iterator[Span]:
    """BIO labels to spans. A word is whole or not at all: a label on its first piece speaks for the word.

    Pieces of one name or one address stand side by side and become one span.
    """
    group: list[_Token] = []
    kind = ""
    for token in tokens:
        found = TYPES.get(token.label[2:], "")
        if group and token.start == group[-1].end and text[token.start].isalnum() and text[token.start - 1].isalnum():
            group.append(token)  # the rest of a word that has begun
        elif group and found == kind and _adjoins(kind, text[group[-1].end : token.start], token.label):
            group.append(token)
        else:
            if group:
                yield _span(group, kind)
            group, kind = ([token], found) if found else ([], "")
    if group:
        yield _span(group, kind)


def _adjoins(kind: str, gap: str, label: str) -> bool:
    if label.startswith("I-") or kind in {"PERSON", "ADDRESS"}:
        return len(gap) <= 2 and not gap.strip(" \t,")
    return gap == "" or (kind == "LOCATION" and len(gap) <= 2 and not gap.strip(" ,"))


def _span(group: Sequence[_Token], kind: str) -> Span:
    scores = [token.score for token in group if TYPES.get(token.label[2:], "") == kind]
    return Span(group[0].start, group[-1].end, kind, min(0.94, sum(scores) / len(scores)))
