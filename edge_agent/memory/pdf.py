"""The text of a PDF, read in a process of its own.

A PDF is a program of unknown origin for a large reader: it may be made to take hours or all memory. A thread cannot be
stopped and shares the daemon's memory; a process is killed when its time is up, and the system keeps it within its
memory. It gets the file by a pipe, and neither the daemon's environment nor anything else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from cloud_bridge.protocol.problems import InvalidRequest, Problem

LONGEST_S = 60.0
MAX_PAGES = 5_000
MAX_MEMORY = 2 << 30

_PASSED_ON = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def text_of(data: bytes, name: str, *, longest_s: float = LONGEST_S, most_pages: int = MAX_PAGES) -> str:
    """The text, pages apart by form feeds. Blocks for `longest_s` seconds at most.

    Raises InvalidRequest: "pdf_encrypted", "pdf_too_long", "pdf_too_slow", or "pdf_unreadable".
    """
    command = [sys.executable, "-P", "-m", "edge_agent.memory.pdf_process", str(most_pages), str(MAX_MEMORY)]
    environ = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=longest_s, env=environ, check=False)
    except subprocess.TimeoutExpired as error:
        raise _refused(name, "pdf_too_slow", longest_s, most_pages) from error
    try:
        answer = json.loads(done.stdout)
        return str(answer["text"]) if "text" in answer else _raise(answer["problem"], name, longest_s, most_pages)
    except (ValueError, LookupError, TypeError) as error:  # it died: killed, or out of memory
        raise _refused(name, "pdf_unreadable", longest_s, most_pages) from error


def _raise(code: str, name: str, longest_s: float, most_pages: int) -> str:
    raise _refused(name, code, longest_s, most_pages)


def _refused(name: str, code: str, longest_s: float, most_pages: int) -> Problem:
    why, hint = {
        "pdf_encrypted": ("is protected by a password", "Save a copy without one, and add that."),
        "pdf_too_long": (f"has more than {most_pages} pages", "Split it, and add the parts that matter."),
        "pdf_too_slow": (f"could not be read within {longest_s:g} s", "Save it anew from a reader, or add it as text."),
    }.get(code, ("could not be read as a PDF", "Save it anew from a reader, or add it as text."))
    known = code if code in {"pdf_encrypted", "pdf_too_long", "pdf_too_slow"} else "pdf_unreadable"
    return InvalidRequest(f"{name} {why}.", code=known, hint=hint)
