"""What keeps jobs of the outbox from being sent now: the clock, a metered network, the day's budget, what one costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import Escalation
from cloud_bridge.protocol.problems import NotAllowed, Unavailable
from edge_agent.device import Network
from edge_agent.state.jobs import BUDGET_SPENT, COST_CAP, OVER_BUDGET
from edge_agent.state.times import midnight

METERED = "metered"

DAY_S = 86_400.0

SOON_S = 30.0
"""Where what is being sent now may leave enough of the budget."""


@dataclass(frozen=True, slots=True)
class OutboxRules:
    """What the user set, as plain values. `usd_per_day` 0: no limit."""

    metered: Literal["wait", "send"] = "wait"
    usd_per_day: float = 0.0


class Gate:
    """Judges by the rules. Every call may block for the state; thread-safe.

    `spent`: US dollars since a time; `network`: how the machine is connected; `estimate`: what an answer may cost in
    US dollars, as it is reckoned for a request that is sent at once; `check_clock` raises Unavailable where the clock
    cannot be right; `now`: seconds since 1970.
    """

    def __init__(
        self,
        rules: OutboxRules,
        *,
        spent: Callable[[float], float],
        network: Callable[[], Network | None],
        estimate: Callable[[Conversation], float],
        check_clock: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._spent = spent
        self._network = network
        self._estimate = estimate
        self._check_clock = check_clock
        self._now = now
        self._lock = Lock()
        self._promised_usd = 0.0

    def held(self, *, by_person: bool = False) -> str | None:
        """Why nothing at all may be sent now: "clock_wrong", "metered" or "budget_spent"; None where something may.

        A person who asks is not held by a meter.
        """
        try:
            self._check_clock()
        except Unavailable as problem:
            return problem.code
        if not by_person and self._rules.metered == "wait" and self._network() == "metered":
            return METERED
        return BUDGET_SPENT if self._is_spent() else None

    @contextmanager
    def admitted(self, escalation: Escalation) -> Iterator[None]:
        """While it is sent, what it may cost counts as spent.

        Raises NotAllowed "cost_cap" where it may cost more than it may, or "over_budget" where no day's budget covers
        it; Unavailable "budget_spent" where this day's does not cover it any more, with the time until it may.
        """
        day = self._rules.usd_per_day
        limit = escalation.max_cost_usd
        cost = 0.0 if limit is None and not day else self._estimate(escalation.masked.conversation)
        if limit is not None and cost > limit:
            raise NotAllowed(
                "The job may cost more than it may.", code=COST_CAP, hint="Ask again with a higher max_cost_usd."
            )
        if day and cost > day:
            raise NotAllowed(
                "The job may cost more than a whole day's budget.",
                code=OVER_BUDGET,
                hint="Raise [budget] usd_per_day, then retry it.",
            )
        with self._lock:  # never over a look at the state: who is done and only gives back would wait for it
            promised = self._promised_usd
            self._promised_usd += cost
        try:
            if day:
                self._check_budget(day, promised, cost)
            yield
        finally:
            with self._lock:
                self._promised_usd -= cost

    def _check_budget(self, day: float, promised: float, cost: float) -> None:
        """`promised` is from before the spending is read: what is spent meanwhile counts twice rather than never."""
        now = self._now()
        spent = self._spent(midnight(now))
        if spent < day and spent + promised + cost <= day:
            return
        is_too_much = spent >= day or spent + cost > day
        raise Unavailable(
            "The day's budget for the cloud is used up.",
            code=BUDGET_SPENT,
            hint="It is sent tomorrow, or when [budget] usd_per_day is raised.",
            retry_after_s=midnight(now) + DAY_S - now if is_too_much else SOON_S,
        )

    def _is_spent(self) -> bool:
        day = self._rules.usd_per_day
        return day > 0 and self._spent(midnight(self._now())) >= day
