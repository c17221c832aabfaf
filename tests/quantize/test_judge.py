"""Real models beside each other: what a type costs, what is kept, and what goes wrong."""

from __future__ import annotations

import ctypes
import itertools
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import llama_cpp
import psutil
import pytest

from cloud_bridge.protocol.problems import Broken, InvalidRequest
from edge_agent.models.catalog import Catalog
from edge_agent.models.manifest import parse
from edge_agent.models.progress import SILENT
from quantize.judge import as_run, logits
from quantize.judge.extent import SCORED, Extent
from quantize.judge.judgement import judge
from quantize.judge.reference import Reference, reference
from tests.model_files import MLX_LLM, ONNX_LLM

pytestmark = pytest.mark.slow

READ_ONLY = Extent(tokens=SCORED, intents=0, documents=0)


class Does:
    """A progress display that does something once, at a step whose name begins so."""

    def __init__(self, step: str, action: Callable[[], object]) -> None:
        self._step = step
        self._action = action
        self.steps: list[str] = []

    def advance(self, done: int, total: int, what: str) -> None:
        if what.startswith(self._step) and not any(seen.startswith(self._step) for seen in self.steps):
            self.steps.append(what)
            self._action()
        self.steps.append(what)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def of_type(smollm2: Path, kept: Path) -> Callable[[str], Path]:
    """SmolLM2 as llama.cpp makes it by itself."""

    def made(name: str) -> Path:
        target = kept / f"{name}.gguf"
        if not target.exists():
            params = llama_cpp.llama_model_quantize_default_params()
            params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
            params.nthread = 2
            params.allow_requantize = True
            assert llama_cpp.llama_model_quantize(bytes(smollm2), bytes(target), ctypes.byref(params)) == 0
        return target

    return made


@pytest.fixture(scope="module")
def exact(of_type: Callable[[str], Path], kept: Path) -> Reference:
    """The weights of SmolLM2 in 16 bits."""
    return reference(of_type("F16"), None, kept, SILENT, READ_ONLY)


def divergence(path: Path, beside: Reference) -> tuple[float, float]:
    found = logits.compare(path, "gguf", beside.folder, SILENT)
    assert found["tokens"] == READ_ONLY.tokens
    return found["kl_divergence"]["mean"], found["kl_divergence"]["error"]


def test_a_model_beside_itself_loses_nothing(exact: Reference, of_type: Callable[[str], Path]) -> None:
    found = logits.compare(of_type("F16"), "gguf", exact.folder, SILENT)
    assert found["kl_divergence"]["mean"] < 1e-6
    assert found["top1_agreement"] == 1
    assert found["perplexity"]["mean"] == pytest.approx(exact.perplexity.mean)
    assert found["perplexity_ratio"]["mean"] == pytest.approx(1, abs=1e-4)
    assert 5 < exact.perplexity.mean < 50


def test_fewer_bits_lose_more(exact: Reference, smollm2: Path, of_type: Callable[[str], Path]) -> None:
    # The source has the same weights, but llama.cpp multiplies them by activations of 8 bits.
    same, _ = divergence(smollm2, exact)
    assert same < 0.01
    found = [divergence(of_type(name), exact) for name in ("Q8_0", "Q4_K_M", "Q2_K")]
    for (less, less_error), (more, more_error) in itertools.pairwise(found):
        assert more - less > 4 * (less_error + more_error)


@pytest.mark.skipif(find_spec("mlx_lm") is None, reason="needs the mlx extra")
def test_mlx_is_held_against_a_gguf(exact: Reference, converted_models: Path) -> None:
    path = converted_models / MLX_LLM / "model.safetensors"
    found = logits.compare(path, "mlx", exact.folder, SILENT)
    assert 1e-6 < found["kl_divergence"]["mean"] < 0.01
    assert found["top1_agreement"] > 0.9


