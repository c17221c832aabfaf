"""`edge-agent models`: list, pull, rm, verify, and from the modules beside this one export, import and bench."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from edge_agent.cli.models_bench import bench
from edge_agent.cli.models_bundle import export_models, import_models
from edge_agent.cli.output import JsonFlag, drawn, megabytes, print_json, print_table
from edge_agent.home import current_home
from edge_agent.models.catalog import Catalog
from edge_agent.models.entries import Damaged, Entry
from edge_agent.models.libraries import LIBRARIES, RuntimeLibrary, library_for
from edge_agent.models.lora.pairs import Pairs, pair_id
from edge_agent.models.manifest import Manifest
from edge_agent.models.store import ModelStore
from edge_agent.settings import Settings

app = typer.Typer(no_args_is_help=True)
app.command("export")(export_models)
app.command("import")(import_models)
app.command("bench")(bench)

ModelId = Annotated[str, typer.Argument(metavar="ID", help="A model's id, as `models list` shows it.")]


@app.command("list")
def list_models(*, as_json: JsonFlag = False) -> None:
    """Show the catalog, what of it is installed, and the models that were made here."""
    store = _store()
    entries, damaged = store.list(), store.damaged()
    pairs = Pairs().matching(store.installed_llms(), store)
    if as_json:
        problems = [(one.model_id, one.problem) for one in damaged]
        print_json(
            {
                "models": [_described(entry) for entry in entries],
                "pairs": [{"id": pair_id(*pair), "base": pair[0].id, "adapter": pair[1].id} for pair in pairs],
                "damaged": [{"id": i, "code": p.code, "message": p.message, "hint": p.hint} for i, p in problems],
            }
        )
        return
    print_table(
        ("id", "kind", "runtime", "state", "download", "memory", "licence"),
        [_row(entry, damaged) for entry in entries],
        empty="The catalog is empty.",
    )
    for pair in pairs:
        typer.echo(f"A model with its adapter: --model {pair_id(*pair)}")
    for library in _missing(entries):
        typer.echo(
            f"{library.name} is not installed; for {library.format} models run: {library.install_command}", err=True
        )
    for one in damaged:
        typer.echo(f"warning: {one.problem}", err=True)


@app.command("pull")
def pull(
    model_id: Annotated[str | None, typer.Argument(metavar="ID", help="A model's id.")] = None,
    *,
    default: Annotated[
        bool, typer.Option("--default", help="The largest language model that fits, and the models for privacy.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Fetch a model, or go on where the last pull was cut."""
    if (model_id is None) is not default:
        raise InvalidRequest("Name one model, or say --default.", code="bad_arguments", hint="See `models list`.")
    store = _store()
    pulled = _pull_default(store) if default else [_pull(store, str(model_id))]
    if as_json:
        print_json({"pulled": pulled})
        return
    for one in pulled:
        typer.echo(f"{one['id']} is in {one['path']}")


@app.command("rm")
def remove(model_id: ModelId, *, as_json: JsonFlag = False) -> None:
    """Delete a model from this machine."""
    freed = _store().remove(model_id)
    if as_json:
        print_json({"id": model_id, "freed": freed})
        return
    typer.echo(f"Removed {model_id}, freed {megabytes(freed)}")


@app.command("verify")
def verify(
    model_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="All installed models if none.")] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Read every file of a model and compare its sha256."""
    with drawn("verifying") as progress:
        verified = _store().verify(model_id, progress)
    if as_json:
        print_json({"verified": [{"id": one.model_id, "files": one.files, "size": one.size} for one in verified]})
        return
    for one in verified:
        typer.echo(f"{one.model_id}: {one.files} file(s), {megabytes(one.size)}, all as they should be")


def _pull(store: ModelStore, model_id: str) -> dict[str, Any]:
    with drawn(model_id) as progress:
        folder = store.pull(model_id, progress)
    return {"id": model_id, "path": str(folder), "size": store.get(model_id).size}


def _pull_default(store: ModelStore) -> list[dict[str, Any]]:
    readers = Settings.load(current_home(), os.environ).privacy.models
    installed = {entry.manifest.id for entry in store.list() if entry.installed}
    needed = [model for model in readers if model not in installed]
    return [_pull_llm(store), *(_pull(store, model_id) for model_id in needed)]


def _pull_llm(store: ModelStore) -> dict[str, Any]:
    settings = Settings.load(current_home(), os.environ).models
    if settings.default != "auto":
        return _pull(store, settings.default)
    failed: list[Unavailable] = []
    for manifest in store.llms_that_fit(settings.ram_budget_mb):
        try:
            return _pull(store, manifest.id)
        except Unavailable as problem:  # it cannot be had here: the next smaller may
            typer.echo(f"warning: {problem}", err=True)
            failed.append(problem)
    if failed:
        raise failed[0]
    return _pull(store, store.default_llm(settings.ram_budget_mb).id)


def _store() -> ModelStore:
    return ModelStore(current_home() / "models", Catalog.load())


def _state(entry: Entry) -> str:
    if entry.bundled:
        return "bundled"
    if entry.made_here:
        return "made here"
    if entry.installed:
        return "installed"
    return "incomplete" if entry.size_on_disk else ""


def _row(entry: Entry, damaged: Sequence[Damaged]) -> tuple[str, ...]:
    manifest = entry.manifest
    size, memory = megabytes(manifest.size), f"{manifest.ram_mb} MB"
    state = "damaged" if any(one.model_id == manifest.id for one in damaged) else _state(entry)
    return (manifest.id, manifest.kind, _runtime(manifest), state, size, memory, manifest.licence)


def _runtime(manifest: Manifest) -> str:
    library = library_for(manifest.format)
    if library is None:
        return manifest.format
    return library.name if library.version is not None else f"{library.name}, not installed"


def _missing(entries: Sequence[Entry]) -> list[RuntimeLibrary]:
    formats = {entry.manifest.format for entry in entries if entry.installed}
    return [library for library in LIBRARIES if library.format in formats and library.version is None]


def _described(entry: Entry) -> dict[str, Any]:
    manifest = entry.manifest
    return {
        "id": manifest.id,
        "kind": manifest.kind,
        "format": manifest.format,
        "runtime": _described_runtime(manifest),
        "installed": entry.installed,
        "bundled": entry.bundled,
        "made_here": entry.made_here,
        "made_from": manifest.made.source.name if manifest.made else None,
        "size": manifest.size,
        "size_on_disk": entry.size_on_disk,
        "ram_mb": manifest.ram_mb,
        "context_length": manifest.context_length,
        "parameters": manifest.parameters,
        "quantization": manifest.quantization,
        "tasks": list(manifest.tasks),
        "licence": manifest.licence,
        "attribution": manifest.attribution,
        "homepage": manifest.homepage,
        "adapter": asdict(manifest.adapter) if manifest.adapter else None,
    }


def _described_runtime(manifest: Manifest) -> dict[str, Any] | None:
    library = library_for(manifest.format)
    if library is None:
        return None
    return {"name": library.name, "installed": library.version is not None, "extra": library.extra or None}
