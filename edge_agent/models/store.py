"""The models folder: what is installed, pulling, verifying, removing.

    <root>/<model id>/<file path>     and, while pulling, <file path>.<sha256 start>.part beside it

A bundled model is used where it came with edge-agent, without a copy. A folder with a manifest.json is a model that was
made here (`edge-quantize`); all but `pull` treats it as it does those of the catalog.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.protocol.problems import Broken, Conflict, NotAllowed, NotFound, Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.checked import Checked
from edge_agent.models.download import Download
from edge_agent.models.fetch import not_enough_disk
from edge_agent.models.lock import exclusive
from edge_agent.models.made_here import MadeHere, damaged
from edge_agent.models.manifest import BundledSource, Manifest, ModelFile, plain
from edge_agent.models.memory import default_budget_mb
from edge_agent.models.progress import SILENT, Meter, Progress

if TYPE_CHECKING:
    from edge_agent.models.hub import Hub

_SPARE_DISK = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the catalog, or one that was made here; `size_on_disk` in bytes, partial downloads included."""

    manifest: Manifest
    installed: bool
    bundled: bool
    size_on_disk: int

    @property
    def made_here(self) -> bool:
        """Whether it was made on this machine, and is not of the catalog."""
        return self.manifest.made is not None


@dataclass(frozen=True, slots=True)
class Damaged:
    """A model that was made here and cannot be run; `problem` says why, and what to do. `remove` takes it away."""

    model_id: str
    problem: Broken


@dataclass(frozen=True, slots=True)
class Verified:
    """A model whose every file was read and had the right sha256."""

    model_id: str
    files: int
    size: int


