"""Files that ONNX Runtime must not be given. Each is written by hand; none of them is ever opened by the library."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken
from edge_agent.runtimes.decoders.onnx_file import read_onnx_file
from tests.runtimes.onnx_models import adder, external_tensor, field, model, node, tensor, write_decoder

WEIGHTS = struct.pack("<4f", 1, 2, 3, 4)
OUTSIDE = "outside its own folder"
MISSING = "is missing"
CUT_SHORT = "cut short"
NOT_ITS_OWN = "not a file of its own"
DAMAGED = "no ONNX model, or is damaged"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with a secret beside it."""
    (tmp_path / "secret.bin").write_bytes(WEIGHTS)
    inside = tmp_path / "model"
    (inside / "sub").mkdir(parents=True)
    (inside / "weights.bin").write_bytes(WEIGHTS)
    (inside / "sub" / "weights.bin").write_bytes(WEIGHTS)
    return inside


def write(folder: Path, *entries: tuple[str, str]) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(adder(external_tensor("w", 4, entries)))
    return path


def refusal(path: Path) -> Broken:
    with pytest.raises(Broken) as caught:
        read_onnx_file(path)
    assert caught.value.code == "model_unreadable"
    assert "models verify" in caught.value.hint
    assert str(path.parent) not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("location", ["weights.bin", "sub/weights.bin", "./weights.bin"])
def test_external_data_in_the_models_folder_is_its_own(folder: Path, location: str) -> None:
    path = write(folder, ("location", location), ("offset", "0"), ("length", "16"), ("checksum", "0"))
    found = read_onnx_file(path)
    assert found.operators == {"Add": 1}
    assert found.weight_bytes == path.stat().st_size + 16


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("../secret.bin", OUTSIDE),
        ("sub/../../secret.bin", OUTSIDE),
        ("/etc/hostname", OUTSIDE),
        ("C:\\Windows\\win.ini", OUTSIDE),
        ("..\\secret.bin", OUTSIDE),
        ("\\\\server\\share\\file", OUTSIDE),
        ("weights.bin\0../secret.bin", OUTSIDE),
        ("*/_ORT_MEM_ADDR_/*", OUTSIDE),
        ("nowhere.bin", MISSING),
        ("sub", NOT_ITS_OWN),
        ("", NOT_ITS_OWN),
        (".", NOT_ITS_OWN),
    ],
)
def test_external_data_elsewhere_is_refused(folder: Path, location: str, why: str) -> None:
    assert why in refusal(write(folder, ("location", location))).message


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a privilege there")
def test_links_that_lead_out_are_refused(folder: Path) -> None:
    (folder / "link.bin").symlink_to("../secret.bin")
    (folder / "up").symlink_to("..")
    (folder / "loop.bin").symlink_to("loop.bin")
    (folder / "within.bin").symlink_to("weights.bin")
    assert OUTSIDE in refusal(write(folder, ("location", "link.bin"))).message
    assert OUTSIDE in refusal(write(folder, ("location", "up/secret.bin"))).message
    assert MISSING in refusal(write(folder, ("location", "loop.bin"))).message
    read_onnx_file(write(folder, ("location", "within.bin")))


def test_a_file_with_a_second_name_is_refused(folder: Path) -> None:
    os.link(folder.parent / "secret.bin", folder / "hard.bin")
    assert NOT_ITS_OWN in refusal(write(folder, ("location", "hard.bin"))).message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert NOT_ITS_OWN in refusal(write(folder, ("location", "pipe"))).message


@pytest.mark.parametrize(
    ("offset", "length", "why"),
    [
        ("0", "17", CUT_SHORT),
        ("16", "1", CUT_SHORT),
        ("18446744073709551615", "16", DAMAGED),
        ("-4", "16", DAMAGED),
        ("0x0", "16", DAMAGED),
    ],
)
def test_weights_that_are_not_all_there_are_refused(folder: Path, offset: str, length: str, why: str) -> None:
    assert why in refusal(write(folder, ("location", "weights.bin"), ("offset", offset), ("length", length))).message


