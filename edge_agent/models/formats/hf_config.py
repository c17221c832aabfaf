"""The dimensions that a model in Hugging Face form states in its config.json, whoever wants to know them.

They come from anywhere, so each is bounded by what a model could have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.models.formats.hf_files import missing, object_of, unreadable

CONFIG_FILE = "config.json"
GENAI_CONFIG_FILE = "genai_config.json"

_WIDTH = ("hidden_size", "n_embd", "d_model")
_INNER = ("intermediate_size", "n_inner", "ffn_dim")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads")
_KV_HEADS = ("num_key_value_heads",)
_HEAD_SIZE = ("head_dim", "head_size")
_VOCABULARY = ("vocab_size",)
_CONTEXT = ("max_position_embeddings", "n_positions", "context_length")
_MOST: Mapping[tuple[str, ...], int] = {
    _WIDTH: 1 << 20,
    _INNER: 1 << 22,
    _LAYERS: 1 << 10,
    _HEADS: 1 << 14,
    _KV_HEADS: 1 << 14,
    _HEAD_SIZE: 1 << 16,
    _VOCABULARY: 1 << 24,
    _CONTEXT: 1 << 30,
}


@dataclass(frozen=True, slots=True)
class HfConfig:
    """What the file `path` says, in `parts`: the later ones say more of the language model itself.

    Properties that cannot be None raise Broken code "model_unreadable" where the number is neither stated nor implied.
    """

    path: Path
    parts: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, folder: Path) -> HfConfig:
        """The folder's config.json, where a language model may stand as "text_config" beside others.

        Without one the genai_config.json that onnxruntime-genai's builder writes, which says the same deeper inside.
        Raises Broken code "model_file_missing" | "model_unreadable", the latter also for a senseless number.
        """
        config = cls._of(folder)
        # Of each part, since nobody knows from which one a library will take it.
        for part in config.parts:
            for names, most in _MOST.items():
                for name in names:
                    value = part.get(name)
                    if value is not None and not (type(value) is int and 0 < value <= most):
                        raise unreadable(config.path, f"has a senseless {name}")
        return config

    @property
    def width(self) -> int:
        """Numbers in a hidden state."""
        return self._required(_WIDTH)

    @property
    def inner(self) -> int:
        """Numbers between the two halves of a layer's feed-forward part."""
        return self._stated(_INNER) or 4 * self.width

    @property
    def layers(self) -> int:
        """How many there are."""
        return self._required(_LAYERS)

    @property
    def heads(self) -> int:
        """Heads of queries in a layer."""
        return self._required(_HEADS)

    @property
    def kv_heads(self) -> int:
        """Heads of keys, and of values, in a layer."""
        return self._stated(_KV_HEADS) or self.heads

    @property
    def head_size(self) -> int:
        """Numbers in one key or value."""
        return self._stated(_HEAD_SIZE) or max(1, self.width // self.heads)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self._required(_VOCABULARY)

    @property
    def context_length(self) -> int | None:
        """How many tokens the model was made to read, if that is stated."""
        return self._stated(_CONTEXT)

    @classmethod
    def _of(cls, folder: Path) -> HfConfig:
        path, other = folder / CONFIG_FILE, folder / GENAI_CONFIG_FILE
        if path.is_file():
            config = object_of(path)
            return cls(path, (config, _inner(config, "text_config")))
        if other.is_file():
            model = _inner(object_of(other), "model")
            return cls(other, (model, _inner(model, "decoder")))
        raise missing(path)

    def _stated(self, names: tuple[str, ...]) -> int | None:
        found = (part[name] for part in reversed(self.parts) for name in names if part.get(name) is not None)
        return next(found, None)

    def _required(self, names: tuple[str, ...]) -> int:
        found = self._stated(names)
        if found is None:
            raise unreadable(self.path, f"does not say its {names[0]}")
        return found


def _inner(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}
