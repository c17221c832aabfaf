"""The log of a service, without what an error says: an error's text may quote a prompt."""

from __future__ import annotations

import logging


class Discreet(logging.Formatter):
    """Of a traceback only the error's type is written, and of asyncio's reports, which show errors, the first line."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        kind = record.exc_info[0] if record.exc_info else None
        shown = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None})
        if record.name == "asyncio":
            shown.msg, shown.args = record.getMessage().partition("\n")[0], None
        line = super().format(shown).rstrip()
        return line if kind is None else f"{line} ({kind.__name__})"


def start_log(*, level: int, debug: bool) -> None:
    """Log to stderr from `level` on; `debug` logs everything, tracebacks included."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s") if debug else Discreet())
    logging.basicConfig(level=logging.DEBUG if debug else level, handlers=[handler])
    # httpx logs URLs, uvicorn and asyncio their own life.
    for chatty in ("httpx", "httpcore", "uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
