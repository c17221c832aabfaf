"""What an interrupted calibration keeps, and what examples prove nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.routing.calibration.answered import FOLDER, KEPT_S, Answered
from edge_agent.routing.calibration.examples import read
from edge_agent.routing.calibration.fitting import Example
from edge_agent.routing.calibration.signals import Signals, of_label
from edge_agent.routing.calibration.single_value import allows_one

ONE = Example(Signals(3, -0.5, -1.0, whole=False, valid=True, agreement=0.5), of_label(0.25), right=True)
TWO = Example(of_label(0.75), Signals(), right=False)


def test_what_was_answered_is_known_to_the_next_run_of_the_same(tmp_path: Path) -> None:
    first = Answered(tmp_path, {"model": "a"})
    assert (len(first), first.get(1)) == (0, None)
    first.add(1, ONE)
    first.add(7, TWO)
    again, other = Answered(tmp_path, {"model": "a"}), Answered(tmp_path, {"model": "b"})
    assert (again.get(1), again.get(7), again.get(2)) == (ONE, TWO, None)
    assert len(other) == 0
    again.forget()
    assert len(Answered(tmp_path, {"model": "a"})) == 0
    assert not (tmp_path / FOLDER).exists()
    again.forget()


@pytest.mark.parametrize("cut", [b'\n{"line": 9, "whole": {"tok', b"\n[1]\n{}\nnull", b'\n{"line":1,"whole":{"no":1}}'])
def test_a_line_that_a_crash_cut_is_answered_again(tmp_path: Path, cut: bytes) -> None:
    Answered(tmp_path, {}).add(1, ONE)
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(path.read_bytes() + cut)
    known = Answered(tmp_path, {})
    assert (len(known), known.get(1)) == (1, ONE)
    known.add(9, TWO)
    assert Answered(tmp_path, {}).get(9) == TWO


def test_what_nobody_goes_on_with_is_cleared_out_and_a_disk_that_fails_stops_nothing(tmp_path: Path) -> None:
    Answered(tmp_path, {}).add(1, ONE)
    (path,) = (tmp_path / FOLDER).iterdir()
    os.utime(path, (0, path.stat().st_mtime - KEPT_S - 60))
    assert len(Answered(tmp_path, {})) == 0
    path.unlink(missing_ok=True)
    path.parent.rmdir()
    (tmp_path / FOLDER).write_text("no folder")
    known = Answered(tmp_path, {})
    known.add(1, ONE)
    assert known.get(1) == ONE


@pytest.mark.parametrize(
    ("schema", "one"),
    [
        ({"const": "yes"}, True),
        ({"enum": ["yes"]}, True),
        ({"enum": ["yes", "no"]}, False),
        ({"type": "null"}, True),
        ({"type": "string"}, False),
        ({"type": "boolean"}, False),
        ({"anyOf": [{"const": 1}]}, True),
        ({"anyOf": [{"const": 1}, {"const": 2}]}, False),
        ({"allOf": [{"type": "string"}, {"const": "a"}]}, True),
        ({"type": "object"}, False),
        ({"type": "object", "additionalProperties": False}, True),
        ({"type": "array", "maxItems": 0}, True),
        ({"type": "array", "minItems": 2, "maxItems": 2, "items": {"const": 1}}, True),
        ({"type": "array", "maxItems": 2, "items": {"const": 1}}, False),
        ({"$ref": "#/x"}, False),
        (None, False),
        ([], False),
    ],
)
def test_a_format_of_one_document_is_recognised(schema: Any, one: bool) -> None:
    assert allows_one(schema) is one
    closed = {"type": "object", "properties": {"a": schema}, "additionalProperties": False}
    assert allows_one({**closed, "required": ["a"]}) is one
    assert allows_one(closed) is False, "it may be left out"


def test_questions_whose_answer_could_not_be_wrong_are_refused_with_their_line(tmp_path: Path) -> None:
    def line(*labels: str) -> str:
        schema = {
            "type": "object",
            "properties": {"label": {"enum": labels}},
            "required": ["label"],
            "additionalProperties": False,
        }
        shape = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
        messages = [{"role": "user", "content": f"Which? {labels}"}]
        return json.dumps({"messages": messages, "answer": {"label": "a"}, "response_format": shape}) + "\n"

    data = tmp_path / "data.jsonl"
    data.write_text(line("a", "b"))
    assert len(read(data)) == 1
    data.write_text(line("a", "b") + line("a"))
    with pytest.raises(InvalidRequest, match="Line 2 has a format that allows one answer only") as refused:
        read(data)
    assert refused.value.code == "bad_line"
    assert "response_format" in refused.value.hint
