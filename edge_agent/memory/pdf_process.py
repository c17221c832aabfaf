"""`python -m edge_agent.memory.pdf_process PAGES BYTES`: a PDF on stdin, {"text"} or {"problem"} on stdout.

For `pdf.text_of` only, which says what it may take: pages, and bytes of memory.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from io import BytesIO

from edge_agent.memory.passages import PAGE_BREAK
from edge_agent.memory.reading import MAX_CHARACTERS


def main() -> None:
    """Read, and answer in one line."""
    most_pages, most_bytes = map(int, sys.argv[1:3])
    _stay_within(most_bytes)
    logging.disable()  # what pypdf complains of may quote the document
    data = sys.stdin.buffer.read()
    try:
        answer = _read(data, most_pages)
    except Exception:  # noqa: BLE001 whatever a hostile file brings a reader to raise
        answer = {"problem": "pdf_unreadable"}
    sys.stdout.buffer.write(json.dumps(answer).encode())


def _read(data: bytes, most_pages: int) -> dict[str, str]:
    from pypdf import PdfReader  # noqa: PLC0415 where the limits hold already

    reader = PdfReader(BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        return {"problem": "pdf_encrypted"}
    if len(reader.pages) > most_pages:
        return {"problem": "pdf_too_long"}
    pages: list[str] = []
    characters = 0
    for page in reader.pages:
        text = page.extract_text().replace(PAGE_BREAK, "\n")
        characters += len(text)
        pages.append(text)
        if characters > MAX_CHARACTERS:
            break  # refused as too large where it is received
    return {"text": PAGE_BREAK.join(pages)}


def _stay_within(most_bytes: int) -> None:
    """Let the system refuse more memory, where it can."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 not on Windows

    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


if __name__ == "__main__":
    main()
