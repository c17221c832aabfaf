"""The models that edge-agent knows."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import Broken, NotFound
from edge_agent.models.bundled import data_dir as bundled_data_dir
from edge_agent.models.manifest import Manifest, parse


@dataclass(frozen=True, slots=True)
class Catalog:
    """Manifests in the order written. `hub` is the hub's URL unless `$HF_ENDPOINT` says another."""

    entries: tuple[Manifest, ...]
    hub: str
    data_dir: Path

    @classmethod
    def load(cls, data_dir: Path | None = None) -> Catalog:
        """Read `catalog.toml` in `data_dir`, or the one that comes with edge-agent.

        Raises Broken code "bad_manifest" that names the model and the field.
        """
        folder = data_dir or bundled_data_dir()
        path = folder / "catalog.toml"
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            hub, models = str(document["hub"]), list(document["models"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Broken(
                f"{path} cannot be read as a catalog.",
                code="bad_manifest",
                hint="Mend it, or install edge-agent again.",
            ) from error
        entries = tuple(parse(model, f"{path.name}: {_name(model, n)}") for n, model in enumerate(models))
        for manifest in entries:
            if manifest.made is not None:
                raise Broken(
                    f"{path.name}: {manifest.id}: made: a model of the catalog has sources instead.",
                    code="bad_manifest",
                    hint="List where its files can be had.",
                    param="made",
                )
        if len({manifest.id for manifest in entries}) < len(entries):
            raise Broken(
                f"{path}: id: two models have the same id.", code="bad_manifest", hint="Rename one.", param="id"
            )
        return cls(entries, hub.rstrip("/"), folder)

    def find(self, model_id: str) -> Manifest | None:
        """The manifest of `model_id`, if the catalog has it."""
        return next((manifest for manifest in self.entries if manifest.id == model_id), None)

    def find_file(self, sha256: str) -> Manifest | None:
        """The model that has a file with this sha256."""
        return next((m for m in self.entries if any(file.sha256 == sha256 for file in m.files)), None)

    def get(self, model_id: str) -> Manifest:
        """The manifest of `model_id`. Raises NotFound code "unknown_model"."""
        manifest = self.find(model_id)
        if manifest is None:
            raise NotFound(
                f"There is no model {model_id!r} in the catalog.",
                code="unknown_model",
                hint="See `edge-agent models list`.",
                param="model",
            )
        return manifest


def _name(model: object, position: int) -> str:
    known = model.get("id") if isinstance(model, dict) else None
    return str(known) if isinstance(known, str) else f"models.{position}"
