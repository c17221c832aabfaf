"""The texts that the implicit-identity head is trained on, and a small head trained on some of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cloud_bridge.protocol.problems import NotFound
from edge_agent.models.bundled import bundled_path
from edge_agent.routing.implicit import BUNDLED, ImplicitScorer
from edge_agent.routing.metrics import auroc
from edge_agent.runtimes.encoder import Encoder
from quantize.heads import implicit_words
from quantize.heads.implicit import ImplicitHead, Read, threshold, train
from quantize.heads.implicit_texts import split, texts

FEW = 80


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(bundled_path("encoders/all-minilm-l6-v2-int8"))


@pytest.mark.parametrize("held_out", [False, True])
def test_the_same_seed_gives_the_same_texts_and_another_one_others(held_out: bool) -> None:
    first = texts(FEW, held_out=held_out)
    assert texts(FEW, held_out=held_out) == first
    assert texts(FEW, held_out=held_out, seed=1) != first
    assert len(set(first.identifying)) == len(set(first.impersonal)) == FEW
    assert set(first.identifying).isdisjoint(first.impersonal)


def test_what_is_held_out_shares_no_entry_with_what_is_trained_on() -> None:
    pools = [implicit_words.FRAMES, implicit_words.TRAITS, implicit_words.KIN_FACTS]
    pools += [pool for walk in implicit_words.WALKS for pool in (walk.roles, walk.events, walk.places, walk.befell)]
    for pool in pools:
        trained, held = (set(split(pool, held_out=held_out)) for held_out in (False, True))
        assert trained
        assert held
        assert trained.isdisjoint(held)
        assert trained | held == set(pool.split("|"))


def test_a_head_learns_what_it_was_not_shown(encoder: Encoder) -> None:
    shown, held = texts(FEW, held_out=False), texts(FEW, held_out=True)
    identifying, impersonal = Read.of(shown.identifying, encoder.embed), Read.of(shown.impersonal, encoder.embed)
    head = ImplicitHead.fit(identifying, [impersonal])
    found, kept = (head.scores(Read.of(rows, encoder.embed)) for rows in (held.identifying, held.impersonal))
    assert auroc(found, kept) > 0.9
    assert head.scores(Read.of(["play some jazz", "what time is it"], encoder.embed)).tolist() == [0, 0]


def test_the_threshold_keeps_few_of_every_set() -> None:
    low, high = np.linspace(0, 0.3, 1000), np.r_[np.zeros(980), np.full(20, 0.6)]
    assert threshold([low]) == 0.3
    assert threshold([low, high]) == 0.61
    assert threshold([np.ones(10)]) == 0.99


def test_the_committed_head_finds_its_held_out_texts_as_its_manifest_says(encoder: Encoder) -> None:
    figures = json.loads((bundled_path(BUNDLED) / "manifest.json").read_text())["figures"]
    assert figures["held_out_identifying_found"] > 0.9
    assert max(share for name, share in figures.items() if name.endswith("_kept") and "held" not in name) <= 0.01
    scorer = ImplicitScorer(encoder.embed, bundled_path(BUNDLED))
    held = texts(FEW, held_out=True)
    found = np.mean([scorer.score(text) >= scorer.threshold for text in held.identifying])
    assert abs(found - figures["held_out_identifying_found"]) < 0.08


def test_a_data_folder_without_the_sets_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        train(lambda rows: np.zeros((len(rows), 384), np.float32), tmp_path, tmp_path)
    assert caught.value.code == "data_not_found"
    assert "--data" in caught.value.hint
