"""Tells text from tool calls in an answer, as it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import regex

from cloud_bridge.protocol.problems import Broken
from edge_agent.runtimes.chat.answer_format import AnswerFormat


@dataclass(frozen=True, slots=True)
class Outside:
    """Text that is in no call. `end` is how many characters of the answer have been told apart with it."""

    text: str
    end: int


@dataclass(frozen=True, slots=True)
class CallBegins:
    """A call of `name`, whose arguments follow."""

    name: str
    end: int


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of the document of the call that began last."""

    text: str
    end: int


Found = Outside | CallBegins | Arguments


class CallReader:
    """Reads what was written under the grammar of an `AnswerFormat`, which rules most surprises out."""

    def __init__(self, form: AnswerFormat) -> None:
        self._style = form.style
        self._names = form.tools
        self._bare_call = None if form.bare_call is None else regex.compile(form.bare_call)
        self._is_unmarked = False
        self._rest = ""
        self._read = 0
        self._found: list[Found] = []
        self._expected = ""
        self._then: Callable[[], bool] = self._plain
        self._depth = 0
        self._quoted = self._escaped = False
        # A state takes what it can of the rest; False: it needs more.
        self._state: Callable[[], bool] = self._first_state(form)

    def _first_state(self, form: AnswerFormat) -> Callable[[], bool]:
        if form.style is None:
            return self._plain
        if self._bare_call is not None:
            return self._bare
        return self._text if form.free_text else self._first

    def feed(self, text: str) -> list[Found]:
        """What is certain now. Raises Broken code "inference_failed" where the text does not fit its format."""
        self._rest += text
        while self._rest and self._state():
            pass
        found, self._found = self._found, []
        return found

    def end(self) -> list[Found]:
        """The text that was held back, once nothing more can come. The marks of an unfinished call are dropped."""
        if self._rest and self._state in {self._text, self._bare, self._first}:
            self._outside(len(self._rest))
        self._take(len(self._rest))
        found, self._found = self._found, []
        return found

    def _plain(self) -> bool:
        """No call can come any more."""
        self._outside(len(self._rest))
        return False

    def _text(self) -> bool:
        """A call may begin anywhere; blanks before it are no part of the text."""
        trigger = self._trigger
        at = self._rest.find(trigger)
        if at >= 0:
            self._outside(len(self._rest[:at].rstrip()))
            self._take(len(self._rest[: self._rest.find(trigger)]) + len(trigger))
            return self._expect(self._opening, self._name)
        certain = len(self._rest) - _overlap(self._rest, trigger)
        self._outside(len(self._rest[:certain].rstrip()))
        return False

    def _first(self) -> bool:
        """A call may begin here, and nowhere later."""
        trigger = self._trigger
        if self._rest.startswith(trigger):
            self._take(len(trigger))
            return self._expect(self._opening, self._name)
        if trigger.startswith(self._rest):
            return False
        self._state = self._plain
        return True

    def _bare(self) -> bool:
        """The whole answer may be a call without marks."""
        assert self._bare_call is not None  # noqa: S101 - the state is only chosen with it
        begun = self._bare_call.match(self._rest)
        if begun:
            self._is_unmarked = self._trigger != ""
            self._take(begun.end())
            return self._begin(begun[1])
        if self._bare_call.fullmatch(self._rest, partial=True):
            return False
        self._state = self._text if self._trigger else self._plain
        return True

    def _name(self) -> bool:
        middle = "" if self._style is None else self._style.middle
        at = self._rest.find(middle)
        if at < 0:
            return False
        name = self._take(at)
        self._take(len(middle))
        return self._begin(name)

    def _begin(self, name: str) -> bool:
        if name not in self._names:
            raise _unreadable()
        self._found.append(CallBegins(name, self._read))
        self._depth = 0
        self._quoted = self._escaped = False
        self._state = self._arguments
        return True

    def _arguments(self) -> bool:
        if self._is_unmarked and not self._depth:
            self._take(len(self._rest) - len(self._rest.lstrip()))
        size = next((at for at, character in enumerate(self._rest, 1) if self._closes(character)), None)
        text = self._take(len(self._rest) if size is None else size)
        if text:
            self._found.append(Arguments(text, self._read))
        if size is not None and self._is_unmarked:
            self._state = self._swallowed
            return True
        return size is not None and self._expect("" if self._style is None else self._style.end, self._after)

    def _closes(self, character: str) -> bool:
        """Whether the document, an object, is complete with this character."""
        if self._quoted:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._quoted = False
            return False
        self._quoted = character == '"'
        self._depth += (character in "{[") - (character in "}]")
        return self._depth == 0

    def _after(self) -> bool:
        """Another call, or the end of all."""
        assert self._style is not None  # noqa: S101 - there are no calls without a style
        separator, closes = self._style.separator, self._style.closes
        if separator and self._rest.startswith(separator):
            self._take(len(separator))
            return self._expect(self._style.begin, self._name)
        if (separator and separator.startswith(self._rest)) or (closes and closes.startswith(self._rest)):
            # Nothing but the end can follow, and it says nothing.
            return False
        if closes and self._rest.startswith(closes):
            self._take(len(closes))
        self._state = self._closed
        return True

    def _closed(self) -> bool:
        if self._rest.strip():
            raise _unreadable()
        self._take(len(self._rest))
        return False

    def _swallowed(self) -> bool:
        """What closes a call without marks says nothing."""
        self._take(len(self._rest))
        return False

    def _expect(self, text: str, then: Callable[[], bool]) -> bool:
        self._expected, self._then, self._state = text, then, self._fixed
        return True

    def _fixed(self) -> bool:
        size = min(len(self._rest), len(self._expected))
        if self._rest[:size] != self._expected[:size]:
            raise _unreadable()
        self._take(size)
        self._expected = self._expected[size:]
        if not self._expected:
            self._state = self._then
        return not self._expected

    @property
    def _trigger(self) -> str:
        return "" if self._style is None else self._style.trigger

    @property
    def _opening(self) -> str:
        return "" if self._style is None else self._style.opens + self._style.begin

    def _outside(self, size: int) -> None:
        if size:
            text = self._take(size)
            self._found.append(Outside(text, self._read))

    def _take(self, size: int) -> str:
        taken, self._rest = self._rest[:size], self._rest[size:]
        self._read += size
        return taken


def _overlap(text: str, mark: str) -> int:
    """The length of the longest end of `text` that `mark` begins with."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0)


def _unreadable() -> Broken:
    return Broken(
        "The model's answer does not have the form of a tool call.",
        code="inference_failed",
        hint="Send the request again, or leave the tools out.",
    )