def test_an_artifact_has_every_figure(smollm2: Path, converted_models: Path, tmp_path: Path) -> None:
    folder = converted_models / ONNX_LLM
    described = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest = parse(described, "manifest.json")
    extent = Extent(tokens=SCORED, intents=4, documents=1, rounds=1)
    beside = reference(smollm2, None, tmp_path, SILENT, extent)
    found = judge(folder, manifest, beside, SILENT)
    assert found.size_bytes == sum(file["size"] for file in described["files"])
    assert found.size_bytes / 2**20 < found.peak_ram_mb < found.ram_mb
    assert found.prompt_tokens_per_s > 0
    assert found.generation_tokens_per_s is not None
    assert 1e-6 < found.kl_divergence < 0.1
    assert 0 < found.kl_divergence_error < found.kl_divergence
    assert 0.7 < found.top1_agreement < 1
    assert found.perplexity == pytest.approx(beside.perplexity.mean * found.perplexity_ratio, rel=1e-3)
    assert (found.tokens, found.intents, found.documents) == (SCORED, 4, 1)
    assert found.intent_accuracy in {0, 0.25, 0.5, 0.75, 1}
    assert found.reference_intent_accuracy == beside.scores.intents.value
    assert found.json_validity in {0, 1}
    written = {**described, "made": {**described["made"], "measured": found.as_dict()}}
    made = parse(json.loads(json.dumps(written)), "manifest.json").made
    assert made is not None
    assert made.measured == found


def test_a_reference_is_read_once(exact: Reference, of_type: Callable[[str], Path], kept: Path) -> None:
    watched = Does("-", lambda: None)
    assert reference(of_type("F16"), None, kept, watched, READ_ONLY) == exact
    assert watched.steps == []


def test_a_damaged_reference_is_made_again(smollm2: Path, tmp_path: Path) -> None:
    first = reference(smollm2, None, tmp_path, SILENT, READ_ONLY)
    whole = (first.folder / logits.LOGITS_FILE).read_bytes()
    (first.folder / logits.LOGITS_FILE).write_bytes(whole[:-1])
    assert reference(smollm2, None, tmp_path, SILENT, READ_ONLY) == first
    assert (first.folder / logits.LOGITS_FILE).read_bytes() == whole


def test_a_text_of_a_few_words_is_refused(smollm2: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("A few words.", "utf-8")
    with pytest.raises(InvalidRequest) as caught:
        reference(smollm2, short, tmp_path / "kept", SILENT, READ_ONLY)
    assert caught.value.code == "text_too_short"
    assert list((tmp_path / "kept").iterdir()) == []


def test_another_vocabulary_is_refused(exact: Reference, converted_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(converted_models / ONNX_LLM, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    ordinary = [token for token, number in tokenizer["model"]["vocab"].items() if number > 1000]
    numbers = [tokenizer["model"]["vocab"][token] for token in ordinary]
    tokenizer["model"]["vocab"] |= dict(zip(ordinary, reversed(numbers), strict=True))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises(InvalidRequest) as caught:
        logits.compare(folder / "model.onnx", "onnx", exact.folder, SILENT)
    assert caught.value.code == "another_vocabulary"


def test_of_a_model_that_cannot_chat_nothing_is_asked(converted_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(converted_models / ONNX_LLM, folder)
    (folder / "chat_template.jinja").unlink()
    tokenizer = (folder / "tokenizer.json").read_text("utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.replace("<|im_start|>", "<|opening|>"), "utf-8")
    spec = as_run.spec_of("base", folder / "model.onnx", "onnx")
    found = as_run.run(spec, READ_ONLY, SILENT)
    assert (found.speed, found.scores.intents, found.peak_ram_mb) == (
        as_run.Speed(None, None),
        as_run.Share(None, 0),
        0,
    )


def test_a_file_that_is_cut_short_is_told(exact: Reference, smollm2: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm2.read_bytes()[:-1])
    with pytest.raises(Broken) as caught:
        logits.compare(cut, "gguf", exact.folder, SILENT)
    assert caught.value.code == "model_truncated"


def test_what_is_no_language_model_is_not_judged(exact: Reference, models_home: Path) -> None:
    manifest = Catalog.load().find("rampart-pii-q4")
    assert manifest is not None
    with pytest.raises(InvalidRequest) as caught:
        judge(models_home / manifest.id, manifest, exact, SILENT)
    assert caught.value.code == "not_a_language_model"


@pytest.mark.parametrize("step", ["reading", "asking"])
def test_a_stop_half_way_leaves_nothing(smollm2: Path, tmp_path: Path, step: str) -> None:
    before = psutil.Process().children()

    def stop() -> None:
        assert set(psutil.Process().children()) > set(before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reference(smollm2, None, tmp_path, Does(step, stop), Extent(tokens=1, intents=2, documents=0))
    assert psutil.Process().children() == before
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_is_told(exact: Reference, smollm2: Path) -> None:
    before = psutil.Process().children()

    def kill() -> None:
        for child in set(psutil.Process().children()).difference(before):
            child.kill()

    with pytest.raises(Broken) as caught:
        logits.compare(smollm2, "gguf", exact.folder, Does("reading", kill))
    assert caught.value.code == "judge_crashed"