class ModelStore:
    """The models under `root` (`$EDGE_AGENT_HOME/models`). Every method blocks; `pull` for as long as it takes."""

    def __init__(
        self,
        root: Path,
        catalog: Catalog,
        *,
        environ: Mapping[str, str] | None = None,
        free_disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        memory_budget_mb: Callable[[], int] = default_budget_mb,
    ) -> None:
        self.root = root
        self.catalog = catalog
        self._made_here = MadeHere(root, {manifest.id for manifest in catalog.entries})
        self._environ = os.environ if environ is None else environ
        self._free_disk = free_disk
        self._memory_budget_mb = memory_budget_mb

    @cached_property
    def _hub(self) -> Hub:
        """One for the store's life: a hub that did not answer is not asked again for every file."""
        from edge_agent.models.hub import Hub  # noqa: PLC0415 its HTTP client is slow to import, and only pulls need it

        return Hub(self.catalog.hub, self._environ)

    def list(self) -> Sequence[Entry]:
        """Every model: the catalog's in its order, then those made here. Sizes are compared, contents are not read."""
        made_here = [found for found in self._made_here.checked().values() if isinstance(found, Manifest)]
        return [self._entry(manifest) for manifest in (*self.catalog.entries, *made_here)]

    def damaged(self) -> Sequence[Damaged]:
        """The models made here that `list` leaves out, since they are not what their manifest says."""
        found = self._made_here.checked()
        return [Damaged(plain(name), problem) for name, problem in found.items() if isinstance(problem, Broken)]

    def find(self, model_id: str) -> Manifest | None:
        """The manifest of a model of the catalog, or of one that was made here and is sound."""
        return next((m for m in (*self.catalog.entries, *self._made_here.sound()) if m.id == model_id), None)

    def get(self, model_id: str) -> Manifest:
        """The same. Raises NotFound code "unknown_model", and Broken where one made here is damaged."""
        found = self.catalog.find(model_id) or self._made_here.get(model_id)
        if isinstance(found, Manifest):
            return found
        if found is not None:
            raise found.with_traceback(None)  # one object, told again until it is mended
        raise NotFound(
            f"There is no model {model_id!r} in the catalog, and none of that name was made here.",
            code="unknown_model",
            hint="See `edge-agent models list`.",
            param="model",
        )

    def path(self, model_id: str) -> Path:
        """The model's folder. Raises what `get` raises, and NotFound code "model_not_installed"."""
        return self._installed_folder(self.get(model_id))

    def file(self, model_id: str, name: str | None = None) -> Path:
        """The model's main file, or the one named, with its size checked.

        Raises what `path` raises, and Broken code "model_file_missing" | "model_truncated" | "model_corrupt".
        """
        return self.file_of(self.get(model_id), name)

    def file_of(self, manifest: Manifest, name: str | None = None) -> Path:
        """As `file`, for a manifest that this store gave: looks at that one file, and for no other model."""
        file = _named(manifest, name)
        path = self._installed_folder(manifest) / file.path
        if not path.is_file():
            raise _damaged(manifest, f"has no file {file.path}", "model_file_missing")
        size = path.stat().st_size
        if size < file.size:
            raise _damaged(manifest, f"is cut short: {file.path} has {size} of {file.size} bytes", "model_truncated")
        if size > file.size:
            raise _damaged(manifest, f"is damaged: {file.path} has {size - file.size} bytes too many", "model_corrupt")
        return path

    def pull(self, model_id: str, progress: Progress) -> Path:
        """Make the model whole, fetching only what is missing or damaged; its folder.

        Two pulls of one model do not collide: the second waits and finds it done. A cut pull is resumed by the next.
        Raises what `get` raises; Unavailable code "model_unavailable" | "not_enough_disk" |
        "models_folder_not_writable"; NotAllowed code "unsafe_path"; Broken code "model_corrupt" for a bundled one and
        for one made here, which can be had nowhere else.
        """
        manifest = self.get(model_id)
        bundled = _bundled_folder(manifest, self.catalog.data_dir)
        if bundled is not None or manifest.made is not None:
            there = bundled or self._own_folder(model_id)
            self._verify(manifest, there, Meter(progress, manifest.size))
            return there
        folder = self._own_folder(model_id)
        with self._locked(model_id, lambda: progress.advance(0, manifest.size, "waiting for another pull")):
            if folder.is_symlink():
                raise NotAllowed(
                    f"{folder} is a link; models are not written through links.",
                    code="unsafe_path",
                    hint="Remove the link, or link the whole models folder instead.",
                )
            folder.mkdir(parents=True, exist_ok=True)
            checked = Checked(folder)
            missing = [file for file in manifest.files if not checked.is_whole(file)]
            meter = Meter(progress, manifest.size)
            meter.finish(manifest.size - sum(file.size for file in missing), model_id)
            wheels = self._wheels_folder(model_id)
            download = Download(model_id, folder, missing, hub=self._hub, environ=self._environ, wheels_folder=wheels)
            if missing and self._free_disk(folder) < download.room_needed + _SPARE_DISK:
                raise not_enough_disk(self.root, download.still_to_come)
            try:
                download.fetch(checked, meter)
            finally:
                checked.save()
            for left in folder.rglob("*.part"):  # of another version, or of one file too many
                left.unlink()
        return folder

    def verify(self, model_id: str | None = None, progress: Progress = SILENT) -> Sequence[Verified]:
        """Read every file of the model (or of all that are here) and compare its sha256.

        Raises Broken code "model_corrupt" that names the files, "model_file_missing", what `damaged` has, or NotFound.
        """
        if model_id is not None:
            manifests = [self.get(model_id)]
            self.path(model_id)
        else:
            manifests = [entry.manifest for entry in self.list() if entry.size_on_disk]
        meter = Meter(progress, sum(manifest.size for manifest in manifests))
        verified = [self._verify(manifest, self._folder(manifest), meter) for manifest in manifests]
        for one in self.damaged() if model_id is None else ():
            raise one.problem.with_traceback(None)
        return verified

    def remove(self, model_id: str) -> int:
        """Delete the model's folder; the bytes freed.

        Raises NotFound as `path` does; Conflict code "model_in_use"; NotAllowed code "model_bundled".
        """
        own = self._own_folder(model_id)
        if model_id not in self._made_here.found():  # a damaged one may be removed, too
            manifest = self.get(model_id)
            if not own.exists() and _bundled_folder(manifest, self.catalog.data_dir) is not None:
                raise NotAllowed(
                    f"The model {model_id} is part of edge-agent.", code="model_bundled", hint="It cannot be removed."
                )
            self.path(model_id)
        with self._locked(model_id, lambda: None):
            freed = sum(_size(path) for path in own.rglob("*"))
            shutil.rmtree(self._wheels_folder(model_id), ignore_errors=True)
            try:
                own.unlink() if own.is_symlink() else shutil.rmtree(own)
            except PermissionError as error:
                raise Conflict(
                    f"The model {model_id} is in use, or not yours.",
                    code="model_in_use",
                    hint="Stop the daemon and try again.",
                ) from error
        return freed

    def llms_that_fit(self, ram_budget_mb: int) -> Sequence[Manifest]:
        """Language models within the budget in MiB (0: half of this machine's memory), the best choice first.

        First the catalog's, installed or not, then those made here; of each the largest first.
        """
        llms = [m for m in (*self.catalog.entries, *self._made_here.sound()) if m.kind == "llm"]
        return self._best_first(llms, ram_budget_mb)

    def default_llm(self, ram_budget_mb: int) -> Manifest:
        """The largest that fits, installed or not. Raises Unavailable code "no_model_fits"."""
        fitting = self.llms_that_fit(ram_budget_mb)
        if not fitting:
            raise Unavailable(
                "No language model in the catalog fits the memory budget.",
                code="no_model_fits",
                hint="Raise [models] ram_budget_mb, or free memory.",
            )
        return fitting[0]

    def preferred(self, installed: Sequence[Manifest], ram_budget_mb: int) -> Manifest | None:
        """Which of these language models `local` means: the first of them in `llms_that_fit`. Looks at no file."""
        return next(iter(self._best_first(installed, ram_budget_mb)), None)

    def installed_llms(self) -> Sequence[Manifest]:
        """Language models that are installed or were made here, the largest first. Cheap enough for every request."""
        pulled = [m for m in self.catalog.entries if m.kind == "llm" and _is_whole(m, self._folder(m))]
        found = [manifest for manifest in (*pulled, *self._made_here.sound()) if manifest.kind == "llm"]
        return sorted(found, key=lambda manifest: manifest.ram_mb, reverse=True)

    def _best_first(self, llms: Iterable[Manifest], ram_budget_mb: int) -> Sequence[Manifest]:
        budget = ram_budget_mb or self._memory_budget_mb()
        fitting = [manifest for manifest in llms if manifest.ram_mb <= budget]
        return sorted(fitting, key=lambda manifest: (manifest.made is None, manifest.ram_mb), reverse=True)

    def _verify(self, manifest: Manifest, folder: Path, meter: Meter) -> Verified:
        checked = Checked(folder)
        bad: list[str] = []
        for file in manifest.files:
            if not (folder / file.path).is_file():
                raise _damaged(manifest, f"has no file {file.path}", "model_file_missing")
            if not checked.reads_whole(file, partial(meter.partly, what=file.path)):
                bad.append(file.path)
            meter.finish(file.size, file.path)
        if folder == self._own_folder(manifest.id):
            checked.save()
        if bad:
            raise _damaged(manifest, f"is damaged: the sha256 of {', '.join(bad)} is wrong", "model_corrupt")
        return Verified(manifest.id, len(manifest.files), manifest.size)

    def _entry(self, manifest: Manifest) -> Entry:
        folder = self._folder(manifest)
        own = folder == self._own_folder(manifest.id)
        on_disk = sum(_size(path) for path in folder.rglob("*")) if own else manifest.size
        return Entry(manifest, installed=_is_whole(manifest, folder), bundled=not own, size_on_disk=on_disk)

    def _folder(self, manifest: Manifest) -> Path:
        own = self._own_folder(manifest.id)
        return own if own.exists() else _bundled_folder(manifest, self.catalog.data_dir) or own

    def _installed_folder(self, manifest: Manifest) -> Path:
        folder = self._folder(manifest)
        if not folder.is_dir():
            raise NotFound(
                f"The model {manifest.id} is not installed.",
                code="model_not_installed",
                hint=f"Get it with `edge-agent models pull {manifest.id}`.",
                param="model",
            )
        return folder

    def _own_folder(self, model_id: str) -> Path:
        return self.root / model_id

    def _wheels_folder(self, model_id: str) -> Path:
        return self.root / f".wheels-{model_id}"

    def _locked(self, model_id: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        return exclusive(self.root / f".{model_id}.lock", waiting)


def _bundled_folder(manifest: Manifest, data_dir: Path) -> Path | None:
    for source in manifest.files[0].sources:
        if isinstance(source, BundledSource) and (data_dir / source.folder / manifest.files[0].path).is_file():
            return data_dir / source.folder
    return None


def _named(manifest: Manifest, name: str | None) -> ModelFile:
    for file in manifest.files:
        if name in {None, file.path}:
            return file
    raise NotFound(
        f"The model {manifest.id} has no file of that name.", code="unknown_model_file", hint="See its manifest."
    )


def _damaged(manifest: Manifest, what: str, code: str) -> Broken:
    if manifest.made is not None:
        return damaged(manifest.id, what, code)
    return Broken(
        f"The model {manifest.id} {what}.", code=code, hint=f"Repair it with `edge-agent models pull {manifest.id}`."
    )


def _is_whole(manifest: Manifest, folder: Path) -> bool:
    return all(_size(folder / file.path) == file.size for file in manifest.files)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
