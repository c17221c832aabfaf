"""SmolLM2 in all three formats, as the real command made it: what the tests of the runtimes are given."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from tests.model_files import MLX_LLM, ONNX_LLM, SMALL_LLM

pytestmark = pytest.mark.slow


def test_they_are_installed_and_say_what_they_were_made_of(converted_models: Path) -> None:
    store = ModelStore(converted_models, Catalog.load())
    expected = {SMALL_LLM: "gguf", ONNX_LLM: "onnx", **({MLX_LLM: "mlx"} if find_spec("mlx_lm") else {})}
    assert {manifest.id: manifest.format for manifest in store.installed_llms()} == expected
    assert store.damaged() == []
    gguf = hashlib.sha256(store.file(SMALL_LLM).read_bytes()).hexdigest()
    for manifest in store.installed_llms():
        store.verify(manifest.id)
        assert (manifest.licence, manifest.context_length) == ("Apache-2.0", 8192)
        if manifest.made is not None:
            assert [file.sha256 for file in manifest.made.source.files] == [gguf]
            assert store.file(manifest.id).suffix in {".onnx", ".safetensors"}
            assert (store.path(manifest.id) / "tokenizer.json").is_file()
