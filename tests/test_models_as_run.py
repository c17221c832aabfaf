"""How installed models are run here: judged by their files' headers, not by the catalog's figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import InvalidRequest, NotFound, Unavailable
from edge_agent.local_models import LocalModels
from edge_agent.models.catalog import Catalog
from edge_agent.models.libraries import LIBRARIES
from edge_agent.models.store import ModelStore
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.sizing import Wishes
from tests.model_files import SMALL_LLM

WISHES = Wishes(parallel=4, threads=3, max_waiting=5)


def _models(root: Path, *, budget: int = 4000, wishes: Wishes = WISHES, default: str = SMALL_LLM) -> LocalModels:
    return LocalModels(ModelStore(root, Catalog.load()), default=default, ram_budget_mb=budget, wishes=wishes)


def test_what_the_user_set_reaches_the_model(models_home: Path) -> None:
    spec = _models(models_home).spec(SMALL_LLM)
    assert (spec.format, spec.context_length, spec.parallel, spec.threads, spec.max_waiting) == ("gguf", 8192, 4, 3, 5)
    assert spec.path.suffix == ".gguf"
    wished = _models(models_home, wishes=replace(WISHES, context_length=1024)).spec(SMALL_LLM)
    assert wished.context_length == 1024
    assert wished.ram_mb < spec.ram_mb


def test_a_context_that_does_not_fit_is_cut_and_shown_as_it_is(models_home: Path) -> None:
    whole = _models(models_home).spec(SMALL_LLM)
    budget = whole.ram_mb - 60
    models = _models(models_home, budget=budget)
    spec = models.spec(SMALL_LLM)
    assert 2048 < spec.context_length < whole.context_length
    assert spec.ram_mb <= budget
    default, known = models.choices()
    for shown in (default, known[SMALL_LLM], models.default()):
        assert shown is not None
        assert (shown.context_length, shown.ram_mb) == (spec.context_length, spec.ram_mb)
    assert next(m for m in models.installed() if m.id == SMALL_LLM).context_length == spec.context_length


@pytest.mark.anyio
async def test_a_model_that_can_never_fit_is_refused_before_it_is_loaded(models_home: Path) -> None:
    pool = Pool(_models(models_home, budget=150).spec, 150, 300)
    with pytest.raises(InvalidRequest) as caught:
        await pool.runtime(SMALL_LLM)
    assert caught.value.code == "model_too_large"
    assert "150 MiB" in caught.value.message
    assert "models.ram_budget_mb" in caught.value.hint
    assert pool.loaded() == []
    assert _models(models_home, budget=150, default="auto").default() is None


def test_a_model_without_its_library_is_named_with_what_installs_it(models_home: Path) -> None:
    libraries = [replace(library, packages=("surely-not-a-package",), extra="some") for library in LIBRARIES]
    store = ModelStore(models_home, Catalog.load())
    models = LocalModels(store, default="auto", ram_budget_mb=4000, libraries=libraries)
    assert models.installed() == []
    assert models.default() is None
    assert SMALL_LLM in models.choices()[1]  # so that who asks for it is told
    with pytest.raises(Unavailable) as caught:
        models.spec(SMALL_LLM)
    assert caught.value.code == "extra_missing"
    assert "pip install 'edge-agent[some]'" in caught.value.hint


def test_what_is_no_language_model_or_not_there_is_refused(models_home: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _models(models_home).spec("rampart-pii-q4")
    assert caught.value.code == "not_a_language_model"
    with pytest.raises(NotFound):
        _models(tmp_path).spec(SMALL_LLM)
    default = _models(tmp_path).default()  # configured, and not pulled yet
    assert default is not None
    assert default.context_length == 8192
