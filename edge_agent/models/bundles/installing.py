"""Installing a bundle, a file from anywhere: it is read once, and nothing appears before all of it is checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloud_bridge.protocol.problems import Broken, Conflict, NotAllowed, NotFound
from edge_agent.models.bundles.bundle import INDEX_NAME, MAX_INDEX_BYTES, Bundled, Index, member_name, unreadable
from edge_agent.models.bundles.tar import TarReader
from edge_agent.models.checked import Checked
from edge_agent.models.disk import disk_errors
from edge_agent.models.locks.lock import exclusive
from edge_agent.models.locks.place import sync_folder
from edge_agent.models.made_here import MANIFEST_NAME
from edge_agent.models.manifest import Manifest, ModelFile
from edge_agent.models.progress import SILENT, Meter, Progress
from edge_agent.models.store import ModelStore

_SCRATCH = ".importing"


@dataclass(frozen=True, slots=True)
class Imported:
    """The ids of the models that were installed, and of those that were here already."""

    installed: Sequence[str]
    there: Sequence[str]


def install(store: ModelStore, source: BinaryIO, progress: Progress = SILENT) -> Imported:
    """Install the models of the bundle that `source`, a file or a pipe, gives. Blocks.

    Every sha256 is checked before the first model appears; then each appears whole. One that is here already, with
    the same files, stays as it is; where its files are damaged it is replaced. Two imports wait for each other.

    Raises Broken code "bundle_unreadable" | "bundle_truncated" | "bundle_corrupt" | "bundle_too_new" |
    "bad_manifest" | "manifest_too_new"; NotAllowed code "bundle_refused" for anything that no bundle has, and
    "not_the_catalogs"; Conflict code "model_id_taken" | "model_in_use"; NotFound code "unknown_model" for a model of
    another catalog; Unavailable code "not_enough_disk" | "models_folder_not_writable"; InvalidRequest code
    "file_too_large".
    """
    tar = TarReader(source)
    index = Index.from_bytes(tar.whole(INDEX_NAME, MAX_INDEX_BYTES))
    with disk_errors(store.root), _scratch(store.root, progress) as scratch:
        wanted = {model.manifest.id for model in index.models if not _is_there(store, model)}
        store.check_room(sum(model.manifest.size for model in index.models if model.manifest.id in wanted))
        for name, size in index.texts.items():
            for _ in tar.member(name, size):
                pass
        _receive(tar, index, scratch, wanted, Meter(progress, index.size))
        tar.finish()
        for model in index.models:
            if model.manifest.id in wanted:
                _put(store, model, scratch / model.manifest.id, progress)
    there = [model.manifest.id for model in index.models if model.manifest.id not in wanted]
    return Imported(sorted(wanted), there)


@contextmanager
def _scratch(root: Path, progress: Progress) -> Iterator[Path]:
    """An empty folder among the models, which nobody else uses; what a killed import left in it is removed first."""
    with exclusive(root / f"{_SCRATCH}.lock", lambda: progress.advance(0, 0, "waiting for another import")):
        scratch = root / _SCRATCH
        if scratch.is_symlink():
            scratch.unlink()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _is_there(store: ModelStore, model: Bundled) -> bool:
    """Whether the model is here, whole. Raises where something else has its name, or it may not have it."""
    manifest = model.manifest
    catalogued = store.catalog.find(manifest.id)
    if catalogued is not None and manifest.made is not None:
        raise _taken(manifest.id, "a model of the catalog has this id")
    if catalogued is None and manifest.made is None:
        raise NotFound(
            f"The bundle's {manifest.id} is of a catalog, and not of this edge-agent's.",
            code="unknown_model",
            hint="Update edge-agent here.",
        )
    if catalogued is not None and _contents(catalogued) != _contents(manifest):
        raise NotAllowed(
            f"The bundle's {manifest.id} is not the model that the catalog has under this id.",
            code="not_the_catalogs",
            hint="Nothing was installed. Export it with the same version of edge-agent as here.",
        )
    try:
        here = store.get(manifest.id)
        folder = store.path(manifest.id)
    except NotFound:
        store.place(manifest.id).check_no_link()
        if os.path.lexists(store.place(manifest.id).folder):
            raise _taken(manifest.id, "a folder that is no model has this name") from None
        return False
    except Broken as problem:
        raise _taken(manifest.id, f"what is here under this id is damaged: {problem.message}") from problem
    if _contents(here) != _contents(manifest):
        raise _taken(manifest.id, "another model has this id here")
    checked = Checked(folder)
    return all(checked.is_whole(file) for file in here.files)


def _contents(manifest: Manifest) -> set[tuple[str, str, int]]:
    return {(file.path, file.sha256, file.size) for file in manifest.files}


def _taken(model_id: str, why: str) -> Conflict:
    return Conflict(
        f"{model_id} cannot be installed: {why.removesuffix('.')}.",
        code="model_id_taken",
        hint=f"Nothing was installed. See `edge-agent models list`; `edge-agent models rm {model_id}` makes room.",
    )


def _receive(tar: TarReader, index: Index, scratch: Path, wanted: set[str], meter: Meter) -> None:
    for model, file in index.files():
        manifest = model.manifest
        folder = scratch / manifest.id if manifest.id in wanted else None
        done, digest = 0, hashlib.sha256()
        with _opened(folder, file) as opened:
            for chunk in tar.member(member_name(manifest.id, file.path), file.size):
                digest.update(chunk)
                done += len(chunk)
                if opened is not None:
                    opened.write(chunk)
                meter.partly(done, file.path)
        if digest.hexdigest() != file.sha256:
            what = f"is damaged: the sha256 of {file.path} of {manifest.id} is wrong"
            raise unreadable(what, "bundle_corrupt")
        meter.finish(file.size, file.path)


@contextmanager
def _opened(folder: Path | None, file: ModelFile) -> Iterator[BinaryIO | None]:
    """The file to write, on disk for good when the block ends; None for one that is only read."""
    if folder is None:
        yield None
        return
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as opened:
        yield opened
        opened.flush()
        os.fsync(opened.fileno())


def _put(store: ModelStore, model: Bundled, made: Path, progress: Progress) -> None:
    manifest = model.manifest
    if manifest.made is not None:
        with (made / MANIFEST_NAME).open("xb") as opened:
            opened.write(model.record)
            opened.flush()
            os.fsync(opened.fileno())
    checked = Checked(made)
    for file in manifest.files:
        checked.add(file)
    checked.save()
    for folder in (made, *(each for each in made.rglob("*") if each.is_dir())):
        sync_folder(folder)
    place = store.place(manifest.id)
    with place.changing(lambda: progress.advance(manifest.size, manifest.size, "waiting for a pull")):
        if not _is_there(store, model):  # a pull may have brought it meanwhile
            place.fill(made)
