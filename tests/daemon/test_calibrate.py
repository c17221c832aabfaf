"""`edge-agent calibrate`, as a user runs it, on real models; and the local model checked behind a cloud answer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text
from cloud_bridge.protocol.events import Event, Finish, TextDelta, TokenLogprob
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.trace import Traceparent
from edge_agent.cli.calibration_run import Wanted, calibration_of, of_answer
from edge_agent.composition import local_models, open_store
from edge_agent.local_models import LocalModels
from edge_agent.promises import Promises
from edge_agent.routing.calibration.fitting import Example
from edge_agent.routing.calibration.risk_control import Promise
from edge_agent.routing.calibration.store import Calibrations
from edge_agent.routing.decide import HOLD_TOKENS
from edge_agent.runtimes.pool import Pool
from edge_agent.settings import Models
from edge_agent.shadow import Judge, Shadow
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.text_models import TextModels
from edge_agent.turn import Request, Turn
from tests.routing.calibrations import calibration

SMOL = "smollm2-135m-instruct-q4_1"
CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Germany": "Berlin",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Russia": "Moscow",
    "England": "London",
    "Portugal": "Lisbon",
    "Austria": "Vienna",
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path, models_home: Path) -> Path:
    (tmp_path / "models").symlink_to(models_home)
    (tmp_path / "config.toml").write_text(f'[models]\ndefault = "{SMOL}"\n')
    return tmp_path


@pytest.fixture
def run(home: Path) -> Run:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_AGENT_")}
        return subprocess.run(
            [sys.executable, "-m", "edge_agent.cli.main", "calibrate", *words],
            env={**kept, "EDGE_AGENT_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


def examples(path: Path, *lines: object) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.slow
def test_a_language_model_is_calibrated_on_requests_and_answers(run: Run, home: Path) -> None:
    lines = [
        {
            "messages": ask(f"What is the capital of {country}? One word."),
            "answer": f"The capital of {country} is {capital}.",
            "max_tokens": 10,
            "temperature": 0,
        }
        for country, capital in CAPITALS.items()
    ]
    done = run("--data", examples(home / "data", *lines), "--target-error", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["task"], found["examples"]) == (SMOL, "all", len(CAPITALS))
    assert found["right"] >= len(CAPITALS) / 2
    assert Calibrations(home).current(SMOL).to_json() == found  # type: ignore[union-attr]
    assert not (home / "calibrating").exists()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(home: Path) -> None:
    lines = [
        {"messages": ask(f"What is the capital of {country}?"), "answer": capital, "max_tokens": 2, "stop": ["x"]}
        for country, capital in CAPITALS.items()
    ]
    data = Path(examples(home / "data", *lines))
    told: list[str] = []
    asked: list[int] = []

    def interrupt(done: int, _of: int) -> None:
        if done == 5:
            raise InterruptedError

    for tick, target in ((interrupt, 0.5), (lambda done, _: asked.append(done), 0.5)):
        with suppress(ExceptionGroup, InvalidRequest):  # what the second one finds is not the matter here
            calibration_of(home, Wanted(data, Promise(target), max_tokens=2), tick, told.append)
    (line,) = told
    answered = int(line.split()[0])
    assert 5 <= answered < len(CAPITALS), "those that were being answered may have been kept, too"
    assert "answered by a run before" in line
    assert asked == [*range(1, len(CAPITALS) + 1)]
    kept = "".join(path.read_text() for path in (home / "calibrating").glob("*.jsonl"))
    assert not any(word in kept for pair in CAPITALS.items() for word in pair)


@pytest.mark.slow
def test_texts_with_known_labels_measure_the_intent_classifier_and_store_nothing(run: Run, home: Path) -> None:
    asked = {
        "freeze_account": ("please freeze my account", "put a hold on my bank account now"),
        "greeting": ("hello there", "hi, good morning"),
        "weather": ("what is the weather in rome", "will it rain tomorrow"),
        "timer": ("set a timer for ten minutes", "start a five minute timer"),
    }
    lines = [{"text": text, "label": label} for label, texts in asked.items() for text in texts]
    lines += [{**line, "text": line["text"] + mark} for line in lines for mark in ("!", ".", "...")]
    done = run("--data", examples(home / "data", *lines), "--target-error", "0.3")
    assert done.returncode == 0, done.stderr
    assert "with 90% certainty" in done.stdout
    assert "at most 30.0%" in done.stdout
    assert "no decision goes by it" in done.stderr
    assert not Calibrations(home).all()


def test_a_refusal_is_one_line_and_changes_nothing(run: Run, home: Path) -> None:
    done = run("--data", examples(home / "data", *({"messages": ask(f"x{n}"), "answer": "y"} for n in range(5))))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "at least 92" in done.stderr
    assert not (home / "calibration.json").exists()


def test_more_labels_than_a_model_can_be_offered_are_refused(home: Path) -> None:
    lines = [{"text": f"x{number}", "label": f"label {number}"} for number in range(100)]
    wanted = Wanted(Path(examples(home / "data", *lines)), Promise(0.1))
    with pytest.raises(InvalidRequest, match="offered 64 at once"):
        calibration_of(home, wanted, lambda _done, _of: None)


def test_first_tokens_are_those_that_a_streaming_client_is_held_back_for() -> None:
    sure, unsure = TokenLogprob("a", -0.01), TokenLogprob("b", -3.0)
    conversation = Conversation((Message("user", (Text("x"),)),))

    def example(*logprobs: TokenLogprob) -> Example:
        return of_answer(gather([TextDelta("words", logprobs), Finish()]), conversation, right=True)

    long = example(*[sure] * HOLD_TOKENS, *[unsure] * 10)
    assert long.prefix.mean == pytest.approx(-0.01)
    assert long.whole.mean < -0.5
    assert (long.prefix.whole, long.whole.whole) == (False, True)
    short = example(sure, unsure)
    assert short.prefix == short.whole


def test_samples_tell_of_whole_answers_and_not_of_a_streams_first_tokens() -> None:
    conversation = Conversation((Message("user", (Text("x"),)),))
    answer = gather([TextDelta("Paris", (TokenLogprob("Paris", -0.1),)), Finish()])
    found = of_answer(answer, conversation, right=True, samples=["paris", "Rome"])
    assert (found.whole.agreement, found.prefix.agreement) == (0.5, None)


# The check behind a cloud answer


def turn(answer: str, **request: object) -> Turn:
    conversation = Conversation(
        (Message("user", (Text("Repeat this word: apple"),)),), sampling=Sampling(max_tokens=4, temperature=0.0)
    )
    asked = Request(conversation, **request)  # type: ignore[arg-type]
    events: list[Event] = [TextDelta(answer), Finish()]
    return Turn(asked, "r", "d", "s", Traceparent("0" * 31 + "1", "0" * 15 + "1"), 0.0, route="cloud", events=events)


async def checked(home: Path, models: LocalModels, answers: list[str], judge: str) -> list[bool]:
    """What the local model's answers came to, beside these cloud answers."""
    made = calibration(SMOL, sha256=open_store(home).get(SMOL).files[0].sha256)
    Calibrations(home).keep(made)
    pool = Pool(models.spec, models.ram_budget_mb, 60)
    with State.open(home / "state.db", HomeKey(home).open()) as state:
        promises = Promises(Calibrations(home), state)
        shadow = Shadow(
            pool=pool,
            models=models,
            promises=promises,
            judge=Judge(judge, TextModels()),  # type: ignore[arg-type]
            share=1.0,
            quiet_s=0.0,
        )
        task = asyncio.create_task(shadow.run())
        try:
            for answer in answers:
                shadow.offer(turn(answer))
            deadline = time.monotonic() + 60
            while promises.status()["checks"] < len(answers) and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            task.cancel()
            await pool.close()
        return [check.agreed for check in state.checks(made.id)]


