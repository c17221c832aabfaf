"""The log of a service, without what an error says: an error's text may quote a prompt."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType


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


def log_uncaught() -> None:
    """Log errors that nobody caught, in any thread, as all others: Python itself would print their text."""
    log = logging.getLogger(__name__)

    def uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        log.error("nobody caught a %s", kind.__name__)
        if error is not None:
            log.debug("it was", exc_info=(kind, error, trace))

    sys.excepthook = uncaught
    threading.excepthook = lambda args: uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: uncaught(args.exc_type, args.exc_value, args.exc_traceback)
