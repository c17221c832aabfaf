"""The chat template that a model file carries: untrusted code, so it runs in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.problems import Broken, InvalidRequest

MAX_TEMPLATE_CHARS = 256 * 1024
MAX_PROMPT_CHARS = 16 * 1024 * 1024
_MAX_REPEATED = 1_000_000
_MAX_POWER_OF = 1000
_MAX_EXPONENT = 64

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class _TemplateComplaint(TemplateError):
    """The template itself refused the conversation."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """No attributes with underscores, nothing mutable, and no small expression that makes a huge value."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, unless the result could not be meant."""
        sizes = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        counts = [value for value in (left, right) if isinstance(value, int)]
        if operator == "*" and sizes and counts and sizes[0] * counts[0] > _MAX_REPEATED:
            raise SecurityError("a repetition is too long")
        if operator == "**" and not (_is_up_to(left, _MAX_POWER_OF) and _is_up_to(right, _MAX_EXPONENT)):
            raise SecurityError("a power is too large")
        return super().call_binop(context, operator, left, right)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Where the sandbox would print nothing, stop: an honest template never gets here."""
        raise SecurityError(f"access to {attribute!r} of a {type(obj).__name__}")


def _is_up_to(value: Any, most: int) -> bool:
    return isinstance(value, int | float) and abs(value) <= most


class ChatTemplate:
    """One model's template. Raises Broken code "template_refused" where it cannot even be read."""

    def __init__(
        self,
        source: str,
        *,
        bos: str = "",
        eos: str = "",
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise _refused("is larger than any honest one")
        sandbox = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        sandbox.filters["tojson"] = _to_json
        sandbox.globals.update(
            raise_exception=_complain,
            strftime_now=lambda form: now().strftime(form),
            bos_token=bos,
            eos_token=eos,
        )
        try:
            self._template = sandbox.from_string(source)
        except (TemplateError, RecursionError, MemoryError) as error:
            raise _refused("is not valid Jinja") from error

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt, up to where the assistant speaks next.

        Raises Broken code "template_refused" where the template fails, reaches for what it may not have, or
        will not have this conversation.
        """
        try:
            return _joined(self._template.generate(messages=list(messages), add_generation_prompt=True))
        except SecurityError as error:
            raise _refused("tried something that the sandbox forbids") from error
        except _TemplateComplaint as error:
            raise Broken(
                "The model's chat template refuses this conversation.",
                code="template_refused",
                hint="Some models know no system message or want user and assistant to take turns; send it so.",
                param="messages",
            ) from error
        except Exception as error:
            # A template is a program of unknown origin: whatever it raises, it is the template that failed.
            raise _refused("failed") from error


def _joined(parts: Iterable[str]) -> str:
    """The parts together. Raises SecurityError before they fill the memory."""
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_PROMPT_CHARS:
            raise SecurityError("the template writes without end")
        kept.append(part)
    return "".join(kept)


def template_messages(conversation: Conversation) -> list[dict[str, str]]:
    """The messages as templates know them.

    Raises InvalidRequest code "unsupported_locally" where the conversation needs tools.
    """
    if conversation.tools and conversation.tool_choice.mode != "none":
        raise _no_tools("tools")
    return [_template_message(index, message) for index, message in enumerate(conversation.messages)]


def _template_message(index: int, message: Message) -> dict[str, str]:
    if message.role == "tool" or not all(isinstance(part, Text) for part in message.parts):
        raise _no_tools(f"messages[{index}]")
    return {"role": message.role, "content": message.text}


def _no_tools(param: str) -> InvalidRequest:
    return InvalidRequest(
        "This local model does not do tool calls.",
        code="unsupported_locally",
        hint="Leave the tools out, or ask with `model: cloud`.",
        param=param,
    )


def _refused(what: str) -> Broken:
    return Broken(
        f"The model's chat template {what}.",
        code="template_refused",
        hint="Use another model, or get this one from a source that you trust.",
    )


def _complain(_message: object = "") -> NoReturn:
    # Its words may quote the conversation, so they go no further.
    raise _TemplateComplaint("the template refused the conversation")


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
