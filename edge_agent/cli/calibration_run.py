"""What `edge-agent calibrate` runs: the local model, or the intent classifier, over labelled examples."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.gathered import Answer, gather
from cloud_bridge.protocol.problems import InvalidRequest, Problem
from edge_agent import __version__, composition
from edge_agent.local_attempt import LocalAttempt, drawn
from edge_agent.models.bundled import bundled_path
from edge_agent.models.digest import sha256_of
from edge_agent.models.lora.pairs import ADAPTER_MARK
from edge_agent.models.manifest import Manifest
from edge_agent.routing.calibration.answered import Answered
from edge_agent.routing.calibration.calibration import ALL, Calibration, Subject
from edge_agent.routing.calibration.comparison import is_right
from edge_agent.routing.calibration.examples import MOST_LABELS, Labelled, Question, bad_line, offered, read
from edge_agent.routing.calibration.fitting import Example, calibrate, check_number
from edge_agent.routing.calibration.risk_control import Promise
from edge_agent.routing.calibration.signals import of_label, signals, with_alternatives
from edge_agent.routing.calibration.store import Calibrations
from edge_agent.routing.calibration.task import CLASSIFY, EXACT_TASKS, INTENT, task_of
from edge_agent.routing.decide import HOLD_TOKENS
from edge_agent.routing.head import ARRAYS
from edge_agent.routing.intent import BUNDLED
from edge_agent.routing.obstacles import no_local_model
from edge_agent.routing.parameters import applied, parameters_for
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.pooled_runtime import PooledRuntime
from edge_agent.runtimes.runtime import ModelSpec
from edge_agent.settings import Settings
from edge_agent.text_models import INTENT_ENCODER, TextModels

OUTSIDE = frozenset({"oos", "out_of_scope"})
"""Labels that mean: none of the others."""

Tick = Callable[[int, int], None]
"""Hears how many examples are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to calibrate. `model` None: what `local` means, or for known intents the classifier. `task` None: the usual.

    `max_tokens`: where an example does not say how long its answer may be.
    """

    data: Path
    promise: Promise
    model: str | None = None
    task: str | None = None
    max_tokens: int = 256


def calibration_of(home: Path, wanted: Wanted, tick: Tick, tell: Callable[[str], None] = lambda _: None) -> Calibration:
    """Answer all examples, fit, and store. It may be interrupted at any time: the next one, of the same data and model,
    goes on from there.

    Of the intent classifier nothing is stored: no request is decided by how sure it is of that. `tell` hears what
    `read` left out, and how much was answered before.

    Raises what `read`, `calibrate` and the models raise; of an example, with its line.
    """
    found = read(wanted.data, tell)
    check_number(len(found), wanted.promise)
    text_models = TextModels()
    labelled = [each for each in found if isinstance(each, Labelled)]
    if labelled and wanted.model is None and wanted.task is None:
        labels = {each.label for each in labelled} - OUTSIDE
        if labels <= set(text_models.intents.labels):
            return _fitted(_classified(text_models, labelled, tick), _head(), wanted.promise)
    return asyncio.run(_by_model(home, wanted, found, tick, tell))


def is_of_intents(found: Calibration) -> bool:
    """Whether the intent classifier was measured, and no model that answers."""
    return found.subject.model == bundled_path(BUNDLED).name


def _head() -> Subject:
    """The intent classifier as what is calibrated."""
    folder = bundled_path(BUNDLED)
    return Subject(folder.name, sha256_of(folder / ARRAYS), INTENT, INTENT_ENCODER)


def _classified(text_models: TextModels, examples: Sequence[Labelled], tick: Tick) -> list[Example]:
    answered = []
    step = 64
    for start in range(0, len(examples), step):
        chunk = examples[start : start + step]
        for example, guess in zip(chunk, text_models.intents.classify([each.text for each in chunk]), strict=True):
            chance = of_label(guess.confidence)
            answered.append(Example(chance, chance, guess.label == example.label))
        tick(len(answered), len(examples))
    return answered


async def _by_model(
    home: Path, wanted: Wanted, found: Sequence[Question] | Sequence[Labelled], tick: Tick, tell: Callable[[str], None]
) -> Calibration:
    settings = Settings.load(home, os.environ).models
    store = composition.open_store(home)
    models = composition.local_models(store, settings)
    model_id = wanted.model or _default(models.default())
    spec = models.spec(model_id)
    questions = _questions(found, wanted.max_tokens)
    usual = CLASSIFY if isinstance(found[0], Labelled) else ALL
    sha256 = store.get(model_id.partition(ADAPTER_MARK)[0]).files[0].sha256
    subject = Subject(model_id, sha256, wanted.task or usual, INTENT_ENCODER)
    known = Answered(home, _circumstances(questions, subject, spec))
    if len(known):
        tell(f"{len(known)} examples were answered by a run before this one, and are not asked again.")
    pool = Pool(lambda _: spec, models.ram_budget_mb, settings.keep_alive_s)
    try:
        example = partial(_example, await pool.runtime(model_id), task=wanted.task)
        answered = await _answered(example, questions, spec.parallel, tick, known)
    finally:
        await pool.close()
    calibration = _fitted(answered, subject, wanted.promise)
    Calibrations(home).keep(calibration)
    known.forget()
    return calibration


def _circumstances(questions: Sequence[Question], subject: Subject, spec: ModelSpec) -> dict[str, object]:
    """All that the answers depend on. Not the promise: another one may be tried with the same answers."""
    return {
        "version": __version__,
        "questions": hashlib.sha256(repr(questions).encode("utf-8", "surrogatepass")).hexdigest(),
        "subject": asdict(subject),
        "context_length": spec.context_length,
        "adapter": None if spec.adapter is None else sha256_of(spec.adapter.path),
    }


def _default(manifest: Manifest | None) -> str:
    if manifest is None:
        raise no_local_model()
    return manifest.id


def _questions(found: Sequence[Question] | Sequence[Labelled], max_tokens: int) -> list[Question]:
    """The examples as requests, each with a limit to its answer; a label is a document of the labels in the file."""
    labels = sorted({each.label for each in found if isinstance(each, Labelled)})
    if len(labels) > MOST_LABELS:
        raise InvalidRequest(
            f"The examples have {len(labels)} labels, and a model can be offered {MOST_LABELS} at once.",
            code="too_many_labels",
            hint="Give a file with fewer of them.",
            param="data",
        )
    questions = [
        each if isinstance(each, Question) else Question(each.line, offered(each, labels), {"label": each.label})
        for each in found
    ]
    return [replace(each, conversation=_limited(each.conversation, max_tokens)) for each in questions]


def _limited(conversation: Conversation, max_tokens: int) -> Conversation:
    asked = conversation.sampling
    return replace(conversation, sampling=replace(asked, max_tokens=asked.max_tokens or max_tokens))


async def _answered(
    example: Callable[[Question], Awaitable[Example]],
    questions: Sequence[Question],
    parallel: int,
    tick: Tick,
    known: Answered,
) -> list[Example]:
    """Each question answered, `parallel` at once, in the order in which they stand; but for those that are known."""
    slots = asyncio.Semaphore(parallel)
    done = 0

    async def answer(question: Question) -> Example:
        nonlocal done
        answered = known.get(question.line)
        if answered is None:
            async with slots:
                answered = await example(question)
            known.add(question.line, answered)
        done += 1
        tick(done, len(questions))
        return answered

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(question)) for question in questions]
    except* Problem as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _example(runtime: PooledRuntime, question: Question, *, task: str | None) -> Example:
    """Answered as a request of that task is for a client that takes the whole answer."""
    is_exact = task_of(task, question.conversation.response_format) in EXACT_TASKS
    parameters = parameters_for(question.conversation, exact=is_exact, streams=False)
    conversation = applied(parameters, question.conversation)
    samples: Sequence[str] = ()
    try:
        async with aclosing(LocalAttempt(runtime.generate(with_alternatives(conversation)))) as attempt:
            answer = gather([event async for event in attempt.events()])
        if parameters.samples > 1:
            samples = await drawn(runtime, conversation, parameters.samples - 1)
    except InvalidRequest as problem:
        raise bad_line(question.line, f"cannot be answered: {problem.message.rstrip('.')}") from problem
    is_expected = is_right(answer.text, question.expected)
    return of_answer(answer, question.conversation, right=is_expected, samples=samples)


def of_answer(answer: Answer, conversation: Conversation, *, right: bool, samples: Sequence[str] = ()) -> Example:
    """The example that an answer makes: its signals, and those of as much of it as would be held back.

    `samples`: other answers to the same request, as none are made for a client that streams.
    """
    form, finish = conversation.response_format, answer.finish.reason
    whole = signals(answer.logprobs, answer.text, finish=finish, response_format=form, samples=samples)
    if len(answer.logprobs) < HOLD_TOKENS:
        return Example(whole, replace(whole, agreement=None), right)
    # The text tells only whether a whole document is one.
    prefix = signals(answer.logprobs[:HOLD_TOKENS], "", response_format=form)
    return Example(whole, prefix, right)


def _fitted(answered: Sequence[Example], subject: Subject, promise: Promise) -> Calibration:
    made_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return calibrate(answered, subject, promise, made_at=made_at)
