"""LoRA adapters on a model of llama.cpp. Used only in a model's own process."""

from __future__ import annotations

import ctypes
from functools import cached_property
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as native

from edge_agent.models import lora
from edge_agent.models.formats.hf_files import unreadable
from edge_agent.models.lora.facts import BaseFacts

_WHOLE = 1.0  # an adapter's own alpha is in its file


class LlamaAdapters:
    """The adapters that were loaded beside one native model, which frees them with itself."""

    def __init__(self, model: Any, path: Path) -> None:
        self._model = model
        self._path = path
        self._known: dict[str, Any] = {}

    def load(self, name: str, path: Path) -> None:
        """See `Decoder.load_adapter`."""
        if name in self._known:
            return
        lora.check_made_for(lora.read(path, "gguf"), self._base)
        found = native.llama_adapter_lora_init(self._model, str(path).encode())
        if not found:
            raise unreadable(path, "could not be read by llama.cpp")
        self._known[name] = found

    def use(self, context: Any, name: str | None) -> None:
        """What `context` evaluates next is computed with this adapter; None: with none. Cheap where it was before."""
        if name is None:
            native.llama_set_adapters_lora(context, None, 0, None)
            return
        adapters = (native.llama_adapter_lora_p_ctypes * 1)(self._known[name])
        native.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(_WHOLE))

    @cached_property
    def _base(self) -> BaseFacts:
        return lora.base(self._path, "gguf")
