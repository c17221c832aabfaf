"""What a model's config.json says, the same for whoever asks: bounded, and never guessed where it must be known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats.hf_config import HfConfig


def config(folder: Path, said: Any) -> HfConfig:
    (folder / "config.json").write_text(json.dumps(said))
    return HfConfig.read(folder)


@pytest.mark.parametrize("name", ["max_position_embeddings", "n_positions", "context_length"])
def test_the_context_length_has_several_names(tmp_path: Path, name: str) -> None:
    assert config(tmp_path, {name: 77}).context_length == 77
    assert config(tmp_path, {name: None}).context_length is None


def test_what_is_said_of_the_language_model_itself_comes_first(tmp_path: Path) -> None:
    found = config(tmp_path, {"vocab_size": 5, "num_hidden_layers": 7, "text_config": {"vocab_size": 9}})
    assert (found.vocabulary, found.layers) == (9, 7)


def test_sizes_that_follow_from_others_need_not_be_said(tmp_path: Path) -> None:
    found = config(tmp_path, {"n_embd": 64, "n_head": 4})
    assert (found.kv_heads, found.head_size, found.inner) == (4, 16, 256)
    with pytest.raises(Broken, match="does not say its vocab_size") as caught:
        _ = found.vocabulary
    assert caught.value.code == "model_unreadable"


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "3", [3], 1025])
@pytest.mark.parametrize("name", ["num_hidden_layers", "n_layers"])
def test_senseless_numbers_are_refused_wherever_they_stand(tmp_path: Path, name: str, value: Any) -> None:
    for said in ({name: value}, {name: value, "text_config": {name: 2}}, {name: 2, "text_config": {name: value}}):
        with pytest.raises(Broken, match=f"senseless {name}") as caught:
            config(tmp_path, said)
        assert (caught.value.code, "models verify" in caught.value.hint) == ("model_unreadable", True)


def test_a_folder_without_a_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(Broken) as caught:
        HfConfig.read(tmp_path)
    assert caught.value.code == "model_file_missing"
