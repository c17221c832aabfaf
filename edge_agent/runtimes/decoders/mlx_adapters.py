"""LoRA adapters on a model of mlx-lm. Used only in a model's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_agent.models import lora
from edge_agent.models.formats.hf_files import unreadable
from edge_agent.models.lora.facts import LoraFacts, mismatch
from edge_agent.runtimes.decoders import mlx_folder

Modules = dict[str, Any]


class MlxAdapters:
    """The adapters that were loaded beside one model. One is used at a time: its layers take the place of the model's
    own, which they hold and compute with.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._own: Modules = {}
        self._known: dict[str, Modules] = {}
        self._used: str | None = None

    def load(self, name: str, path: Path) -> None:
        """See `Decoder.load_adapter`."""
        if name in self._known:
            return
        facts = lora.read(path, "mlx")
        mlx_folder.check_weights(path)
        self.use(None)
        own = dict(self._model.named_modules())
        try:
            self._known[name] = self._added(path, facts)
        finally:
            self._put(own, [module for module, now in self._model.named_modules() if own.get(module, now) is not now])
        self._own |= {module: own[module] for module in self._known[name]}

    def use(self, name: str | None) -> None:
        """What is evaluated next is computed with this adapter; None: with none."""
        if name == self._used:
            return
        changed = self._known[self._used] if self._used is not None else {}
        self._put(self._own, changed)
        if name is not None:
            self._put(self._known[name], self._known[name])
        self._used = name

    def close(self) -> None:
        """Let go of all weights."""
        self._known.clear()
        self._own.clear()
        self._model = None

    def _added(self, path: Path, facts: LoraFacts) -> Modules:
        """The layers with the adapter in them, by name."""
        import mlx.core as mx  # noqa: PLC0415  # an optional engine
        from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415

        try:
            load_adapters(self._model, str(path.parent))
            self._model.eval()
            found = {name: layer for name, layer in self._model.named_modules() if name in facts.shapes}
            mx.eval([layer.parameters() for layer in found.values()])
        except ValueError as error:
            if "incompatible tensors" in str(error) or "LoRA" in str(error):
                raise mismatch("its matrices are not this model's") from error
            raise unreadable(path, "could not be read by mlx-lm") from error
        except Exception as error:  # whatever MLX dislikes about the files, by any name
            raise unreadable(path, "could not be read by mlx-lm") from error
        return found

    def _put(self, layers: Modules, names: Any) -> None:
        from mlx.utils import tree_unflatten  # noqa: PLC0415  # an optional engine

        self._model.update_modules(tree_unflatten([(name, layers[name]) for name in names]))
