"""Which model `local` means, and what a request may ask for by id, with models of the catalog and models made here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.problems import Broken, NotFound
from edge_agent.local_models import LocalModels
from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from tests.models.toys import make_here

SMOL = "smollm2-135m-instruct-q4_1"


def _models(root: Path, default: str = "auto", ram_budget_mb: int = 4000) -> LocalModels:
    return LocalModels(ModelStore(root, Catalog.load()), default=default, ram_budget_mb=ram_budget_mb)


def _chosen(models: LocalModels) -> str | None:
    default, known = models.choices()
    assert default is None or default.id in known
    assert models.default() == default
    return default.id if default else None


def _install_smol(root: Path) -> None:
    file = Catalog.load().get(SMOL).files[0]
    (root / SMOL).mkdir(parents=True)
    with (root / SMOL / file.path).open("wb") as sparse:
        sparse.truncate(file.size)


def test_one_made_here_is_chosen_only_where_the_catalog_has_none_that_fits(tmp_path: Path) -> None:
    models = _models(tmp_path)
    assert _chosen(models) is None
    make_here(tmp_path, "mine", ram_mb=1000)
    assert _chosen(models) == "mine"
    _install_smol(tmp_path)
    assert _chosen(models) == SMOL
    assert set(models.choices()[1]) == {"mine", SMOL}


def test_one_made_here_is_chosen_where_it_is_configured(tmp_path: Path) -> None:
    _install_smol(tmp_path)
    folder = make_here(tmp_path, "mine")
    models = _models(tmp_path, "mine")
    models.check_default()
    assert _chosen(models) == "mine"
    (folder / "weights.gguf").unlink()
    models.check_default()  # a daemon whose model is damaged starts
    assert _chosen(models) is None
    assert set(models.choices()[1]) == {SMOL}


def test_a_configured_model_of_the_catalog_counts_before_it_is_pulled(tmp_path: Path) -> None:
    assert _chosen(_models(tmp_path, SMOL)) == SMOL


def test_a_configured_model_that_nobody_knows_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="'nope'"):
        _models(tmp_path, "nope").check_default()
    assert _chosen(_models(tmp_path, "nope")) is None


def _scans(work: Callable[[], object]) -> int:
    """How often a folder is listed while this works."""
    seen = 0

    def notice(_frame: object, event: str, called: Any) -> None:
        nonlocal seen
        seen += event == "c_call" and called is os.scandir

    sys.setprofile(notice)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("number", [1, 6])
def test_the_models_folder_is_looked_at_once_however_many_were_made_here(tmp_path: Path, number: int) -> None:
    for each in range(number):
        make_here(tmp_path, f"mine-{each}")
    models = _models(tmp_path)
    assert _scans(models.choices) == 1

    def run() -> None:
        with pytest.raises(Broken):  # a toy has no header
            models.spec("mine-0")

    assert _scans(run) == 1
