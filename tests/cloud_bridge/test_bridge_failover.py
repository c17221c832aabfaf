"""Providers in the order written; the next one where one does not answer; never two halves of two answers."""

from __future__ import annotations

import pytest

from cloud_bridge.protocol.problems import InvalidRequest, NotFound, Unavailable
from tests.cloud_bridge.conftest import (
    Departures,
    MakeBridge,
    collect,
    collect_until_problem,
    escalation,
    provider_config,
    served,
    text_of,
)
from tests.upstream import Answer, RecordingUpstream

pytestmark = pytest.mark.anyio

SECRET = "body-of-the-provider"


async def test_the_first_provider_answers_and_the_second_is_not_asked(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge
):
    bridge = await make_bridge(provider_config(upstream), provider_config(second, "second"))
    assert served(await collect(bridge.escalate(escalation()))).provider == "first"
    assert second.requests == []


@pytest.mark.parametrize(
    "broken",
    [
        *(Answer(status=status, body=SECRET) for status in (400, 401, 403, 404, 408, 409, 422, 429, 500, 503, 529)),
        Answer(drop=True),
        Answer(cut_after=0),
        Answer(error_after=0),
        Answer(hang=True),
    ],
    ids=str,
)
async def test_the_next_provider_answers_where_one_does_not(
    broken, upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge, departures: Departures
):
    upstream.will(broken)
    second.will(Answer(text="from the second"))
    bridge = await make_bridge(
        provider_config(upstream), provider_config(second, "second", api_key_env="OTHER_KEY"), read_s=0.3
    )
    events = await collect(bridge.escalate(escalation(), departures))
    assert served(events).provider == "second"
    assert text_of(events) == "from the second"
    assert len(upstream.requests) == len(second.requests) == 1
    assert [departure.provider for departure in departures.seen] == ["first", "second"]
    assert "sk-test" not in second.received.decode()


async def test_a_provider_without_a_key_is_passed_over_and_nothing_leaves_for_it(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge, departures: Departures
):
    bridge = await make_bridge(provider_config(upstream, api_key_env="UNSET_KEY"), provider_config(second, "second"))
    asked = escalation()
    assert bridge.preview(asked).provider == "second"
    events = await collect(bridge.escalate(asked, departures))
    assert served(events).provider == "second"
    assert [departure.provider for departure in departures.seen] == ["second"]
    assert upstream.requests == []


async def test_a_provider_whose_format_has_no_n_is_passed_over_and_nothing_leaves_for_it(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge, departures: Departures
):
    second.will(Answer(text="an answer", pieces="odd"))
    bridge = await make_bridge(provider_config(upstream, kind="anthropic"), provider_config(second, "second"))
    asked = escalation(n=2)
    assert bridge.preview(asked).provider == "second"
    events = await collect(bridge.escalate(asked, departures))
    assert served(events).provider == "second"
    assert [departure.provider for departure in departures.seen] == ["second"]
    assert upstream.requests == []
    assert second.requests[0].json["n"] == 2


async def test_where_no_provider_can_make_several_answers_the_request_is_what_is_wrong(
    upstream: RecordingUpstream, make_bridge: MakeBridge, departures: Departures
):
    bridge = await make_bridge(provider_config(upstream, kind="anthropic"))
    with pytest.raises(InvalidRequest, match="one answer at a time") as caught:
        await collect(bridge.escalate(escalation(n=2), departures))
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "n")
    assert "Leave 'n' out" in caught.value.hint
    assert departures.seen == []
    assert upstream.requests == []
    assert served(await collect(bridge.escalate(escalation()))).provider == "first"


async def test_an_answer_that_is_cut_is_not_continued_by_another_provider(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge
):
    upstream.will(Answer(text="one two three", pieces="odd", cut_after=2))
    bridge = await make_bridge(provider_config(upstream), provider_config(second, "second"))
    events, problem = await collect_until_problem(bridge.escalate(escalation()))
    assert isinstance(problem, Unavailable)
    assert problem.code == "provider_cut"
    assert text_of(events) == "one"
    assert second.requests == []


async def test_an_error_in_the_middle_of_a_stream_is_a_cut(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(text="one two three", pieces="odd", error_after=2))
    bridge = await make_bridge(provider_config(upstream))
    with pytest.raises(Unavailable) as caught:
        await collect(bridge.escalate(escalation()))
    assert caught.value.code == "provider_cut"


@pytest.mark.parametrize(
    ("answers", "code", "hint"),
    [
        ([Answer(status=401, body=SECRET), Answer(status=500, body=SECRET)], "cloud_unreachable", "wrong_api_key"),
        ([Answer(status=500, body=SECRET), Answer(status=400, body=SECRET)], "cloud_unreachable", "provider_down"),
        ([Answer(status=429), Answer(status=500)], "cloud_unreachable", "rate_limited"),
        ([Answer(hang=True), Answer(drop=True)], "cloud_unreachable", "provider_timeout"),
        ([Answer(status=400, body=SECRET), Answer(status=422, body=SECRET)], "provider_rejected", "(400)"),
    ],
)
async def test_where_nobody_answers_the_first_cause_is_named_and_no_body(
    *, answers, code, hint, upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge
):
    upstream.will(answers[0])
    second.will(answers[1])
    bridge = await make_bridge(provider_config(upstream), provider_config(second, "second"), read_s=0.3)
    with pytest.raises(Unavailable) as caught:
        await collect(bridge.escalate(escalation()))
    assert caught.value.code == code
    assert hint in caught.value.hint
    assert "'first'" in caught.value.hint
    assert SECRET not in str(caught.value)
    assert "sk-" not in str(caught.value)


async def test_nobody_listens_at_the_address(make_bridge: MakeBridge):
    async with RecordingUpstream() as gone:
        config = provider_config(gone)
    bridge = await make_bridge(config)
    with pytest.raises(Unavailable) as caught:
        await collect(bridge.escalate(escalation()))
    assert caught.value.code == "cloud_unreachable"
    assert "connection_failed" in caught.value.hint


async def test_no_key_anywhere_says_which_variable_to_set(upstream: RecordingUpstream, make_bridge: MakeBridge):
    bridge = await make_bridge(provider_config(upstream), environ={})
    with pytest.raises(Unavailable) as caught:
        await collect(bridge.escalate(escalation()))
    assert caught.value.code == "cloud_unreachable"
    assert "no_api_key" in caught.value.hint
    assert "TEST_KEY" in caught.value.hint


async def test_retry_after_is_passed_on(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(status=429, headers=(("Retry-After", "17"),)))
    bridge = await make_bridge(provider_config(upstream))
    with pytest.raises(Unavailable) as caught:
        await collect(bridge.escalate(escalation()))
    assert caught.value.retry_after_s == 17


async def test_no_providers_at_all(make_bridge: MakeBridge):
    bridge = await make_bridge()
    with pytest.raises(Unavailable, match="No provider is configured"):
        await collect(bridge.escalate(escalation()))
    with pytest.raises(Unavailable, match="No provider is configured"):
        bridge.preview(escalation())


async def test_a_model_can_be_asked_for_by_id(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge
):
    bridge = await make_bridge(provider_config(upstream), provider_config(second, "second"))
    assert served(await collect(bridge.escalate(escalation(model="second-model")))).provider == "second"
    with pytest.raises(NotFound) as caught:
        await collect(bridge.escalate(escalation(model="no-such-model")))
    assert caught.value.code == "unknown_model"
