"""Adapters and models that come from anywhere: what they say harms nobody else, and no terminal."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cloud_bridge.protocol.problems import Broken, Problem
from edge_agent.cli.models import app
from edge_agent.models import lora
from edge_agent.models.lora.facts import BaseFacts, LoraFacts
from quantize.lora.weights import read_mlx, read_peft
from tests.gguf_file import save
from tests.models.toys import make_here

LAYER = "model.layers.0.mlp.down_proj"
PAIR = {f"{LAYER}.lora_a": (8, 2), f"{LAYER}.lora_b": (2, 4)}
ENDLESS = 10**400
ESCAPES = "\x1b[2J\x1b]0;gone\x07\u202e" + "x" * 60_000
AHOY = Path(__file__).parent.parent / "adapters" / "ahoy"


def _safetensors(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def _config(**parameters: Any) -> dict[str, Any]:
    stated = {"rank": 2, "scale": 1.0, "dropout": 0.0, **parameters}
    return {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": stated}


def _mlx(folder: Path, config: Any, shapes: Mapping[str, tuple[int, ...]] = PAIR) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapters.safetensors").write_bytes(_safetensors(shapes))
    return folder / "adapters.safetensors"


def _installed(root: Path, adapter_id: str, config: Any, shapes: Mapping[str, tuple[int, ...]] = PAIR) -> None:
    files = {"adapters.safetensors": _safetensors(shapes), "adapter_config.json": json.dumps(config).encode()}
    stated = {"rank": 2, "scale": 1.0}
    make_here(root, adapter_id, files, kind="adapter", format="mlx", context_length=None, adapter=stated)


def _base(root: Path, model_id: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    files = {"model.safetensors": _safetensors(shapes), "config.json": b"{}"}
    make_here(root, model_id, files, format="mlx")


def test_hostile_ones_among_the_models_hide_no_other(tmp_path: Path) -> None:
    root = tmp_path / "models"
    _base(root, "sound-mlx", {f"{LAYER}.weight": (4, 8)})
    _base(root, "one-scale-mlx", {f"{LAYER}.weight": (4, 8), f"{LAYER}.scales": ()})
    _base(root, "no-scales-mlx", {f"{LAYER}.weight": (4, 8), f"{LAYER}.scales": (0, 2**60)})
    _installed(root, "sound-lora", _config())
    _installed(root, "endless-lora", _config(scale=ENDLESS))
    _installed(root, "dropped-lora", _config(dropout=-ENDLESS))
    listed = CliRunner().invoke(app, ["list", "--json"], env={"EDGE_AGENT_HOME": str(tmp_path)})
    assert listed.exit_code == 0, listed.exception
    pairs = {pair["id"] for pair in json.loads(listed.stdout)["pairs"]}
    assert "sound-mlx+sound-lora" in pairs
    assert not any(pair.endswith(("endless-lora", "dropped-lora")) for pair in pairs)


_NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([ENDLESS, -ENDLESS, 2**63, 4096, 2, True, None]))
_JSON = st.recursive(
    st.one_of(_NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@given(
    rank=st.one_of(st.just(2), _JSON),
    scale=st.one_of(st.just(1), _NUMBERS, _JSON),
    dropout=st.one_of(st.just(0), _NUMBERS, _JSON),
    keys=st.one_of(st.none(), _JSON),
)
@example(rank=2, scale=ENDLESS, dropout=0, keys=None)
@example(rank=2, scale=1, dropout=-ENDLESS, keys=[])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_config_says_it_is_read_or_refused(
    tmp_path: Path, rank: Any, scale: Any, dropout: Any, keys: Any
) -> None:
    path = _mlx(tmp_path, _config(rank=rank, scale=scale, dropout=dropout, keys=keys))
    try:
        assert math.isfinite(lora.read(path, "mlx").scale)
    except Broken as problem:
        assert problem.code == "model_unreadable"  # noqa: PT017  it may also be read


@given(
    shapes=st.dictionaries(
        st.sampled_from([f"{LAYER}.weight", f"{LAYER}.scales", f"{LAYER}.biases", "weight", ".scales"]),
        st.lists(st.sampled_from([0, 1, 2, 8, 2**53, 2**70, ENDLESS]), max_size=4).map(tuple),
        max_size=4,
    ),
    quantization=_JSON,
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_shapes_a_model_has_an_adapter_fits_or_not(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], quantization: Any
) -> None:
    small = {name: shape for name, shape in shapes.items() if math.prod(shape) < 1000}
    (tmp_path / "model.safetensors").write_bytes(_safetensors(small))
    (tmp_path / "config.json").write_text(json.dumps({"quantization": quantization}))
    adapter = lora.read(_mlx(tmp_path, _config()), "mlx")
    try:
        lora.check_made_for(adapter, lora.base(tmp_path / "model.safetensors", "mlx"))
    except Problem as problem:
        assert problem.code in {"model_unreadable", "adapter_mismatch"}  # noqa: PT017  it may also fit


def _peft(folder: Path, shapes: Mapping[str, tuple[int, ...]], **config: Any) -> Path:
    (folder / "adapter_model.safetensors").write_bytes(_safetensors(shapes))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    return folder


@pytest.mark.parametrize("alpha", [ENDLESS, -ENDLESS, "8", None, True, float("inf")], ids=lambda alpha: str(alpha)[:5])
def test_a_senseless_alpha_of_pefts_is_refused(tmp_path: Path, alpha: Any) -> None:
    shutil.copytree(AHOY, tmp_path / "ahoy")
    config = json.loads((tmp_path / "ahoy" / "adapter_config.json").read_text())
    (tmp_path / "ahoy" / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": alpha}))
    with pytest.raises(Broken, match="lora_alpha") as caught:
        read_peft(tmp_path / "ahoy")
    assert caught.value.code == "model_unreadable"


def _said(problem: Problem) -> None:
    assert str(problem).isprintable()
    assert len(problem.message) < 1000
    assert "[2J" in problem.message  # the name is still told


def test_names_in_a_file_cannot_write_on_a_terminal(tmp_path: Path) -> None:
    halves = {f"{ESCAPES}.lora_a": (8, 2), f"{ESCAPES}.lora_b": (3, 4)}
    named = {f"{ESCAPES}.lora_A.weight": (2, 8), f"{ESCAPES}.lora_B.weight": (4, 3)}
    fitting = {f"{ESCAPES}.lora_A.weight": (2, 8), f"{ESCAPES}.lora_B.weight": (4, 2)}
    for read in (lambda: lora.read(_mlx(tmp_path, _config(), halves), "mlx"), lambda: read_mlx(tmp_path)):
        with pytest.raises(Broken) as caught:
            read()
        _said(caught.value)
    for shapes, config in ((named, {"r": 2}), (fitting, {"r": 3})):
        with pytest.raises(Broken) as caught:
            read_peft(_peft(tmp_path, shapes, **config))
        _said(caught.value)


@pytest.mark.parametrize("shape", [(2, 8), (8,)])
def test_nor_can_those_in_a_gguf(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stated = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}
    name = ESCAPES[:1000]
    tensors = {f"{name}.lora_a": np.zeros(shape, np.float32), f"{name}.lora_b": np.zeros((4, 3), np.float32)}
    save(tmp_path / "bad.gguf", stated, tensors)
    with pytest.raises(Broken) as caught:
        lora.read(tmp_path / "bad.gguf", "gguf")
    _said(caught.value)


@pytest.mark.parametrize(
    ("adapter", "model"),
    [
        (LoraFacts({}, 1, 1.0, ESCAPES), BaseFacts({}, "llama")),
        (LoraFacts({}, 1, 1.0, "llama"), BaseFacts({}, ESCAPES)),
        (LoraFacts({ESCAPES: (1, 1)}, 1, 1.0), BaseFacts({})),
        (LoraFacts({ESCAPES: (1, 1)}, 1, 1.0), BaseFacts({ESCAPES: (1, 2)})),
        (LoraFacts({ESCAPES: (1, 1)}, 1, 1.0), BaseFacts({ESCAPES: (1, 1)}, shared=frozenset({ESCAPES}))),
    ],
)
def test_nor_those_of_what_does_not_go_together(adapter: LoraFacts, model: BaseFacts) -> None:
    with pytest.raises(Problem) as caught:
        lora.check_made_for(adapter, model)
    _said(caught.value)
