"""One file with whole models, for a device that has no network: what is in it, and in which order.

A plain tar archive (PAX), not compressed, since weights do not shrink:

    bundle.json               this version, the manifest of every model, the texts
    NOTICE.txt, licences/…    for people: who made the models, and under which terms
    models/<id>/<path>        the files of the first manifest in its order, then those of the next

Nothing else, and in no other order: what a reader may meet is known before it comes. The same models make the same
bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud_bridge.protocol.problems import Broken, NotAllowed, Problem
from edge_agent.models.made_here import MANIFEST_NAME
from edge_agent.models.manifest import MANIFEST, Manifest, ModelFile, parse, plain
from edge_agent.models.names import check_relative, is_device

VERSION: Final = 1
INDEX_NAME = "bundle.json"
MAX_INDEX_BYTES = 1 << 24
MAX_TEXT_BYTES = 1 << 20
MODELS = "models"

_MAX_MODELS = 1000
_ANOTHER = "Get the bundle again from where it was made, and compare its sha256."


@dataclass(frozen=True, slots=True)
class Bundled:
    """A model of a bundle: its manifest, and the same as it was written."""

    manifest: Manifest
    document: Mapping[str, Any]

    @classmethod
    def of(cls, manifest: Manifest) -> Bundled:
        """From a manifest of this machine."""
        return cls(manifest, MANIFEST.dump_python(manifest, mode="json", exclude_none=True))

    @property
    def record(self) -> bytes:
        """What stands in manifest.json of a model that was made somewhere."""
        return (json.dumps(self.document, indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Index:
    """What is in a bundle: the names and sizes in bytes of its texts, and its models."""

    texts: Mapping[str, int]
    models: Sequence[Bundled]

    @property
    def size(self) -> int:
        """All files of all models, in bytes."""
        return sum(model.manifest.size for model in self.models)

    def to_bytes(self) -> bytes:
        """As it stands in the bundle."""
        document = {
            "bundle": VERSION,
            "texts": dict(self.texts),
            "models": [model.document for model in self.models],
        }
        return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, written: bytes) -> Index:
        """The inverse, of bytes from anywhere.

        Raises Broken code "bundle_unreadable" | "bundle_too_new" | "manifest_too_new" | "bad_manifest", and NotAllowed
        code "bundle_refused" for names that a bundle never has.
        """
        try:
            document = json.loads(written)
            version, texts, models = document["bundle"], document["texts"], document["models"]
            if not isinstance(version, int) or not isinstance(texts, dict) or not isinstance(models, list):
                raise TypeError  # noqa: TRY301  # one place says it
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise unreadable(f"has a {INDEX_NAME} that cannot be read") from error
        if version > VERSION:
            raise Broken(
                "The bundle was made by a newer edge-agent.", code="bundle_too_new", hint="Update edge-agent here."
            )
        if not 0 < len(models) <= _MAX_MODELS or not all(isinstance(model, dict) for model in models):
            raise unreadable("has no sensible list of models")
        found = [Bundled(parse(model, f"{INDEX_NAME}, model {n}"), model) for n, model in enumerate(models, 1)]
        _check_names([model.manifest for model in found])
        return cls(_checked_texts(texts), found)

    def files(self) -> Iterator[tuple[Bundled, ModelFile]]:
        """The files in the order in which they come."""
        for model in self.models:
            for file in model.manifest.files:
                yield model, file


def member_name(model_id: str, path: str) -> str:
    """What a model's file is called in a bundle."""
    return f"{MODELS}/{model_id}/{path}"


def unreadable(what: str, code: str = "bundle_unreadable") -> Broken:
    """The file is no bundle, or a damaged one."""
    return Broken(f"The bundle {what}.", code=code, hint=_ANOTHER)


def refused(what: str) -> NotAllowed:
    """The file holds what no bundle of ours does."""
    return NotAllowed(
        f"The bundle {what}.",
        code="bundle_refused",
        hint="Nothing was installed. Take bundles that `edge-agent models export` made, from whom you trust.",
    )


def _checked_texts(texts: Mapping[str, Any]) -> dict[str, int]:
    for name, size in texts.items():
        try:
            check_relative(name)
        except ValueError as error:
            raise refused(f"has a text with the name {plain(name)!r}") from error
        if name == INDEX_NAME or name.split("/")[0] == MODELS:
            raise refused(f"has a text with the name {plain(name)!r}")
        if not isinstance(size, int) or not 0 <= size <= MAX_TEXT_BYTES:
            raise unreadable(f"has a text of no sensible size: {plain(name)}")
    return dict(texts)


def _check_names(manifests: Sequence[Manifest]) -> None:
    """What the manifest's own checks leave open: names that are one on some systems' disks."""
    ids = [manifest.id for manifest in manifests]
    if len(set(ids)) < len(ids):
        raise refused("has two models of one name")
    for manifest in manifests:
        if is_device(manifest.id):
            raise refused(f"has a model with the name {manifest.id}")
        taken = {MANIFEST_NAME}
        for file in manifest.files:
            path = file.path.casefold()
            if any(path == one or path.startswith(f"{one}/") or one.startswith(f"{path}/") for one in taken):
                raise _same_name(manifest.id, file.path)
            taken.add(path)


def _same_name(model_id: str, path: str) -> Problem:
    return refused(f"has two files of {model_id} in one place: {path}")
