"""The models folder: what is installed, pulling, verifying, removing.

    <root>/<model id>/<file path>     and, while pulling, <file path>.<sha256 start>.part beside it

A bundled model is used where it came with edge-agent, without a copy. A folder with a manifest.json is a model that was
made here (`edge-quantize`); all but `pull` treats it as it does those of the catalog.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.protocol.problems import Broken, NotAllowed, NotFound, Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.checked import Checked
from edge_agent.models.damage import all_damaged, damaged
from edge_agent.models.disk import check_room, disk_errors, free_disk
from edge_agent.models.download.download import Download
from edge_agent.models.entries import Damaged, Entry, Verified
from edge_agent.models.formats.header_checks import HeaderChecks
from edge_agent.models.locks.place import Place
from edge_agent.models.made_here import MadeHere
from edge_agent.models.manifest import BundledSource, Manifest, ModelFile, ModelKind, plain
from edge_agent.models.memory import default_budget_mb
from edge_agent.models.progress import SILENT, Meter, Progress

if TYPE_CHECKING:
    from edge_agent.models.download.hub import Hub


class ModelStore:
    """The models under `root` (`$EDGE_AGENT_HOME/models`). Every method blocks; `pull` for as long as it takes."""

    def __init__(
        self,
        root: Path,
        catalog: Catalog,
        *,
        environ: Mapping[str, str] | None = None,
        free_disk: Callable[[Path], int] = free_disk,
        memory_budget_mb: Callable[[], int] = default_budget_mb,
    ) -> None:
        self.root = root
        self.catalog = catalog
        self._made_here = MadeHere(root, {manifest.id for manifest in catalog.entries})
        self._headers = HeaderChecks()
        self._environ = os.environ if environ is None else environ
        self._free_disk = free_disk
        self._memory_budget_mb = memory_budget_mb

    @cached_property
    def _hub(self) -> Hub:
        """One for the store's life: a hub that did not answer is not asked again for every file."""
        from edge_agent.models.download.hub import Hub  # noqa: PLC0415 its HTTP client is slow to import, and only pulls need it

        return Hub(self.catalog.hub, self._environ)

    def list(self) -> Sequence[Entry]:
        """Every model: the catalog's in its order, then those made here. Sizes are compared, contents are not read."""
        made_here = [found for found in self._looked_into().values() if isinstance(found, Manifest)]
        return [self._entry(manifest) for manifest in (*self.catalog.entries, *made_here)]

    def damaged(self) -> Sequence[Damaged]:
        """The models made here that `list` leaves out, and those of the catalog that could not be loaded."""
        found: dict[str, Manifest | Broken | None] = {
            m.id: self._headers.problem(m, self._folder(m))
            for m in self.catalog.entries
            if _is_whole(m, self._folder(m))
        }
        found |= self._looked_into()
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
            self._installed_folder(manifest)  # it may have been removed in this moment
            raise damaged(manifest, f"has no file {file.path}", "model_file_missing")
        size = path.stat().st_size
        if size < file.size:
            raise damaged(manifest, f"is cut short: {file.path} has {size} of {file.size} bytes", "model_truncated")
        if size > file.size:
            raise damaged(manifest, f"is damaged: {file.path} has {size - file.size} bytes too many", "model_corrupt")
        return path

    def pull(self, model_id: str, progress: Progress) -> Path:
        """Make the model whole, fetching only what is missing or damaged; its folder.

        Two pulls of one model do not collide: the second waits and finds it done. A cut pull is resumed by the next.
        Raises what `get` and `Hub` raise; Unavailable code "model_unavailable" | "not_enough_disk" |
        "models_folder_not_writable"; InvalidRequest code "file_too_large"; NotAllowed code "unsafe_path"; Broken code
        "model_corrupt" for a bundled one and for one made here, which can be had nowhere else.
        """
        manifest = self.get(model_id)
        bundled = _bundled_folder(manifest, self.catalog.data_dir)
        if bundled is not None or manifest.made is not None:
            there = bundled or self.place(model_id).folder
            self._verify(manifest, there, Meter(progress, manifest.size))
            return there
        place = self.place(model_id)
        folder = place.folder
        alone = place.changing(lambda: progress.advance(0, manifest.size, "waiting for another pull"))
        with alone, disk_errors(self.root):
            place.check_no_link()
            folder.mkdir(parents=True, exist_ok=True)
            checked = Checked(folder)
            missing = [file for file in manifest.files if not checked.is_whole(file)]
            meter = Meter(progress, manifest.size)
            meter.finish(manifest.size - sum(file.size for file in missing), model_id)
            download = Download(
                model_id, folder, missing, hub=self._hub, environ=self._environ, wheels_folder=place.wheels
            )
            if missing:
                self.check_room(download.room_needed)
            try:
                download.fetch(checked, meter)
            finally:
                checked.save()
            for left in folder.rglob("*.part"):  # of another version, or of one file too many
                left.unlink()
        return folder

    def verify(self, model_id: str | None = None, progress: Progress = SILENT) -> Sequence[Verified]:
        """Read every file of the model (or of all that have a file here) and compare its sha256.

        Raises Broken code "model_corrupt" that names the files, "model_file_missing", what `damaged` has, or NotFound;
        Broken code "models_damaged" that names them where there are several.
        """
        if model_id is not None:
            manifest = self.get(model_id)
            return [self._verify(manifest, self.path(model_id), Meter(progress, manifest.size))]
        manifests = [entry.manifest for entry in self.list() if self._has_files(entry.manifest)]
        meter = Meter(progress, sum(manifest.size for manifest in manifests))
        verified: list[Verified] = []
        problems: list[Broken] = []
        for manifest in manifests:
            try:
                verified.append(self._verify(manifest, self._folder(manifest), meter))
            except Broken as problem:
                problems.append(problem)
        problems += [one.problem for one in self.damaged()]
        if problems:
            raise all_damaged(problems)
        return verified

    def remove(self, model_id: str) -> int:
        """Delete the model's folder; the bytes freed.

        Raises NotFound as `path` does; Conflict code "model_in_use"; NotAllowed code "model_bundled".
        """
        self._check_removable(model_id)
        place = self.place(model_id)
        with place.changing(lambda: None):
            self._check_removable(model_id)  # another may have removed it meanwhile
            freed = sum(_size(path) for path in place.folder.rglob("*"))
            place.empty()
            shutil.rmtree(place.wheels, ignore_errors=True)
        return freed

    def _check_removable(self, model_id: str) -> None:
        if model_id in self._made_here.found():  # a damaged one may be removed, too
            return
        manifest = self.get(model_id)
        if not self.place(model_id).folder.exists() and _bundled_folder(manifest, self.catalog.data_dir) is not None:
            raise NotAllowed(
                f"The model {model_id} is part of edge-agent.", code="model_bundled", hint="It cannot be removed."
            )
        self.path(model_id)

    def place(self, model_id: str) -> Place:
        """Where the model lies or would lie, if it is not a bundled one; looks at nothing."""
        return Place(self.root, model_id)

    def check_room(self, needed: int) -> None:
        """Raises Unavailable code "not_enough_disk" unless so many bytes fit, and some more."""
        check_room(self.root, needed, self._free_disk)

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
        return sorted(self._installed("llm"), key=lambda manifest: manifest.ram_mb, reverse=True)

    def installed_adapters(self) -> Sequence[Manifest]:
        """LoRA adapters that are installed, by id. Cheap, too."""
        return sorted(self._installed("adapter"), key=lambda manifest: manifest.id)

    def _installed(self, kind: ModelKind) -> Sequence[Manifest]:
        pulled = [m for m in self.catalog.entries if m.kind == kind and _is_whole(m, self._folder(m))]
        return [*pulled, *(manifest for manifest in self._made_here.sound() if manifest.kind == kind)]

    def _best_first(self, llms: Iterable[Manifest], ram_budget_mb: int) -> Sequence[Manifest]:
        budget = ram_budget_mb or self._memory_budget_mb()
        fitting = [manifest for manifest in llms if manifest.ram_mb <= budget]
        return sorted(fitting, key=lambda manifest: (manifest.made is None, manifest.ram_mb), reverse=True)

    def _verify(self, manifest: Manifest, folder: Path, meter: Meter) -> Verified:
        checked = Checked(folder)
        bad: list[str] = []
        for file in manifest.files:
            if not (folder / file.path).is_file():
                raise damaged(manifest, f"has no file {file.path}", "model_file_missing")
            if not checked.reads_whole(file, partial(meter.partly, what=file.path)):
                bad.append(file.path)
            meter.finish(file.size, file.path)
        if folder == self.place(manifest.id).folder:
            checked.save()
        if bad:
            raise damaged(manifest, f"is damaged: the sha256 of {', '.join(bad)} is wrong", "model_corrupt")
        if problem := self._headers.problem(manifest, folder):  # as it was made, and of no use all the same
            raise problem.with_traceback(None)
        return Verified(manifest.id, len(manifest.files), manifest.size)

    def _has_files(self, manifest: Manifest) -> bool:
        """Not so for one whose pull has just begun: a part of a file is no file."""
        return any((self._folder(manifest) / file.path).is_file() for file in manifest.files)

    def _looked_into(self) -> Mapping[str, Manifest | Broken]:
        """The models made here, with what their files' sizes and headers say of them."""
        found = self._made_here.checked()
        return {
            name: self._headers.problem(outcome, self.root / name) or outcome
            if isinstance(outcome, Manifest)
            else outcome
            for name, outcome in found.items()
        }

    def _entry(self, manifest: Manifest) -> Entry:
        folder = self._folder(manifest)
        own = folder == self.place(manifest.id).folder
        on_disk = sum(_size(path) for path in folder.rglob("*")) if own else manifest.size
        return Entry(manifest, installed=_is_whole(manifest, folder), bundled=not own, size_on_disk=on_disk)

    def _folder(self, manifest: Manifest) -> Path:
        own = self.place(manifest.id).folder
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


def _is_whole(manifest: Manifest, folder: Path) -> bool:
    return all(_size(folder / file.path) == file.size for file in manifest.files)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
