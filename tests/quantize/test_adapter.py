"""LoRA adapters from PEFT, mlx-lm and llama.cpp, each in the form that a runtime takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound, Problem
from edge_agent.models import lora
from edge_agent.models.catalog import Catalog
from edge_agent.models.formats import gguf_header
from edge_agent.models.formats.safetensors_header import safetensors_header
from edge_agent.models.progress import SILENT
from edge_agent.models.store import ModelStore
from quantize.lora import adapter
from quantize.lora import weights as lora_weights
from quantize.lora.weights import LoraWeights, read_mlx, read_peft, write_mlx, write_peft
from quantize.onnx import to_onnx
from tests.runtimes.lora_files import AHOY, ahoy, gguf_adapter

SMALL = "smollm2-135m-instruct-q4_1"
LAYER = "model.layers.3.self_attn.q_proj"


def product(weights: LoraWeights, layer: str) -> Any:
    a, b = weights.pairs[layer]
    return weights.scale * (b.astype(np.float64) @ a.astype(np.float64))


@pytest.fixture
def peft(tmp_path: Path) -> Path:
    """A copy of the tests' adapter, to be spoiled."""
    return shutil.copytree(AHOY, tmp_path / "Ahoy")


def set_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def write_raw(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))


def pair(rank: int, kind: str = "F32", layer: str = LAYER) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    numbers = np.arange(rank * 4, dtype="<f4").reshape(rank, 4)
    as_stored = {"F32": numbers, "F16": numbers.astype("<f2"), "BF16": (numbers.view("<u4") >> 16).astype("<u2")}
    data = as_stored[kind].tobytes()
    name = f"base_model.model.{layer}.lora"
    return {f"{name}_A.weight": (kind, (rank, 4), data), f"{name}_B.weight": (kind, (4, rank), data)}


# PEFT and mlx-lm


def test_what_peft_wrote_becomes_what_mlx_lm_reads_and_back(peft: Path, tmp_path: Path) -> None:
    weights = read_peft(peft)
    for folder, write, read in ((tmp_path / "mlx", write_mlx, read_mlx), (tmp_path / "peft", write_peft, read_peft)):
        folder.mkdir()
        write(weights, folder)
        again = read(folder)
        assert again.pairs.keys() == weights.pairs.keys()
        for layer in weights.pairs:
            np.testing.assert_array_equal(product(again, layer), product(weights, layer))
    kinds = {tensor.kind for tensor in safetensors_header(tmp_path / "mlx" / "adapters.safetensors").values()}
    assert kinds == {"F16"}


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_every_kind_of_number_keeps_its_value(peft: Path, kind: str) -> None:
    write_raw(peft / "adapter_model.safetensors", pair(2, kind))
    a, _ = read_peft(peft).pairs[LAYER]
    np.testing.assert_array_equal(a, np.arange(8).reshape(2, 4))


def test_layers_with_ranks_and_alphas_of_their_own_come_to_the_same(peft: Path, tmp_path: Path) -> None:
    other = LAYER.replace("q_proj", "v_proj")
    write_raw(peft / "adapter_model.safetensors", pair(2) | pair(3, layer=other))
    set_config(peft, r=2, lora_alpha=8, rank_pattern={"v_proj": 3}, alpha_pattern={"self_attn.v_proj": 15})
    weights = read_peft(peft)
    assert {a.shape[0] for a, _ in weights.pairs.values()} == {3}
    for layer, rank, scale in ((LAYER, 2, 4.0), (other, 3, 5.0)):
        numbers = np.arange(rank * 4.0)
        expected = scale * (numbers.reshape(4, rank) @ numbers.reshape(rank, 4))
        np.testing.assert_allclose(product(weights, layer), expected, rtol=1e-6)
    write_mlx(weights, tmp_path)
    np.testing.assert_allclose(product(read_mlx(tmp_path), other), product(weights, other), rtol=1e-6)


