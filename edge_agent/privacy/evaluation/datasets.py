"""Public data sets of text with the values that must be hidden, as they lie on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cloud_bridge.protocol.problems import InvalidRequest, NotFound

JUDGMENTS = Path("tab/tab_gold_dev.jsonl")
SENTENCES = Path("presidio_research/synth_dataset_v2.even.json")
PROMPTS = Path("llm_redactor/wl1_pii.dev.jsonl")
IMPLICIT = Path("llm_redactor/wl3_implicit.dev.jsonl")

Range = tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Judgment:
    """A court's judgment (Text Anonymization Benchmark): what must be hidden in it, and all entities there are."""

    text: str
    mask_spans: tuple[Range, ...]
    entity_spans: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Gold:
    """Characters `start` to `end` of a text are a value of `type`, says a person or a generator."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and the values in it."""

    text: str
    spans: tuple[Gold, ...]


def judgments(data: Path) -> list[Judgment]:
    """The dev part of the Text Anonymization Benchmark. Raises NotFound, InvalidRequest code "bad_data"."""

    def judgment(row: dict[str, Any]) -> Judgment:
        text = str(row["text"])
        return Judgment(text, _ranges(row["mask_spans"], text), _ranges(row["all_entity_spans"], text))

    return _read(data / JUDGMENTS, _lines, judgment)


def sentences(data: Path) -> list[Labelled]:
    """Half of presidio-research's synthetic set. Raises as `judgments`."""

    def sentence(row: dict[str, Any]) -> Labelled:
        spans = row["spans"]
        return _labelled(
            row["full_text"], ((one["start_position"], one["end_position"], one["entity_type"]) for one in spans)
        )

    return _read(data / SENTENCES, json.loads, sentence)


def prompts(data: Path) -> list[Labelled]:
    """Prompts with explicit values (llm-redactor, workload 1). Raises as `judgments`."""
    return _read(data / PROMPTS, _lines, _annotated)


def implicit(data: Path) -> list[Labelled]:
    """Prompts that identify somebody without a name (llm-redactor, workload 3). Raises as `judgments`."""
    return _read(data / IMPLICIT, _lines, _annotated)


def _annotated(row: dict[str, Any]) -> Labelled:
    return _labelled(row["text"], ((one["start"], one["end"], one["kind"]) for one in row["annotations"]))


def _labelled(text: str, spans: Iterable[tuple[int, int, str]]) -> Labelled:
    listed = list(spans)
    ranges = _ranges([(start, end) for start, end, _ in listed], text)
    return Labelled(text, tuple(Gold(*place, one[2]) for place, one in zip(ranges, listed, strict=True)))


def _ranges(spans: Iterable[Iterable[int]], text: str) -> tuple[Range, ...]:
    found = []
    for start, end in spans:
        if not (type(start) is int and type(end) is int and 0 <= start < end <= len(text)):
            raise ValueError("a span that is not in its text")
        found.append((start, end))
    return tuple(found)


def _lines(source: str) -> Iterable[Any]:
    return (json.loads(line) for line in source.split("\n") if line.strip())


def _read(path: Path, rows_of: Callable[[str], Iterable[Any]], read: Callable[[Any], T]) -> list[T]:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise NotFound(
            f"{path} is not there.",
            code="data_not_found",
            hint="Give --data the folder that holds the data sets, or name with --only what is there.",
        ) from error
    rows: list[T] = []
    try:
        for row in rows_of(source.decode()):
            rows.append(read(row))  # noqa: PERF401 - how many there are says which row is bad
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest(
            f"{path} is not as expected from its row {len(rows) + 1} on.",
            code="bad_data",
            hint="Get the file again, unchanged, from its source.",
        ) from error
    if not rows:
        raise InvalidRequest(f"{path} is empty.", code="bad_data", hint="Get the file again, from its source.")
    return rows
