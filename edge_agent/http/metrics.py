"""Counts and times for Prometheus, taken from the reports that pass the doors. Labels never hold text of a person."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cloud_bridge.protocol.events import AnswerEvent
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.protocol.report import Report
from edge_agent.composition import Daemon


class Metrics:
    """One registry a daemon, so that several can live in one process."""

    def __init__(self, daemon: Daemon) -> None:
        self._registry = CollectorRegistry()
        self._answers = Counter("edge_answers", "Answers given", ["route", "provisional"], registry=self._registry)
        self._problems = Counter("edge_problems", "Requests that failed", ["code"], registry=self._registry)
        self._masked = Counter("edge_masked_entities", "Values masked", ["type"], registry=self._registry)
        self._bytes = Counter("edge_bytes_sent", "Bytes that left this device", registry=self._registry)
        self._unknown = Counter(
            "edge_placeholders_unknown", "Placeholders in answers that stand for nothing", registry=self._registry
        )
        self._cost = Counter("edge_cost_usd", "What escalations cost, in US dollars", registry=self._registry)
        self._seconds = Histogram("edge_answer_seconds", "Time to the whole answer", ["route"], registry=self._registry)
        self._first = Histogram(
            "edge_first_token_seconds", "Time to the first token", ["route"], registry=self._registry
        )
        self._registry.register(_DaemonGauges(daemon))

    def count(self, events: Sequence[AnswerEvent]) -> Report:
        """Take in the report that ends `events`, and return it."""
        report = events[-1]
        if not isinstance(report, Report):
            raise TypeError("an answer ends with its report")
        self._answers.labels(report.route, str(report.provisional).lower()).inc()
        for kind, number in report.privacy.entities.items():
            self._masked.labels(kind).inc(number)
        self._bytes.inc(report.privacy.bytes_sent)
        self._unknown.inc(report.privacy.unknown_placeholders)
        self._cost.inc(report.cost_usd)
        if report.timings_ms.total is not None:
            self._seconds.labels(report.route).observe(report.timings_ms.total / 1000)
        if report.timings_ms.first_token is not None:
            self._first.labels(report.route).observe(report.timings_ms.first_token / 1000)
        return report

    def count_problem(self, problem: Problem) -> None:
        """Take in a request that failed."""
        self._problems.labels(problem.code).inc()

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)


class _DaemonGauges(Collector):
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def collect(self) -> list[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("edge_outbox_jobs", "Jobs by status", labels=["status"])
        for status, number in self._daemon.state.count_jobs().items():
            jobs.add_metric([status], number)
        loaded = GaugeMetricFamily("edge_models_loaded", "Local models in memory")
        loaded.add_metric([], len(self._daemon.pool.loaded()))
        return [jobs, loaded]
