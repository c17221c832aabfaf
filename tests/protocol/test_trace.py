from __future__ import annotations

import pytest

from cloud_bridge.protocol.trace import Traceparent, make_traceparent, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_the_standard_s_own_example():
    parsed = parse_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert parsed == Traceparent(TRACE, SPAN, sampled=True)
    assert parsed.header == f"00-{TRACE}-{SPAN}-01"
    assert parsed.child("00f067aa0ba902b7").header == f"00-{TRACE}-00f067aa0ba902b7-01"
    assert make_traceparent(TRACE, SPAN, sampled=False) == f"00-{TRACE}-{SPAN}-00"


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-03-what-the-future-brings") == Traceparent(TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
    ],
)
def test_an_invalid_header_starts_a_new_trace(header):
    assert parse_traceparent(header) is None


@pytest.mark.parametrize(("trace", "span"), [("0" * 32, SPAN), (TRACE, "0" * 16), ("xyz", SPAN), (TRACE, SPAN + "0")])
def test_ids_that_are_none_are_refused(trace, span):
    with pytest.raises(ValueError, match="hexadecimal"):
        make_traceparent(trace, span)
