from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Unavailable
from edge_agent.runtimes.worker.frames import FrameDecoder, FrameError, encode_frame
from edge_agent.runtimes.worker.problem_frames import problem_from_json, problem_to_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
frames = st.dictionaries(st.text(), json_values, max_size=4)


@given(st.lists(frames, max_size=5), st.integers(1, 50))
def test_frames_come_back_however_the_bytes_are_cut(sent, cut):
    data = b"".join(encode_frame(frame) for frame in sent)
    decoder = FrameDecoder()
    got = [frame for at in range(0, len(data), cut) for frame in decoder.feed(data[at : at + cut])]
    assert got == sent


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x01{", b"\x00\x00\x00\x00"]
)
def test_bytes_that_are_no_frames_are_refused(data):
    with pytest.raises(FrameError):
        FrameDecoder().feed(data)


def test_a_deeply_nested_frame_is_refused():
    body = b"[" * 200_000
    with pytest.raises(FrameError):
        FrameDecoder().feed(len(body).to_bytes(4, "big") + body)


def test_problems_keep_their_kind_code_hint_and_time():
    problem = Unavailable("m", code="queue_full", hint="h", param="p", retry_after_s=2.5)
    back = problem_from_json(problem_to_json(problem))
    assert isinstance(back, Unavailable)
    assert (back.message, back.code, back.hint, back.param, back.retry_after_s) == ("m", "queue_full", "h", "p", 2.5)
    assert isinstance(problem_from_json(problem_to_json(InvalidRequest("m", code="c"))), InvalidRequest)
    assert isinstance(problem_from_json({"kind": "NotAllowed"}), Broken)
