"""What figures are made of: kept probabilities, estimates, texts, tasks, and their place in a manifest."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound
from edge_agent.models.manifest import Measured, parse
from quantize.judge import text
from quantize.judge.divergence import Comparison, Estimate, kept, log_probabilities, read_back
from quantize.judge.extent import CHUNK_TOKENS, Extent
from quantize.judge.tasks import Form, Tasks, is_right, is_valid

LOGITS = arrays(np.float32, st.integers(2, 300), elements=st.floats(-60, 60, width=32))

MEASURED = Measured(
    size_bytes=98362432,
    ram_mb=406,
    peak_ram_mb=402,
    prompt_tokens_per_s=329.2,
    generation_tokens_per_s=43.8,
    kl_divergence=0.0217,
    kl_divergence_error=0.0007,
    top1_agreement=0.885,
    perplexity=21.02,
    perplexity_error=3.04,
    perplexity_ratio=1.035,
    perplexity_ratio_error=0.011,
    reference_perplexity=20.3,
    tokens=1016,
    intent_accuracy=0.5,
    reference_intent_accuracy=0.525,
    intents=40,
    json_validity=None,
    reference_json_validity=None,
    documents=0,
    reference_sha256="a" * 64,
    text_sha256="b" * 64,
)


@given(LOGITS)
def test_kept_probabilities_are_true_to_a_thousandth_of_a_nat(logits):
    exact = log_probabilities(logits)
    assert np.exp(exact).sum() == pytest.approx(1)
    back = read_back(kept(exact))
    assert np.exp(back).sum() == pytest.approx(1)
    likely = exact > -60
    assert np.abs(back - exact)[likely].max() < 0.0011


@given(LOGITS)
def test_a_model_beside_itself_differs_by_next_to_nothing(logits):
    comparison = Comparison()
    exact = log_probabilities(logits)
    comparison.add(logits, kept(exact), top=int(np.argmax(exact)), token=0)
    assert comparison.divergences[0] < 1e-6
    assert comparison.increases[0] == pytest.approx(0, abs=0.0011)
    assert comparison.agreement == 1


def test_the_divergence_is_that_of_the_reference_from_the_artifact():
    ours, theirs = np.log(np.array([0.25, 0.5, 0.25])), np.log(np.array([0.5, 0.25, 0.25]))
    comparison = Comparison()
    comparison.add(ours, kept(theirs), top=0, token=2)
    assert comparison.divergences[0] == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2), abs=1e-3)
    assert comparison.surprises[0] == pytest.approx(math.log(4))
    assert comparison.agreement == 0


def test_padding_of_a_vocabulary_does_not_count():
    logits = np.array([1.0, 2.0, 3.0], np.float32)
    padded = np.array([1.0, 2.0, 3.0, 2.5, 2.5], np.float32)
    comparison = Comparison()
    comparison.add(padded, kept(log_probabilities(logits)), top=2, token=1)
    comparison.add(logits, kept(log_probabilities(padded)), top=2, token=1)
    assert max(comparison.divergences) < 1e-6
    assert comparison.agreement == 1


@pytest.mark.parametrize("damage", [math.nan, math.inf])
def test_a_model_that_computes_no_numbers_is_told(damage):
    with pytest.raises(Broken) as caught:
        log_probabilities(np.array([1.0, damage], np.float32))
    assert caught.value.code == "model_unusable"
    assert "more bits" in caught.value.hint


def test_an_estimate_has_a_standard_error():
    found = Estimate.of([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5
    assert found.error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert found.exponential().error == pytest.approx(math.exp(2.5) * found.error)
    assert Estimate.of([2.0]) == Estimate(2.0, 0.0)


def test_an_extent_is_whole_chunks():
    assert [Extent(tokens=tokens).chunks for tokens in (1, 127, 128, 1000)] == [1, 1, 2, 8]


def test_the_bundled_text_is_long_enough_and_is_used_for_nothing_else():
    judging = text.read(None)
    assert len(judging) / 4 > Extent().chunks * CHUNK_TOKENS
    calibration = text.BUNDLED.parent.parent / "calibration.txt"
    lines = {line.strip() for line in calibration.read_text("utf-8").splitlines() if len(line) > 40}
    assert lines.isdisjoint(line.strip() for line in judging.splitlines())


def test_a_text_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(NotFound) as missing:
        text.read(tmp_path / "none.txt")
    assert missing.value.code == "text_not_found"
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Übung".encode("latin-1"))
    with pytest.raises(InvalidRequest) as unreadable:
        text.read(latin)
    assert unreadable.value.code == "text_unreadable"


def test_a_very_long_text_is_cut_even_within_a_character(tmp_path: Path):
    long = tmp_path / "long.txt"
    long.write_bytes(b"x" + "ü".encode() * (2 * 2**20 + 5))
    assert len(text.read(long)) == 2 * 2**20


def test_tasks_are_fair_however_few_are_taken():
    tasks = Tasks.load()
    assert (len(tasks.utterances), len(tasks.forms)) == (Extent().intents, Extent().documents)
    for start in range(0, len(tasks.utterances), len(tasks.labels)):
        assert {each.label for each in tasks.utterances[start : start + len(tasks.labels)]} == set(tasks.labels)
    schema = tasks.sorting(tasks.utterances[0]).response_format.schema
    assert schema is not None
    assert set(schema["properties"]["intent"]["enum"]) == set(tasks.labels)


FORM = Form("", {"name": "text", "age": "number", "towns": "list", "well": "true or false"})
GOOD = '{"name": "Ada", "age": 36, "towns": ["London"], "well": true}'


@pytest.mark.parametrize("answer", [GOOD, f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```\n", f"\n{GOOD} "])
def test_a_form_that_is_filled_in_is_valid(answer: str):
    assert is_valid(FORM, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Ada is 36.",
        f"Here it is: {GOOD}",
        f"```python\n{GOOD}\n```",
        GOOD[:-1],
        f"[{GOOD}]",
        GOOD.replace("36", '"36"'),
        GOOD.replace("36", "true"),
        GOOD.replace('"well": true', '"well": 1'),
        GOOD.replace(', "well": true', ""),
        "[" * 100_000,
    ],
)
def test_a_form_that_is_not_is_not(answer: str):
    assert not is_valid(FORM, answer)


def test_only_the_right_intent_is_right():
    utterance = Tasks.load().utterances[0]
    assert is_right(utterance, json.dumps({"intent": utterance.label}))
    assert not is_right(utterance, json.dumps({"intent": "other"}))
    assert not is_right(utterance, json.dumps([utterance.label]))
    assert not is_right(utterance, "")


def manifest(measured: dict[str, object] | None) -> dict[str, object]:
    file = {"path": "m.gguf", "sha256": "c" * 64, "size": 10}
    made = {"source": {"name": "m", "files": [file]}, "command": "edge-quantize m", "tools": {}}
    return {
        "id": "m-q8_0",
        "kind": "llm",
        "format": "gguf",
        "licence": "MIT",
        "attribution": "x",
        "ram_mb": 1,
        "context_length": 512,
        "files": [file],
        "made": made if measured is None else {**made, "measured": measured},
    }


def test_figures_stand_in_a_manifest_and_are_not_needed():
    written = json.loads(json.dumps(manifest(MEASURED.as_dict())))
    made = parse(written, "manifest.json").made
    assert made is not None
    assert made.measured == MEASURED
    old = parse(manifest(None), "manifest.json").made
    assert old is not None
    assert old.measured is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("perplexity", math.inf), ("kl_divergence", math.nan), ("top1_agreement", 1.5), ("size_bytes", -1), ("more", 1)],
)
def test_a_manifest_with_impossible_figures_is_refused(field: str, value: float):
    with pytest.raises(Broken) as caught:
        parse(manifest({**MEASURED.as_dict(), field: value}), "manifest.json")
    assert caught.value.code == "bad_manifest"
    assert caught.value.param is not None
    assert field in caught.value.param
