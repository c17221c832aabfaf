"""Which language models are here, which one `local` means, and how each is run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem, Unavailable
from edge_agent.models.footprint import Footprints
from edge_agent.models.libraries import LIBRARIES, RuntimeLibrary
from edge_agent.models.manifest import Manifest
from edge_agent.models.store import ModelStore
from edge_agent.runtimes.runtime import DEFAULT_CONTEXT_LENGTH, ModelSpec
from edge_agent.runtimes.sizing import Wishes, context_that_fits


class LocalModels:
    """Which local models there are, which one `local` means, and how each is run here. Thread-safe.

    `ram_budget_mb`: MiB that all loaded models may take together.
    """

    def __init__(
        self,
        store: ModelStore,
        *,
        default: str,
        ram_budget_mb: int,
        wishes: Wishes = Wishes(),  # noqa: B008 - frozen
        libraries: Sequence[RuntimeLibrary] = LIBRARIES,
    ) -> None:
        self._store = store
        self._default = default
        self.ram_budget_mb = ram_budget_mb
        self._wishes = wishes
        self._libraries: dict[str, RuntimeLibrary] = {library.format: library for library in libraries}
        self._runnable = {library.format for library in libraries if library.version is not None}
        self._footprints = Footprints()

    def spec(self, model_id: str) -> ModelSpec:
        """How the model is run: with as much context as is wanted and fits. Reads its header where it is not known.

        Raises what `ModelStore.file` and `footprint` raise, InvalidRequest code "not_a_language_model", and
        Unavailable code "extra_missing" where the library that runs it is not installed.
        """
        return self._spec(self._store.get(model_id))

    def check_default(self) -> None:
        """Raises NotFound for a configured model that nobody knows: a slip of the pen is told at start.

        One that was made here and is damaged now may be made again while the daemon runs.
        """
        if self._default != "auto":
            with suppress(Broken):
                self._store.get(self._default)

    def installed(self) -> Sequence[Manifest]:
        """The language models that can run now, without a download.

        Their `context_length` and `ram_mb` are what they have when they run here, not the catalog's figures.
        """
        return self._running(self._store.installed_llms())

    def default(self) -> Manifest | None:
        """What `local` and `auto` run: the configured model, or the largest installed that fits.

        A configured one of the catalog counts before it is installed; one that was made here and is gone does not.
        Of those made here one is chosen only where none of the catalog's that fits is installed.
        """
        return self.choices()[0]

    def choices(self) -> tuple[Manifest | None, dict[str, Manifest]]:
        """`default()`, and what a request may ask for by id: what is there, and what is configured.

        Looks at the models' files once, since every request asks. One whose library is missing is among them, so
        that whoever asks for it is told.
        """
        there = self._store.installed_llms()
        running = self._running(there)
        if self._default == "auto":
            default = self._store.preferred(running, self.ram_budget_mb)
        else:
            configured = next((m for m in (*running, *there) if m.id == self._default), None)
            default = configured or self._catalogued(self._default)
        models = [*there, *running, *([default] if default else [])]
        return default, {manifest.id: manifest for manifest in models}

    def _running(self, there: Sequence[Manifest]) -> list[Manifest]:
        return [self._as_run(manifest) for manifest in there if manifest.format in self._runnable]

    def _catalogued(self, model_id: str) -> Manifest | None:
        found = self._store.catalog.find(model_id)
        return self._as_run(found) if found else None

    def _as_run(self, manifest: Manifest) -> Manifest:
        """With the context and the memory that it has here; for one whose files are not there the catalog's guess."""
        try:
            spec = self._spec(manifest)
        except Problem:  # told to whoever asks for the model
            context = self._wishes.context_for(manifest.context_length or DEFAULT_CONTEXT_LENGTH)
            return replace(manifest, context_length=context)
        return replace(manifest, context_length=spec.context_length, ram_mb=spec.ram_mb)

    def _spec(self, manifest: Manifest) -> ModelSpec:
        library = self._library(manifest)
        wishes = self._wishes
        path = self._store.file_of(manifest)
        footprint = self._footprints.of(path, library.format)
        wanted = wishes.context_for(manifest.context_length or DEFAULT_CONTEXT_LENGTH)
        context = context_that_fits(footprint, wanted, wishes.parallel, self.ram_budget_mb)
        return ModelSpec(
            model_id=manifest.id,
            path=path,
            format=library.format,
            context_length=context,
            parallel=wishes.parallel,
            threads=wishes.threads,
            ram_mb=footprint.mb(context, wishes.parallel),
            max_waiting=wishes.max_waiting,
        )

    def _library(self, manifest: Manifest) -> RuntimeLibrary:
        library = self._libraries.get(manifest.format)
        if manifest.kind != "llm" or library is None:
            raise InvalidRequest(
                f"{manifest.id} is no language model.",
                code="not_a_language_model",
                hint="See `edge-agent models list`.",
                param="model",
            )
        if library.format not in self._runnable:
            raise Unavailable(
                f"{manifest.id} needs {library.name}, which is not installed.",
                code="extra_missing",
                hint=f"Run: {library.install_command}, then start the daemon again.",
            )
        return library
