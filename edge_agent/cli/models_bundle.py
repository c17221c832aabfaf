"""`edge-agent models export` and `import`: models as one file, for a device without a network."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from cloud_bridge.protocol.problems import NotFound
from edge_agent.cli.output import JsonFlag, drawn, megabytes, print_json
from edge_agent.home import current_home
from edge_agent.models.bundles.exporting import export
from edge_agent.models.bundles.installing import install
from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore


def export_models(
    model_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The models' ids.")],
    *,
    bundle: Annotated[Path, typer.Option("--bundle", metavar="FILE", help="The file to write; it must not exist.")],
    as_json: JsonFlag = False,
) -> None:
    """Write models into one file, which `models import` installs on a device without a network."""
    with _stopped_cleanly(), drawn(bundle.name) as progress:
        made = export(_store(), model_ids, bundle, progress)
    if as_json:
        print_json({"bundle": str(made.path), "sha256": made.sha256, "size": made.size, "models": list(made.model_ids)})
        return
    typer.echo(f"{made.path}: {', '.join(made.model_ids)}, {megabytes(made.size)}")
    typer.echo(f"sha256 {made.sha256}")


def import_models(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file that `models export` wrote; - reads a pipe.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Check and install the models of a bundle. What is here already stays as it is."""
    store = _store()
    with _stopped_cleanly(), _opened(file) as source, drawn(Path(file).name) as progress:
        imported = install(store, source, progress)
    if as_json:
        installed = [
            {"id": one, "path": str(store.path(one)), "size": store.get(one).size} for one in imported.installed
        ]
        print_json({"imported": installed, "already_there": list(imported.there)})
        return
    for one in imported.installed:
        typer.echo(f"{one} is in {store.path(one)}")
    for one in imported.there:
        typer.echo(f"{one} was there already")


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        opened = Path(file).open("rb")  # noqa: SIM115  # closed below
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no file {file}.", code="bundle_not_found", hint="Name one that `models export` wrote."
        ) from error
    with opened:
        yield opened


@contextmanager
def _stopped_cleanly() -> Iterator[None]:
    """Within the block a polite kill ends the command as Ctrl-C does: nothing half-made stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _store() -> ModelStore:
    return ModelStore(current_home() / "models", Catalog.load())
