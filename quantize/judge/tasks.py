"""Two small tasks that anyone would give a model of this size: sort an utterance, and fill in a form. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Sampling, Text

_FILE = Path(__file__).with_name("tasks.json")
_LONGEST_LABEL = 32
_LONGEST_FORM = 160
_FENCE = "```"
_KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "list": (list,),
    "true or false": (bool,),
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """What somebody says, and the label that it should get."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Form:
    """What is to be written as JSON; `fields` must be there, each of its kind."""

    ask: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tasks:
    """`labels` with what each means."""

    labels: Mapping[str, str]
    utterances: Sequence[Utterance]
    forms: Sequence[Form]

    @classmethod
    def load(cls) -> Tasks:
        """Those that come with edge-quantize: ours, written for this."""
        document = json.loads(_FILE.read_text("utf-8"))
        return cls(
            labels=document["labels"],
            utterances=[Utterance(**each) for each in document["utterances"]],
            forms=[Form(**each) for each in document["forms"]],
        )

    def sorting(self, utterance: Utterance) -> Conversation:
        """Asks for the label, held to the labels there are."""
        known = "\n".join(f"- {label}: {meaning}" for label, meaning in self.labels.items())
        asked = (
            "Sort what a person says to an assistant. The intents are:\n"
            f"{known}\n\nAnswer with the intent that fits best, as JSON.\n\nThe person says: {utterance.text}"
        )
        schema = {
            "type": "object",
            "properties": {"intent": {"enum": list(self.labels)}},
            "required": ["intent"],
            "additionalProperties": False,
        }
        return _conversation(asked, _LONGEST_LABEL, ResponseFormat("json_schema", "intent", schema, strict=True))

    def filling(self, form: Form) -> Conversation:
        """Asks for the form; nothing holds the answer to JSON but the model's own will."""
        fields = ", ".join(f'"{name}" ({kind})' for name, kind in form.fields.items())
        return _conversation(
            f"{form.ask}\n\nAnswer with one JSON object and nothing else. Its fields: {fields}.", _LONGEST_FORM
        )


def is_right(utterance: Utterance, answer: str) -> bool:
    """Whether the answer has the right label."""
    document = _parsed(answer)
    return isinstance(document, dict) and document.get("intent") == utterance.label


def is_valid(form: Form, answer: str) -> bool:
    """Whether the answer is a JSON object with all fields, each of its kind. A code fence around it is forgiven."""
    document = _parsed(_unfenced(answer))
    return isinstance(document, dict) and all(_fits(document.get(name), kind) for name, kind in form.fields.items())


def tasks_sha256() -> str:
    """Tells one set of tasks from another."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()


def _conversation(text: str, max_tokens: int, form: ResponseFormat = ResponseFormat()) -> Conversation:  # noqa: B008 - frozen
    message = Message("user", (Text(text),))
    return Conversation((message,), response_format=form, sampling=Sampling(max_tokens=max_tokens, temperature=0.0))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _unfenced(answer: str) -> str:
    text = answer.strip()
    if not (text.startswith(_FENCE) and text.endswith(_FENCE)):
        return text
    first, _, rest = text.removesuffix(_FENCE).partition("\n")
    return rest if first.removeprefix(_FENCE).strip().lower() in {"", "json"} else text


def _fits(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "true or false" or not isinstance(value, bool))
