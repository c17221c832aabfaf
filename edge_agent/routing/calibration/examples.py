"""Labelled examples, as `edge-agent calibrate` reads them: one JSON object a line.

    {"messages": [...], "answer": ...}   a request as for chat, and the right answer: a text, a number or a document
    {"text": "...", "label": "..."}      a text, and the label that is right for it

The first kind may hold what a chat request holds besides (`response_format`, `tools`, `max_tokens` ...).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Sampling, Text
from cloud_bridge.protocol.openai_chat_request import decode_request
from cloud_bridge.protocol.problems import InvalidRequest, NotFound, Problem
from edge_agent.routing.calibration.single_value import allows_one

MOST_LABELS = 64
"""That a language model can be offered at once."""

_HINT = 'Each line is {"messages": [...], "answer": ...} or {"text": "...", "label": "..."}.'


@dataclass(frozen=True, slots=True)
class Question:
    """A request, in line `line` of its file, and its right answer."""

    line: int
    conversation: Conversation
    expected: Any


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, in line `line` of its file, and its right label."""

    line: int
    text: str
    label: str


AnExample = TypeVar("AnExample", Question, Labelled)


def read(path: Path, tell: Callable[[str], None] = lambda _: None) -> list[Question] | list[Labelled]:
    """The examples of a file, all of one kind, each once: `tell` hears what was left out. Empty lines are skipped.

    Raises NotFound code "data_not_found", InvalidRequest code "bad_line" that names the line, or "one_label".
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise NotFound(
            f"{path} is not there.", code="data_not_found", hint="Give --data a file of examples."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is no text in UTF-8.", code="bad_data", hint=_HINT, param="data") from error
    found = [_example(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    questions = [each for each in found if isinstance(each, Question)]
    labelled = [each for each in found if isinstance(each, Labelled)]
    if questions and labelled:
        first = max(questions[0].line, labelled[0].line)
        raise bad_line(
            first, "is of another kind than those before it", hint="Calibrate each kind by a file of its own."
        )
    if len({each.label for each in labelled}) == 1:
        raise InvalidRequest(
            "All examples have one label, so that no answer could be wrong.",
            code="one_label",
            hint="Give examples of at least two labels, as in real use.",
            param="data",
        )
    once: list[Question] | list[Labelled] = _each_once(questions) if questions else _each_once(labelled)
    if len(once) < len(found):
        tell(f"{len(found) - len(once)} examples that repeat others were left out.")
    return once


def offered(example: Labelled, labels: Sequence[str]) -> Conversation:
    """What a language model is asked, to choose one of `labels`. The answer is held to them."""
    known = "\n".join(f"- {label}" for label in labels)
    instruction = (
        f"Choose the label that fits the text. The labels are:\n{known}\nAnswer with the label alone, as JSON."
    )
    schema = {
        "type": "object",
        "properties": {"label": {"enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    return Conversation(
        (Message("system", (Text(instruction),)), Message("user", (Text(example.text),))),
        response_format=ResponseFormat("json_schema", "label", schema, strict=True),
        sampling=Sampling(temperature=0.0),
    )


def bad_line(number: int, what: str, *, hint: str = _HINT) -> InvalidRequest:
    """The problem with line `number`."""
    return InvalidRequest(f"Line {number} {what}.", code="bad_line", hint=hint, param="data")


def _each_once(examples: Sequence[AnExample]) -> list[AnExample]:
    """Without those asked before: again, they are no evidence. Raises InvalidRequest code "bad_line"."""
    first: dict[str, AnExample] = {}
    for example in examples:
        before = first.setdefault(_asked(example), example)
        if _right(example) != _right(before):
            raise bad_line(
                example.line, f"has another answer than line {before.line}, which asks the same", hint="Leave one out."
            )
    return list(first.values())


def _asked(example: Question | Labelled) -> str:
    if isinstance(example, Labelled):
        return " ".join(example.text.split())
    asked = example.conversation
    return repr((asked.messages, asked.response_format, asked.tools))


def _right(example: Question | Labelled) -> str:
    return example.label if isinstance(example, Labelled) else json.dumps(example.expected, sort_keys=True)


def _example(number: int, line: str) -> Question | Labelled:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise bad_line(number, "is no JSON") from error
    if not isinstance(document, dict):
        raise bad_line(number, "is no JSON object")
    if document.keys() >= {"messages", "answer"}:
        return _question(number, document)
    if document.keys() >= {"text", "label"}:
        return _labelled(number, document)
    raise bad_line(number, 'has neither "messages" and "answer" nor "text" and "label"')


def _question(number: int, document: dict[str, Any]) -> Question:
    expected = document.pop("answer")
    if expected is None or (isinstance(expected, str) and not expected.strip()):
        raise bad_line(number, "has an empty answer")
    try:
        conversation = decode_request(document).conversation
    except Problem as problem:
        raise bad_line(number, f"is no request: {problem.message.rstrip('.')}", hint=problem.hint or _HINT) from problem
    if conversation.response_format.schema is not None and allows_one(conversation.response_format.schema):
        raise bad_line(
            number,
            "has a format that allows one answer only, so that no answer could be wrong",
            hint="Let its response_format allow every answer that is possible in real use.",
        )
    asked = conversation.sampling
    # As it is served, and yet the same each time.
    sampling = replace(asked, n=1, seed=number if asked.seed is None else asked.seed)
    return Question(number, replace(conversation, sampling=sampling), expected)


def _labelled(number: int, document: dict[str, Any]) -> Labelled:
    text, label = document["text"], document["label"]
    if not (isinstance(text, str) and text.strip() and isinstance(label, str) and label.strip()):
        raise bad_line(number, "has a text or a label that is empty, or no string")
    return Labelled(number, text, label.strip())
