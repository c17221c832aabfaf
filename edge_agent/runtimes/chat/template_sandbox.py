"""Where a chat template runs: Jinja's own sandbox, and bounds on what one expression may make.

A template of unknown origin may reach only for what it was given, and cannot fill the memory. It can still loop
without end; the worker process ends itself then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from jinja2 import Environment, nodes, pass_environment
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARS = 16 * 1024 * 1024
_MAX_REPEATED = 1_000_000
_MAX_POWER_OF = 1000
_MAX_EXPONENT = 64

# They pad, pick or repeat by numbers of the template's choice, or reach for attributes by name; no known template
# of a model needs them.
_NO_FILTERS = ("attr", "batch", "center", "filesizeformat", "format", "groupby", "pprint", "random", "slice", "sum")
_NO_METHODS = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill"})
_NO_GLOBALS = ("lipsum", "cycler", "joiner")


class _Generator(CodeGenerator):
    """Sends `~` through the environment, which Jinja does for the other operators only."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        """Write a call of `Sandbox.joined`."""
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


def _bounded(parts: Iterable[str]) -> str:
    """The parts together. Raises SecurityError before they fill the memory."""
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_CHARS:
            raise SecurityError("the template writes without end")
        kept.append(part)
    return "".join(kept)


class Sandbox(ImmutableSandboxedEnvironment):
    """No attributes with underscores, nothing mutable, and no small expression that makes a huge value."""

    code_generator_class = _Generator
    concat = staticmethod(_bounded)
    intercepted_binops = frozenset(["*", "**", "+", "%"])

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        for name in _NO_FILTERS:
            del self.filters[name]
        for name in _NO_GLOBALS:
            del self.globals[name]
        self.filters.update(tojson=_to_json, indent=_indent, replace=_replace, join=_join)
        self.filters = {name: _checked(changed) for name, changed in self.filters.items()}

    def joined(self, parts: Iterable[Any]) -> str:
        """What `~` gives."""
        return _bounded(map(str, parts))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Reckon, unless the result could not be meant."""
        sizes = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        counts = [value for value in (left, right) if isinstance(value, int)]
        if operator == "*" and sizes and counts and sizes[0] * counts[0] > _MAX_REPEATED:
            raise SecurityError("a repetition is too long")
        if operator == "**" and not (_is_up_to(left, _MAX_POWER_OF) and _is_up_to(right, _MAX_EXPONENT)):
            raise SecurityError("a power is too large")
        if operator == "+" and sum(sizes) > MAX_CHARS:
            raise SecurityError("a text is too long")
        if operator == "%" and isinstance(left, str):
            raise SecurityError("a text is formatted")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call what the sandbox allows, unless it could make a huge text."""
        owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
        if isinstance(owner, str):
            if name in _NO_METHODS:
                raise SecurityError("a text is padded or formatted")
            if name == "replace" and len(args) > 1:
                _check_replacement(owner, *args[:2])
        return _of_a_size(super().call(context, called, *args, **kwargs))

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Where the sandbox would print nothing, stop: an honest template never gets here."""
        raise SecurityError(f"access to {attribute!r} of a {type(obj).__name__}")


def _of_a_size(value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > MAX_CHARS:
        raise SecurityError("a value is too large")
    return value


def _checked(changed: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(changed)
    def checked(*args: Any, **kwargs: Any) -> Any:
        return _of_a_size(changed(*args, **kwargs))

    return checked


def _is_up_to(value: Any, most: int) -> bool:
    return isinstance(value, int | float) and abs(value) <= most


def _check_replacement(text: str, old: Any, new: Any) -> None:
    if text.count(str(old)) * len(str(new)) > MAX_CHARS:
        raise SecurityError("a replacement is too long")


@pass_environment
def _join(environment: Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """Jinja's own, bounded."""
    items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    return _bounded(part for index, item in enumerate(items) for part in ((d, str(item)) if index else (str(item),)))


def _replace(text: object, old: str, new: str, count: int = -1) -> str:
    _check_replacement(str(text), old, new)
    return str(text).replace(old, new, count)


def _indent(text: object, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja's own, with a width that can be meant."""
    pad = width if isinstance(width, str) else " " * min(width, 100)
    lines = str(text).splitlines()
    if (len(pad) + 1) * len(lines) > MAX_CHARS:
        raise SecurityError("an indentation is too long")
    head, rest = lines[:1], lines[1:]
    padded = [pad + line if line or blank else line for line in rest]
    return "\n".join([*(pad + line if first else line for line in head), *padded])


def _to_json(
    value: object,
    indent: int | None = None,
    ensure_ascii: bool = False,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as published templates expect it: not escaped for web pages."""
    width = None if indent is None else min(indent, 16)
    return json.dumps(
        _plain(value), ensure_ascii=ensure_ascii, indent=width, separators=separators, sort_keys=sort_keys
    )


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) and not isinstance(value, dict) else value
