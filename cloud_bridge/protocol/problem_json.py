"""Problems as JSON and as HTTP statuses: for records that can be replayed, and between processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_bridge.protocol import problems
from cloud_bridge.protocol.problems import Broken, Problem, Unavailable

_KINDS: Mapping[str, type[Problem]] = {
    kind.__name__: kind
    for kind in vars(problems).values()
    if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem
}


_STATUS: tuple[tuple[type[Problem], int], ...] = (
    (problems.InvalidRequest, 400),
    (problems.NotAuthenticated, 401),
    (problems.NotAllowed, 403),
    (problems.NotFound, 404),
    (problems.Conflict, 409),
    (Unavailable, 503),
    (Broken, 500),
)


def http_status(problem: Problem) -> int:
    """The HTTP status of a problem's kind."""
    return next((status for kind, status in _STATUS if isinstance(problem, kind)), 500)


def kind_of_status(status: int) -> type[Problem]:
    """The kind of problem that a status stands for; Broken where it stands for none."""
    return next((kind for kind, known in _STATUS if known == status), Broken)


def problem_to_json(problem: Problem) -> dict[str, Any]:
    """An object that `problem_from_json` reads back. It holds no prompt text, as no problem does."""
    document: dict[str, Any] = {
        "kind": type(problem).__name__,
        "message": problem.message,
        "code": problem.code,
        "hint": problem.hint,
        "param": problem.param,
    }
    if isinstance(problem, Unavailable):
        document["retry_after_s"] = problem.retry_after_s
    return document


def problem_from_json(document: Mapping[str, Any]) -> Problem:
    """The inverse of `problem_to_json`; a kind that it does not know becomes Broken. Raises KeyError."""
    kind = _KINDS.get(str(document["kind"]), Broken)
    problem = kind(document["message"], code=document["code"], hint=document["hint"], param=document["param"])
    if isinstance(problem, Unavailable):
        problem.retry_after_s = document.get("retry_after_s")
    return problem