@pytest.mark.slow
def test_a_cloud_answer_checks_the_local_model_and_leaves_no_text(home: Path) -> None:
    models = local_models(open_store(home), Models(default=SMOL))
    secret = "a wholly different answer from the cloud"
    first, second = asyncio.run(checked(home, models, ["Apple.", secret], "exact"))
    assert second is False
    assert isinstance(first, bool)
    kept = b"".join(path.read_bytes() for path in home.glob("state.db*"))
    assert b"different answer" not in kept
    assert b"Repeat this word" not in kept


def test_only_a_share_of_what_can_be_compared_is_taken(home: Path) -> None:
    with State.open(home / "state.db", HomeKey(home).open()) as state:
        promises = Promises(Calibrations(home), state)
        models = local_models(open_store(home), Models(default=SMOL))
        draws = iter([0.01, 0.5, 0.01, 0.01])
        shadow = Shadow(
            pool=Pool(models.spec, 1000, 0),
            models=models,
            promises=promises,
            judge=Judge("exact", TextModels()),
            share=0.02,
            draw=lambda: next(draws),
        )
        shadow.offer(turn("yes"))  # nothing is calibrated: there is no promise to watch
        Calibrations(home).keep(calibration(SMOL))
        assert shadow.waiting == 0
        shadow.offer(turn("yes"))  # 0.5: not drawn
        assert shadow.waiting == 0
        shadow.offer(turn("yes"))
        assert shadow.waiting == 1
        local = turn("yes")
        local.route = "local"
        shadow.offer(local)
        shadow.offer(turn("  "))
        assert shadow.waiting == 1


def test_judges_differ_in_what_they_let_pass(home: Path) -> None:
    text_models = TextModels()
    exact, meaning = Judge("exact", text_models), Judge("embedding", text_models)
    asked = turn("x").request.conversation
    assert exact.agree("The capital is Paris.", "the capital is paris", asked)
    pair = ("The capital city of France is Paris.", "Paris is the capital of France.")
    assert not exact.agree(*pair, asked)
    assert meaning.agree(*pair, asked)
    assert not meaning.agree("It costs 41 euros.", "It costs 42 euros.", asked)
    assert not meaning.agree("Bananas are yellow.", "The meeting was moved to Friday.", asked)
