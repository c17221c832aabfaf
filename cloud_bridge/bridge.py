"""The way of one escalation: known key? else the providers in the order written, until one answers.

A call runs in a task of its own, so that its answer reaches the store even where the listener goes away.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import anyio.to_thread

from cloud_bridge.calls import RunningCall, replayed
from cloud_bridge.protocol.envelope import Departure, Escalation, encode_escalation
from cloud_bridge.protocol.events import Event, Finish
from cloud_bridge.protocol.problems import InvalidRequest, NotFound, Problem, Unavailable
from cloud_bridge.protocol.provider_failures import provider_cut
from cloud_bridge.protocol.residency import allows, nobody_there
from cloud_bridge.providers.failures import none_answered, none_configured
from cloud_bridge.providers.provider import OnDeparture, Provider
from cloud_bridge.store import CallStore, key_reused

log = logging.getLogger(__name__)

CallKey = tuple[str, str]


class Bridge:
    """Answers escalations through providers. Belongs to one event loop; `close` when done.

    `keeps_calls`: a call goes on when nobody listens any more, and its answer waits in the store (a service).
    Otherwise the call is cancelled (inside a device: whoever asked has gone).
    """

    def __init__(self, providers: Sequence[Provider], store: CallStore, *, keeps_calls: bool = False) -> None:
        self.providers = tuple(providers)
        self._store = store
        self._keeps_calls = keeps_calls
        self._running: dict[CallKey, RunningCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def escalate(
        self, escalation: Escalation, on_departure: OnDeparture | None = None, *, caller: str = ""
    ) -> AsyncGenerator[Event]:
        """`Served`, then the answer's events, `Finish` last. `on_departure` is awaited before any bytes leave.

        A key that has an answer gets it again; a key that is being answered is listened to. Raises Unavailable
        code "cloud_unreachable" where no provider answers, "provider_rejected" where all refuse the request,
        "provider_cut" where one stops half-way; what `on_departure` raises, as it is.
        """
        key = (caller, escalation.idempotency_key)
        call = self._join_or_start(key, escalation, on_departure)
        call.listeners += 1
        try:
            async with aclosing(call.events()) as events:
                async for event in events:
                    yield event
        finally:
            call.listeners -= 1
            if not call.listeners and not self._keeps_calls:
                self._give_up(call, key)

    def preview(self, escalation: Escalation) -> Departure:
        """Exactly what would go to the first provider that can be asked. Sends nothing."""
        candidates = self._candidates(escalation)
        chosen = next((provider for provider in candidates if provider.has_key), candidates[0])
        return chosen.preview(escalation.masked.conversation)

    async def close(self) -> None:
        """Cancel the calls that run; the store knows them as started."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _join_or_start(self, key: CallKey, escalation: Escalation, on_departure: OnDeparture | None) -> RunningCall:
        fingerprint = _fingerprint(escalation)
        call = self._running.get(key)
        if call is None:
            call = self._running[key] = RunningCall(fingerprint)
            call.task = asyncio.create_task(self._run(call, key, escalation, on_departure))
            self._tasks.add(call.task)
            call.task.add_done_callback(self._tasks.discard)
        elif call.fingerprint != fingerprint:
            raise key_reused()
        return call

    def _give_up(self, call: RunningCall, key: CallKey) -> None:
        """Cancel a call that nobody waits for; whoever asks for its key from now on begins a new one."""
        self._forget(call, key)
        if call.task is not None:
            call.task.cancel()

    def _forget(self, call: RunningCall, key: CallKey) -> None:
        if self._running.get(key) is call:
            del self._running[key]

    async def _run(
        self, call: RunningCall, key: CallKey, escalation: Escalation, on_departure: OnDeparture | None
    ) -> None:
        """The whole life of one call. Whatever goes wrong is for the listeners."""
        failure: Exception | None = _stopped()
        try:
            known = await anyio.to_thread.run_sync(self._store.begin, *key, call.fingerprint)
            if known is None:
                await self._ask(call, key, escalation, on_departure)
            for event in known or ():
                call.emit(replayed(event))
            failure = None
        except _NotRecorded as refusal:
            failure = refusal.cause
        except Exception as error:  # noqa: BLE001 - the listeners raise it
            failure = error
        finally:
            # First out of the table, then ended: whoever comes next asks the store.
            self._forget(call, key)
            call.end(failure)

    async def _ask(
        self, call: RunningCall, key: CallKey, escalation: Escalation, on_departure: OnDeparture | None
    ) -> None:
        try:
            provider = await self._first_answer(call, key, escalation, on_departure)
        except Exception as error:
            code = error.code if isinstance(error, Problem | _NotRecorded) else "internal_error"
            await anyio.to_thread.run_sync(self._store.fail, *key, code)
            raise
        log.info("%s answered", provider)

    async def _first_answer(
        self, call: RunningCall, key: CallKey, escalation: Escalation, on_departure: OnDeparture | None
    ) -> str:
        async def depart(departure: Departure) -> None:
            try:
                if on_departure is not None:
                    await on_departure(departure)
            except Exception as error:
                # Not the provider's failure: no other may be tried.
                raise _NotRecorded(error) from error

        causes: list[Unavailable] = []
        for provider in self._candidates(escalation):
            stream = provider.stream(
                escalation.masked.conversation,
                idempotency_key=_key_for_provider(key),
                traceparent=escalation.traceparent,
                on_departure=depart,
            )
            try:
                await self._pass_on(call, key, provider, stream)
            except Unavailable as cause:
                log.warning("%s: %s", provider.config.name, cause.code)
                if call.heard:
                    # Half an answer was passed on: another provider's would not fit to it.
                    raise provider_cut() from cause
                causes.append(cause)
            else:
                return provider.config.name
        raise none_answered(causes)

    async def _pass_on(
        self, call: RunningCall, key: CallKey, provider: Provider, stream: AsyncGenerator[Event]
    ) -> None:
        async with aclosing(stream) as events:
            async for event in events:
                if not call.heard:
                    call.emit(provider.served)
                if isinstance(event, Finish):
                    # On disk before it is told: from here on, this key is never called again.
                    await self._keep(key, provider.config.name, (*call.heard, event))
                call.emit(event)

    async def _keep(self, key: CallKey, provider: str, answer: Sequence[Event]) -> None:
        try:
            await anyio.to_thread.run_sync(self._store.finish, *key, provider, answer)
        except Problem as problem:
            # The answer is here and paid for: whoever waits gets it. A repetition will be recorded as one.
            log.error("an answer could not be stored: %s", problem.code)

    def _candidates(self, escalation: Escalation) -> Sequence[Provider]:
        """Whom to ask, in order. Raises Unavailable where there is nobody, NotFound for a model nobody has,
        NotAllowed code "residency" where nobody is in a region that is allowed.

        Who cannot even be asked is passed over; where that is everyone, raises InvalidRequest, the first one's reason.
        """
        if not self.providers:
            raise none_configured()
        wanted = escalation.model
        chosen = [p for p in self.providers if wanted in {None, p.config.model, p.config.name}]
        if not chosen:
            raise NotFound(
                "No provider has the model that was asked for.",
                code="unknown_model",
                hint=f"Ask for one of: {', '.join(p.config.name for p in self.providers)}.",
                param="model",
            )
        near = [provider for provider in chosen if allows(escalation.residency, provider.config.region)]
        if not near:
            raise nobody_there(escalation.residency)
        able, reasons = [], []
        for provider in near:
            try:
                provider.check(escalation.masked.conversation)
            except InvalidRequest as reason:
                reasons.append(reason)
            else:
                able.append(provider)
        if not able:
            raise reasons[0]
        return able


class _NotRecorded(Exception):
    """`on_departure` raised."""

    code = "not_recorded"

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _fingerprint(escalation: Escalation) -> str:
    """Equal for the same question, whenever and in whatever trace it is asked."""
    question = replace(escalation, traceparent="", deadline_ms=None, max_cost_usd=None, residency=None)
    return hashlib.sha256(encode_escalation(question)).hexdigest()


def _key_for_provider(key: CallKey) -> str:
    """The same for each repetition. Two devices may choose the same key; their calls are still two."""
    caller, idempotency_key = key
    return hashlib.sha256("\n".join(key).encode()).hexdigest() if caller else idempotency_key


def _stopped() -> Unavailable:
    return Unavailable(
        "The bridge stopped before the answer was whole.", code="bridge_stopped", hint="Send the request again."
    )
