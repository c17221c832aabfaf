"""What a file says: its text, whatever it was written as. What is no text, or too much of it, is refused."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloud_bridge.protocol.problems import InvalidRequest, NotFound, Problem

Kind = Literal["text", "markdown", "pdf"]

MAX_TEXT_BYTES = 10_000_000
MAX_PDF_BYTES = 64 << 20
MAX_CHARACTERS = 10_000_000

_MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd"})
_PDF = b"%PDF-"
_WITHIN = 1_024  # where a PDF's mark may stand, ISO 32000-2, 7.5.2
_NO_TEXT = bytes({*range(32), 127} - {7, 8, 9, 10, 12, 13, 27})


@dataclass(frozen=True, slots=True)
class Content:
    """What was read. `size`: bytes of the file."""

    kind: Kind
    text: str
    size: int


def read_file(path: Path) -> Content:
    """What the file at `path` says. Blocks. Raises NotFound "no_such_file", else InvalidRequest as `read_bytes`."""
    try:
        data = _bytes(path)
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.", code="no_such_file", hint="Check the path.") from error
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read.", code="document_unreadable", hint="Check that it is a file, and its permissions."
        ) from error
    return read_bytes(data, path.name)


def read_bytes(data: bytes, name: str) -> Content:
    """What `data`, a file named `name`, says. Blocks; a PDF is read in a process of its own (see `pdf`).

    Raises InvalidRequest: "document_too_large", "document_not_text", "document_empty", or what reading a PDF raises.
    """
    if _PDF in data[:_WITHIN]:
        kind: Kind = "pdf"
        text = _pdf(data, name)
    else:
        kind = _kind(name)
        text = _decoded(data, name)
    return Content(kind, checked(text, name), len(data))


def read_text(text: str, name: str) -> Content:
    """What a document named `name` says that came as text. Raises InvalidRequest as `read_bytes`."""
    return Content(_kind(name), checked(text, name), len(text.encode("utf-8", "surrogatepass")))


def checked(text: str, name: str) -> str:
    """`text` with plain line ends. Raises InvalidRequest where there is none, or too much."""
    if len(text) > MAX_CHARACTERS:
        raise too_large(name, f"{MAX_CHARACTERS:,} characters")
    # SQLite and every wire take whole characters only.
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InvalidRequest(
            f"{name} holds no text.",
            code="document_empty",
            hint="Of a scanned PDF, add a copy with recognised text (OCR).",
        )
    return text


def too_large(name: str, limit: str) -> Problem:
    """The file is more than is searched."""
    return InvalidRequest(
        f"{name} is larger than {limit}.", code="document_too_large", hint="Split it, and add the parts that matter."
    )


def _bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise OSError  # a folder, or a pipe that nobody writes to
    with path.open("rb") as file:
        return file.read(MAX_PDF_BYTES + 1)


def _kind(name: str) -> Literal["text", "markdown"]:
    return "markdown" if Path(name).suffix.lower() in _MARKDOWN else "text"


def _pdf(data: bytes, name: str) -> str:
    from edge_agent.memory.pdf import text_of  # noqa: PLC0415 a process is started for PDFs only

    if len(data) > MAX_PDF_BYTES:
        raise too_large(name, f"{MAX_PDF_BYTES >> 20} MiB")
    return text_of(data, name)


def _decoded(data: bytes, name: str) -> str:
    """UTF-16 where a mark says so, UTF-8 where it is that, else Windows' Latin 1, which any bytes are: but not those
    that hold what no text holds.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise too_large(name, f"{MAX_TEXT_BYTES:,} bytes")
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
            if "\0" not in text:
                return text
            raise _not_text(name)
        if data.translate(None, delete=_NO_TEXT) != data:
            raise _not_text(name)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _not_text(name)
    return data.decode("cp1252", "replace")


def _not_text(name: str) -> Problem:
    return InvalidRequest(
        f"{name} is not text.",
        code="document_not_text",
        hint="Add text, Markdown or PDF; save a document of an office program as one of these.",
    )
