"""Problems on their way between a model's process and the daemon."""

from __future__ import annotations

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound, Problem, Unavailable
from edge_agent.runtimes.worker.frames import Frame

_KINDS: dict[str, type[Problem]] = {kind.__name__: kind for kind in (InvalidRequest, NotFound, Unavailable, Broken)}


def problem_to_json(problem: Problem) -> Frame:
    """A JSON object that `problem_from_json` reads back."""
    return {
        "kind": type(problem).__name__,
        "message": problem.message,
        "code": problem.code,
        "hint": problem.hint,
        "param": problem.param,
        "retry_after_s": problem.retry_after_s if isinstance(problem, Unavailable) else None,
    }


def problem_from_json(document: Frame) -> Problem:
    """The inverse of `problem_to_json`; a kind that it does not know becomes Broken."""
    kind = _KINDS.get(str(document.get("kind")), Broken)
    problem = kind(
        str(document.get("message", "The model's process reported an error.")),
        code=str(document.get("code", "internal_error")),
        hint=str(document.get("hint", "")),
        param=document.get("param"),
    )
    if isinstance(problem, Unavailable):
        problem.retry_after_s = document.get("retry_after_s")
    return problem