def test_two_locations_for_one_tensor_are_refused(folder: Path) -> None:
    path = write(folder, ("location", "weights.bin"), ("location", "../secret.bin"))
    assert DAMAGED in refusal(path).message


def hidden(kind: str) -> bytes:
    """A model with a bad tensor in one of the many places that can hold one."""
    bad = external_tensor("w", 4, [("location", "../secret.bin")])
    plain = node("Add", ["x", "x"], ["y"])
    graph = field(1, plain) + field(5, bad)
    constant = node("Constant", [], ["w"]) + field(5, field(1, "value") + field(5, bad))
    match kind:
        case "attribute":
            return model([constant], [], [], [])
        case "list of tensors":
            return model([plain + field(5, field(1, "a") + field(10, bad))], [], [], [])
        case "subgraph":
            return model([plain + field(5, field(1, "body") + field(6, graph))], [], [], [])
        case "list of subgraphs":
            return model([plain + field(5, field(1, "bodies") + field(11, graph))], [], [], [])
        case "sparse initializer":
            return model([plain], [], [], []) + field(7, field(15, field(1, bad)))
        case "sparse attribute":
            return model([plain + field(5, field(1, "a") + field(22, field(2, bad)))], [], [], [])
        case "function":
            return model([plain], [], [], []) + field(25, field(1, "f") + field(7, constant))
        case "default of a function":
            return model([plain], [], [], []) + field(25, field(1, "f") + field(11, field(1, "a") + field(5, bad)))
        case "training":
            return model([plain], [], [], []) + field(20, field(2, graph))
        case _:
            return model([plain], [], [], []) + field(7, graph)  # protobuf joins it to the first


@pytest.mark.parametrize(
    "kind",
    [
        "attribute",
        "list of tensors",
        "subgraph",
        "list of subgraphs",
        "sparse initializer",
        "sparse attribute",
        "function",
        "default of a function",
        "training",
        "second graph",
    ],
)
def test_no_place_hides_external_data(folder: Path, kind: str) -> None:
    path = folder / "model.onnx"
    path.write_bytes(hidden(kind))
    assert OUTSIDE in refusal(path).message


def test_subgraphs_without_end_are_refused(folder: Path) -> None:
    inner = node("Add", ["x", "x"], ["y"])
    for _ in range(200):
        inner = node("If", ["c"], ["y"]) + field(5, field(1, "body") + field(6, field(1, inner)))
    (folder / "model.onnx").write_bytes(model([inner], [], [], []))
    assert DAMAGED in refusal(folder / "model.onnx").message


@pytest.mark.parametrize("content", [b"", b"GGUF\3\0\0\0", b"<!DOCTYPE html>", b"\x08", b"\x80" * 64, b"\x08\x09"])
def test_what_is_no_model_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.onnx").write_bytes(content)
    assert DAMAGED in refusal(folder / "model.onnx").message


def test_a_missing_model_is_named(folder: Path) -> None:
    with pytest.raises(Broken, match=r"model\.onnx is missing") as caught:
        read_onnx_file(folder / "model.onnx")
    assert caught.value.code == "model_file_missing"


def test_a_model_that_is_cut_short_is_refused_wherever_it_is_cut(folder: Path) -> None:
    whole = write_decoder(folder, grouped=True).read_bytes()
    # Behind the graph come only the versions of the operators.
    for end in range(0, len(whole) - 40, 101):
        (folder / "model.onnx").write_bytes(whole[:end])
        refusal(folder / "model.onnx")


@given(st.binary(max_size=200), st.integers(0, 150))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    whole = adder(tensor("w", np.zeros(4, np.float32)))
    path = tmp_path_factory.mktemp("any") / "model.onnx"
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        read_onnx_file(path)
    except Broken as problem:
        assert problem.code == "model_unreadable"  # noqa: PT017 - reading it is as good
