"""From a source to an installed model: of one type, or of the one among several that fits best."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Conflict, InvalidRequest, Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.progress import Progress
from edge_agent.models.store import ModelStore
from quantize import manifest
from quantize.artifact import already_exists, building
from quantize.comparison.candidates import DEFAULTS, Candidate, Limits, best
from quantize.comparison.comparison import Comparison, Row
from quantize.lora import adapter
from quantize.sources import source
from quantize.sources.source import Source
from quantize.stages import stages_of
from quantize.ways import Target, Ways
from quantize.workshop import FORMATS, Workshop


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for. `types`: the one to make, or those to compare; none: the format's usual ones.

    `out` is the folder to make instead of installing; `base` the model of an adapter.
    """

    source: str
    to: Target
    types: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    ways: Ways = field(default_factory=Ways)
    is_judged: bool = True
    out: Path | None = None
    base: str | None = None

    @property
    def compares(self) -> bool:
        """Whether several types are tried."""
        return len(self.types) > 1 or self.limits != Limits()


@dataclass(frozen=True, slots=True)
class Converted:
    """The folder that was made, its manifest, and what was measured of it, where it was judged."""

    folder: Path
    manifest: dict[str, Any]
    row: Row | None = None


Show = Callable[[Comparison, Path], None]
"""Told of a comparison, and where its picture lies, before the choice is installed."""


def convert(wanted: Wanted, home: Path, progress: Progress, show: Show) -> Converted:
    """Make what is wanted, and install it under `home` unless a folder was named. Blocks, for seconds to an hour.

    What is stopped half-way leaves no artifact, and is taken up there by the next run. Raises Problem.
    """
    if (found := adapter.find(wanted.source)) is not None:
        return _adapter(wanted, found, home, progress)
    if wanted.base is not None:
        raise InvalidRequest("--base is for adapters.", code="bad_option", hint="Leave it out.", param="base")
    target = FORMATS[wanted.to]
    types = list(dict.fromkeys(target.check_type(name) for name in wanted.types))
    if wanted.compares and not wanted.is_judged:
        raise InvalidRequest(
            "What is to be compared must be judged.", code="bad_option", hint="Leave --no-judge out.", param="no-judge"
        )
    wanted.ways.check(wanted.to)
    model = source.find(wanted.source, progress, home=home)
    types = types or (_usual(wanted, model, home) if wanted.compares else [target.check_type(target.DEFAULT_TYPE)])
    if not wanted.compares:
        _check_free(wanted, _place(wanted, model, types[0], home), home)
    progress.advance(0, 0, "reading the source")
    described = model.described()
    with stages_of(home, wanted.to, described["files"], progress) as stages:
        shop = Workshop(model, wanted.to, wanted.ways, described=described, stages=stages, progress=progress)
        if wanted.compares:
            _check_candidates(wanted, model, types, shop, home)
            comparison = _compared(f"{model.name} as {wanted.to}: quality against memory", types, wanted.limits, shop)
            pictured = home / "quantize" / f"{model.name}-{wanted.to}.svg"
            pictured.write_text(comparison.svg, "utf-8")
            show(comparison, pictured)
            types = [best([row.candidate for row in comparison.rows], wanted.limits).type_name]
        converted = _installed(wanted, model, types[0], shop, home)
        stages.clear()
    return converted


def _usual(wanted: Wanted, model: Source, home: Path) -> list[str]:
    """What is compared where no type was named: what the catalog has made of the same model needs no making."""
    types = [FORMATS[wanted.to].check_type(name) for name in DEFAULTS[wanted.to]]
    if wanted.out is not None:
        return types
    catalog = Catalog.load()
    return [name for name in types if catalog.find(_place(wanted, model, name, home).name) is None]


def _compared(title: str, types: Sequence[str], limits: Limits, shop: Workshop) -> Comparison:
    """Judge them all; of the artifacts only the best so far stays on the disk."""
    rows: list[Row] = []
    kept: Candidate | None = None
    for type_name in types:
        measured = shop.judge(type_name)
        if measured is None:
            raise InvalidRequest(
                "Only language models can be compared.",
                code="not_a_language_model",
                hint="Name one --type, and no limits.",
            )
        rows.append(Row(type_name, measured))
        fitting = [row.candidate for row in rows if limits.allow(row.candidate)]
        kept = best(fitting, limits) if fitting else None
        for row in rows:
            if kept is None or row.type_name != kept.type_name:
                shop.drop(row.type_name)
    return Comparison(title, rows, limits, kept)


