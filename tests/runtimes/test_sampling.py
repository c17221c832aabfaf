from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_bridge.protocol.conversation import Sampling
from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.runtimes.engine.sampling import checked_settings

OUT_OF_RANGE = [
    ("temperature", -0.1), ("temperature", 2.1), ("temperature", float("nan")), ("temperature", float("inf")),
    ("temperature", "1"), ("temperature", True), ("top_p", -0.1), ("top_p", 1.1), ("top_k", -1), ("top_k", 2**31),
    ("top_k", 1.5), ("min_p", -0.1), ("min_p", 1.1), ("frequency_penalty", -2.1), ("frequency_penalty", 2.1),
    ("presence_penalty", float("-inf")), ("seed", 2**63), ("seed", "a"), ("max_tokens", 0), ("max_tokens", -1),
    ("max_tokens", 2**31), ("top_logprobs", -1), ("top_logprobs", 21), ("stop", ("",)), ("stop", ("a",) * 17),
    ("stop", ("x" * 1001,)), ("stop", (1,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_nothing_out_of_range_gets_near_native_code(name, value):
    with pytest.raises(InvalidRequest) as caught:
        checked_settings(replace(Sampling(), **{name: value}))
    assert (caught.value.code, caught.value.param) == ("invalid_value", name)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, -(2**63), 2**32 - 1])
def test_every_seed_becomes_one_of_64_bits(seed):
    found = checked_settings(Sampling(seed=seed)).seed
    assert found is not None
    assert 0 <= found < 2**64


def test_what_is_not_asked_gets_the_defaults():
    settings = checked_settings(Sampling())
    assert (settings.temperature, settings.top_k, settings.seed, settings.max_tokens) == (0.8, 40, None, None)