def test_a_rank_stabilised_one_is_scaled_by_the_root_of_its_rank(peft: Path) -> None:
    set_config(peft, use_rslora=True)
    assert read_peft(peft).scale == pytest.approx(4 / 2**0.5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "adapter_unsupported"),
    "IA3": ({"peft_type": "IA3"}, "adapter_unsupported"),
    "biases": ({"bias": "all"}, "adapter_unsupported"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "adapter_unsupported"),
    "patterns": ({"alpha_pattern": {"^.*proj": 3}}, "adapter_unsupported"),
    "alpha": ({"lora_alpha": "many"}, "model_unreadable"),
    "endless alpha": ({"lora_alpha": float("inf")}, "model_unreadable"),
    "rank": ({"r": 5}, "model_unreadable"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_lora_is_refused(peft: Path, what: str) -> None:
    changes, code = REFUSED[what]
    set_config(peft, **changes)
    with pytest.raises(Problem) as caught:
        read_peft(peft)
    assert caught.value.code == code
    assert caught.value.hint


def test_weights_that_are_not_whole_are_told(peft: Path) -> None:
    path = peft / "adapter_model.safetensors"
    whole = path.read_bytes()
    nan = np.full((2, 4), np.nan, "<f4").tobytes()
    half = dict([next(iter(pair(2).items()))])
    spoiled = pair(2) | {f"base_model.model.{LAYER}.lora_A.weight": ("F32", (2, 4), nan)}
    odd = pair(2) | {f"base_model.model.{LAYER}.lora_A.weight": ("F32", (4, 2), nan)}
    for damage, code in (
        (lambda: path.write_bytes(whole[:-1]), "model_truncated"),
        (lambda: path.write_bytes(whole[:50]), "model_truncated"),
        (lambda: path.write_bytes(b"\x10" + bytes(7) + b"not json at all!"), "model_unreadable"),
        (lambda: write_raw(path, {"x": ("F32", (3,), b"1234")}), "model_unreadable"),
        (lambda: write_raw(path, half), "model_unreadable"),
        (lambda: write_raw(path, spoiled), "model_unreadable"),
        (lambda: write_raw(path, odd), "model_unreadable"),
        (lambda: write_raw(path, pair(2) | {"lm_head.weight": ("F32", (1,), b"1234")}), "adapter_unsupported"),
        (path.unlink, "model_file_missing"),
    ):
        damage()
        with pytest.raises(Problem) as caught:
            read_peft(peft)
        assert caught.value.code == code


# Installing


def converted(source: Path, to: str, models: Path, base: Path | None = None) -> Path:
    found = adapter.find(str(source))
    assert found is not None
    folder = models / "ahoy-lora" if to == "gguf" else models / "ahoy-mlx-lora"
    folder.mkdir(parents=True)
    made = adapter.convert(found, folder, to, SILENT, base=base)
    manifest = adapter.write_manifest(folder, found, made)
    assert manifest["id"] == folder.name
    return folder


def test_a_peft_folder_becomes_an_mlx_adapter_that_is_listed_and_verified(peft: Path, tmp_path: Path) -> None:
    converted(peft, "mlx", tmp_path / "models")
    store = ModelStore(tmp_path / "models", Catalog.load())
    (manifest,) = store.installed_adapters()
    assert (manifest.id, manifest.format, manifest.files[0].path) == ("ahoy-mlx-lora", "mlx", "adapters.safetensors")
    assert manifest.adapter is not None
    assert (manifest.adapter.rank, manifest.adapter.scale) == (2, 2.0)
    assert manifest.adapter.base == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert manifest.made is not None
    assert manifest.made.command == "edge-quantize Ahoy --to mlx"
    assert store.verify("ahoy-mlx-lora")[0].files == 2
    assert store.installed_llms() == []


def test_a_gguf_of_llama_cpp_is_taken_as_it_is(tmp_path: Path, smollm2: Path) -> None:
    source = gguf_adapter(tmp_path / "Ahoy.gguf")
    folder = converted(source, "gguf", tmp_path / "models", smollm2)
    assert (folder / "ahoy-lora.gguf").read_bytes() == source.read_bytes()
    found = adapter.find(str(source))
    assert found is not None
    for to, code in (("mlx", "unsupported_source"), ("onnx", "adapter_unsupported")):
        with pytest.raises(InvalidRequest) as caught:
            adapter.check_format(found, to)
        assert caught.value.code == code


def test_an_adapter_of_another_model_is_refused_where_the_model_is_named(tmp_path: Path, smollm2: Path) -> None:
    numbers = np.zeros((2, 8), "<f4")
    tensors = {"blk.0.ffn_up.weight.lora_a": numbers, "blk.0.ffn_up.weight.lora_b": numbers.T.copy()}
    source = gguf_adapter(tmp_path / "other.gguf", tensors)
    with pytest.raises(InvalidRequest) as caught:
        converted(source, "gguf", tmp_path / "models", smollm2)
    assert caught.value.code == "adapter_mismatch"


def test_what_is_no_adapter_is_not_taken_for_one(tmp_path: Path, smollm2: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    for path in (smollm2, tmp_path, tmp_path / "nothing", tmp_path / "adapter_config.json"):
        assert adapter.find(str(path)) is None
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    with pytest.raises(Broken):
        adapter.find(str(tmp_path / "cut.gguf"))


def test_a_base_is_a_file_a_folder_or_an_installed_model(tmp_path: Path, models_home: Path, smollm2: Path) -> None:
    store = ModelStore(models_home, Catalog.load())
    assert adapter.base_of(SMALL, store) == adapter.base_of(str(smollm2), store) == smollm2
    (tmp_path / "config.json").write_text("{}")
    assert adapter.base_of(str(tmp_path), store) == tmp_path
    with pytest.raises(NotFound) as caught:
        adapter.base_of("nobody", store)
    assert caught.value.code == "base_not_found"


def test_without_its_model_a_folder_becomes_no_gguf(peft: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        converted(peft, "gguf", tmp_path / "models")
    assert caught.value.code == "base_needed"
    assert "--base" in caught.value.hint


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.timeout(600)
def test_llama_cpps_converter_makes_the_same_of_a_gguf_base_as_of_its_folder(tmp_path: Path, smollm2: Path) -> None:
    """q_proj is rearranged by the number of heads, which is read from the GGUF's header."""
    source = adapter.find(str(AHOY))
    assert source is not None
    weights = ahoy()
    numbers = np.random.default_rng(1).normal(size=(2, 576)).astype("<f4")
    pairs = {
        **weights.pairs,
        LAYER: (numbers, numbers.T),
        LAYER.replace("q_proj", "k_proj"): (numbers, numbers.T[:192]),
    }
    folder = tmp_path / "Ahoy"
    folder.mkdir()
    write_peft(LoraWeights(pairs, weights.scale), folder)
    plain = tmp_path / "plain"
    to_onnx.dequantize(adapter.Source(smollm2, (smollm2,)), plain, SILENT)
    one = converted(folder, "gguf", tmp_path / "one", smollm2) / "ahoy-lora.gguf"
    other = converted(folder, "gguf", tmp_path / "other", plain) / "ahoy-lora.gguf"
    assert one.read_bytes() == other.read_bytes()
    assert lora.read(one, "gguf").scale == weights.scale
    assert gguf_header.check(one, with_layout=True).layout["blk.3.attn_q.weight.lora_b"].shape == (2, 576)
    assert lora_weights.CONFIG_FILE in {path.name for path in folder.iterdir()}