def _installed(wanted: Wanted, model: Source, type_name: str, shop: Workshop, home: Path) -> Converted:
    """Make, judge, and move to where it belongs."""
    place = _place(wanted, model, type_name, home)
    if wanted.compares and (known := shop.made_before(place, type_name)) is not None:
        return Converted(place, known, None)
    _check_free(wanted, place, home)
    measured = shop.judge(type_name) if wanted.is_judged else None
    artifact = shop.make(type_name)
    record = shop.describe(artifact, measured)
    with building(place) as folder:
        for file in record["files"]:
            _put(artifact.folder / file["path"], folder / file["path"])
        manifest.save(folder, record)
    return Converted(place, record, Row(type_name, measured) if measured else None)


def _put(file: Path, target: Path) -> None:
    """The same file by a second name, or a copy where there are none: the first stays until all has succeeded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)


def _place(wanted: Wanted, model: Source, type_name: str, home: Path) -> Path:
    if wanted.out is not None:
        return wanted.out.absolute()
    return home / "models" / manifest.artifact_id(model, type_name, wanted.to)


def _check_candidates(wanted: Wanted, model: Source, types: Sequence[str], shop: Workshop, home: Path) -> None:
    """As `_check_free` for whichever of these may be chosen; what an earlier comparison made may be there."""
    places = {type_name: _place(wanted, model, type_name, home) for type_name in types}
    known = {place for type_name, place in places.items() if shop.made_before(place, type_name) is not None}
    for place in places.values():
        if place not in known:
            _check_free(wanted, place, home)


def _check_free(wanted: Wanted, place: Path, home: Path) -> None:
    """Before any work is done, raises Conflict code "model_id_taken" or "already_exists".

    InvalidRequest code "bad_option" for a folder among the installed models, and Unavailable code
    "folder_not_writable" where nothing can be made there.
    """
    models = home / "models"
    if wanted.out is not None and place.parent.resolve() == models.resolve():
        raise InvalidRequest(
            f"{models} is for models that are installed.",
            code="bad_option",
            hint="Leave --out out, which installs the model there under its own id, or name a folder elsewhere.",
            param="out",
        )
    if wanted.out is None:
        _check_id_free(place)
    elif os.path.lexists(place):
        raise already_exists(place)
    there = next(parent for parent in place.parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise Unavailable(
            f"Nothing can be written into {there}.",
            code="folder_not_writable",
            hint="Give yourself the right to write there, or name another folder with --out.",
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)


def _check_id_free(folder: Path) -> None:
    if Catalog.load().find(folder.name) is not None:
        raise Conflict(
            f"{folder.name} is a model of the catalog.",
            code="model_id_taken",
            hint=f"Get it with `edge-agent models pull {folder.name}`, choose another --type, or name a "
            "folder with --out.",
        )
    if os.path.lexists(folder):
        raise Conflict(
            f"The model {folder.name} is there already.",
            code="already_exists",
            hint=f"Remove it with `edge-agent models rm {folder.name}`, or name a folder with --out.",
        )


def _adapter(wanted: Wanted, found: Source, home: Path, progress: Progress) -> Converted:
    """Adapters have neither types nor figures."""
    if wanted.types or wanted.limits != Limits() or wanted.ways != Ways(extent=wanted.ways.extent):
        raise InvalidRequest(
            "An adapter is not quantized, and not judged.",
            code="bad_option",
            hint="Leave all options out but --to, --base, --out, --json and --debug.",
            param="type",
        )
    made_as = adapter.check_format(found, wanted.to)
    store = ModelStore(home / "models", Catalog.load())
    base = adapter.base_of(wanted.base, store) if wanted.base else None
    place = _place(wanted, found, adapter.TYPE, home)
    _check_free(wanted, place, home)
    with building(place) as folder:
        made = adapter.convert(found, folder, made_as, progress, base=base)
        record = adapter.write_manifest(folder, found, made, wanted.base)
    return Converted(place, record)
