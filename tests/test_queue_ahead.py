"""Who waits for a local model is expected to be answered later: a deadline that the queue would break goes elsewhere.

The pool, what is considered and the decision are real. The models on the stage answer when they are told to, the cloud
is one that can be reached, and the message has no words, so that nothing has to be understood.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text
from cloud_bridge.protocol.events import Finish, Usage
from cloud_bridge.protocol.trace import Traceparent
from edge_agent.consider import Considerer, Policy
from edge_agent.device import DeviceState
from edge_agent.promises import Terms
from edge_agent.routing.decide import decide
from edge_agent.routing.replay import Step, record, replay
from edge_agent.routing.situation import Situation
from edge_agent.speeds import Speeds
from edge_agent.turn import EdgeOptions, Request, Turn
from tests.runtimes.asking import asking
from tests.runtimes.staged_pool import Stage

pytestmark = pytest.mark.anyio
POLICY = Policy("auto", frozenset(), "warn", None, True, 0, 0, 0)  # noqa: FBT003 - a clock that is trusted
HI = asking("hi")
MODEL: Any = SimpleNamespace(id="a", format="gguf", context_length=2048, ram_mb=40)


async def reachable() -> bool:
    return True


def considerer(stage: Stage, speeds: Speeds) -> Considerer:
    models = SimpleNamespace(choices=lambda _: (MODEL, {"a": MODEL}), chooses=False, ram_budget_mb=100)
    parts: dict[str, Any] = {
        "text_models": None,
        "models": models,
        "bridge": SimpleNamespace(configured=True, reachable=reachable, serves=lambda _: True),
        "state": None,
        "judge": SimpleNamespace(terms=lambda *_: Terms()),
        "own_intents": SimpleNamespace(current=lambda: None),
        "device": SimpleNamespace(state=DeviceState),
    }
    return Considerer(**parts, speeds=speeds, loaded=stage.pool.loaded, policy=POLICY)


def turn(deadline_ms: float | None = None) -> Turn:
    request = Request(
        Conversation((Message("user", (Text(" "),)),), sampling=Sampling(max_tokens=10)),
        edge=EdgeOptions(deadline_ms=deadline_ms),
    )
    return Turn(request, "r", "d", "s", Traceparent("1" * 32, "2" * 16), 0.0)


async def test_a_deadline_that_the_queue_breaks_goes_to_the_cloud_and_replays() -> None:
    stage, speeds = Stage(), Speeds()
    speeds.note("a", took_ms=3000, tokens=100)  # 30 ms a token
    speeds.note(Speeds.CLOUD, took_ms=1000, tokens=100)
    considers = considerer(stage, speeds)
    runtime = await stage.pool.runtime("a")
    assert decide(await considers.situation(turn(1000))).route == "local"

    stage.made["a"].go.clear()
    before = runtime.generate(HI)
    await anext(before)
    situation = await considers.situation(turn(1000))
    (candidate,) = situation.candidates
    assert (candidate.queue_ms, candidate.expected_ms) == (pytest.approx(3000), pytest.approx(3300))
    decision = decide(situation)
    assert (decision.route, decision.reasons[-1]) == ("cloud", "deadline:local_queue")
    assert decide(await considers.situation(turn())).route == "local", "nobody is in a hurry"
    stored = json.loads(json.dumps({"decision_id": "d", **record([Step(situation)], decision)}))
    assert replay(stored)
    assert Situation.from_json(stored["steps"][0]["situation"]) == situation

    await before.aclose()
    assert decide(await considers.situation(turn(1000))).route == "local"
    await stage.pool.close()


async def test_time_in_the_queue_says_nothing_of_a_models_speed() -> None:
    stage, speeds = Stage(), Speeds()
    speeds.note("a", took_ms=3000, tokens=100)
    considers = considerer(stage, speeds)
    runtime = await stage.pool.runtime("a")
    stage.made["a"].go.clear()
    before = runtime.generate(HI)
    await anext(before)
    waited, alone = turn(), turn()
    await considers.situation(waited)
    await before.aclose()
    await considers.situation(alone)
    for each, ms in ((waited, 3000), (alone, 2700)):
        each.route, each.model, each.finished_ms, each.events = "local", "a", 2000.0, [Finish("stop", Usage(1, 100))]
        considers.note_speed(replace(each))
        assert speeds.expected_ms("a", 100) == pytest.approx(ms)
    await stage.pool.close()
