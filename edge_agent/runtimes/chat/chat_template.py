"""The chat template that a model file carries: untrusted code, so it runs in a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from cloud_bridge.protocol.problems import Broken
from edge_agent.runtimes.chat.template_sandbox import Sandbox

MAX_TEMPLATE_CHARS = 256 * 1024

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class _TemplateComplaint(TemplateError):
    """The template itself refused the conversation."""


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
        sandbox = Sandbox()
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

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The prompt, up to where the assistant speaks next. Messages and tools are as OpenAI writes them.

        Raises Broken code "template_refused" where the template fails, reaches for what it may not have, or
        will not have this conversation.
        """
        # Published templates ask both whether `tools` is defined and whether it is none.
        known = list(tools) or None
        try:
            return self._template.render(messages=list(messages), tools=known, add_generation_prompt=True)
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


def _refused(what: str) -> Broken:
    return Broken(
        f"The model's chat template {what}.",
        code="template_refused",
        hint="Use another model, or get this one from a source that you trust.",
    )


def _complain(_message: object = "") -> NoReturn:
    # Its words may quote the conversation, so they go no further.
    raise _TemplateComplaint("the template refused the conversation")
