"""Files as they come: every text is read as it was written, and what is no text, or a trap, is refused clearly."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import InvalidRequest, NotFound
from edge_agent.memory.pdf import text_of
from edge_agent.memory.reading import MAX_TEXT_BYTES, read_bytes, read_file
from tests.pdf_file import pdf


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_text_is_read_whatever_it_is_written_in(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "note.md"
    path.write_bytes("Grüße aus Köln\r\nam Rhein".encode(encoding))
    found = read_file(path)
    assert (found.kind, found.text) == ("markdown", "Grüße aus Köln\nam Rhein")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda data: b"\xff\xfe" + data))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    problem = None
    try:
        found = read_bytes(data.replace(b"%PDF-", b""), "any")
    except InvalidRequest as refusal:
        problem = refusal
    if problem is None:
        assert found.text.strip()
        found.text.encode()
    else:
        assert problem.code in {"document_not_text", "document_empty"}
        assert problem.hint


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x89PNG\r\n\x1a\n\x00", "document_not_text"),
        (b"PK\x03\x04\x14\x00", "document_not_text"),
        (b"\xff\xfe\x00", "document_not_text"),
        (b"", "document_empty"),
        (b"x" * (MAX_TEXT_BYTES + 1), "document_too_large"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_bytes(data, "file")
    assert caught.value.code == code


def test_what_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        read_file(tmp_path / "gone.txt")
    with pytest.raises(InvalidRequest) as caught:
        read_file(tmp_path)
    assert caught.value.code == "document_unreadable"


def test_a_pdf_is_read_page_by_page() -> None:
    found = read_bytes(pdf(["The gate code is 4711.", "Ring twice."], ["Second page."]), "gate.pdf")
    assert found.kind == "pdf"
    assert [page.split() for page in found.text.split("\f")] == [
        ["The", "gate", "code", "is", "4711.", "Ring", "twice."],
        ["Second", "page."],
    ]


ENCRYPTED = b"/ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (
    b"00" * 32,
    b"11" * 32,
)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"%PDF-1.7\nnothing else", "pdf_unreadable"),
        (pdf(["x"])[:300], "pdf_unreadable"),
        (pdf(["x"], trailer=ENCRYPTED), "pdf_encrypted"),
        (pdf(), "document_empty"),
    ],
)
def test_a_bad_pdf_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_bytes(data, "bad.pdf")
    assert (caught.value.code, caught.value.hint != "") == (code, True)


def test_a_pdf_of_too_many_pages_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        text_of(pdf(["a"], ["b"], ["c"]), "long.pdf", most_pages=2)
    assert caught.value.code == "pdf_too_long"


def bomb(size: int) -> bytes:
    """A page whose content is `size` bytes of drawing, deflated to a thousandth."""
    stream = zlib.compress(b"BT (a) Tj ET " * (size // 13), 9)
    old = b"<< /Length %d >>\nstream\n" % len(b"BT /F1 12 Tf 72 720 Td (x) Tj 0 -16 Td ET")
    new = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(stream)
    return pdf(["x"]).replace(old + b"BT /F1 12 Tf 72 720 Td (x) Tj 0 -16 Td ET", new + stream)


def test_a_pdf_that_takes_too_long_is_ended() -> None:
    with pytest.raises(InvalidRequest) as caught:
        text_of(bomb(60_000_000), "endless.pdf", longest_s=1.5)
    assert caught.value.code in {"pdf_too_slow", "pdf_unreadable"}
