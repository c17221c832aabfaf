"""How much context a model is given within a memory budget."""

from __future__ import annotations

from edge_agent.models.footprint import Footprint
from edge_agent.runtimes.sizing import LEAST_CONTEXT, Wishes, context_that_fits

MIB = 2**20
MODEL = Footprint(fixed=100 * MIB, per_token=MIB // 64, per_sequence=MIB, context_length=32768)


def test_a_model_gets_what_is_wanted_where_it_fits() -> None:
    assert context_that_fits(MODEL, 8192, 8, 300) == 8192
    assert context_that_fits(MODEL, 100_000, 8, 10_000) == 32768


def test_it_gets_less_where_that_does_not_fit_and_then_it_fits() -> None:
    context = context_that_fits(MODEL, 8192, 8, 200)
    assert LEAST_CONTEXT < context < 8192
    assert MODEL.mb(context, 8) <= 200


def test_where_not_even_the_least_fits_it_is_seen_to_be_too_large() -> None:
    context = context_that_fits(MODEL, 8192, 8, 120)
    assert context == LEAST_CONTEXT
    assert MODEL.mb(context, 8) > 120
    small = Footprint(fixed=100 * MIB, per_token=MIB // 64, per_sequence=MIB, context_length=512)
    assert context_that_fits(small, 8192, 8, 50) == 512


def test_a_short_context_that_was_asked_for_is_given() -> None:
    assert context_that_fits(MODEL, 512, 8, 120) == 512


def test_without_a_wish_a_long_model_gets_8192() -> None:
    assert Wishes().context_for(32768) == 8192
    assert Wishes().context_for(2048) == 2048
    assert Wishes(context_length=16384).context_for(32768) == 16384
    assert Wishes(context_length=16384).context_for(8192) == 8192
