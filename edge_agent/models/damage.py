"""What to say of a model's files that are not as they should be."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.manifest import Manifest, plain

CHECK_HINT = (
    "Run `edge-agent models verify`: it names a damaged file and how to mend it. "
    "If it finds none, this edge-agent cannot run the model."
)
"""For whoever sees a file, and does not know how its model came to be."""


def damaged(manifest: Manifest, what: str, code: str) -> Broken:
    """The model is not as its manifest says."""
    if manifest.made is not None:
        return damaged_here(manifest.id, what, code)
    hint = f"Repair it with `edge-agent models pull {manifest.id}`."
    return Broken(f"The model {manifest.id} {what}.", code=code, hint=hint)


def all_damaged(problems: Sequence[Broken]) -> Broken:
    """These, at least one, as one problem: it names every model, and how to mend each."""
    if len({str(problem) for problem in problems}) == 1:
        return problems[0].with_traceback(None)
    messages = dict.fromkeys(problem.message for problem in problems)
    hints = dict.fromkeys(problem.hint for problem in problems)
    return Broken(" ".join(messages), code="models_damaged", hint=" ".join(hints))


def damaged_here(name: str, what: str, code: str) -> Broken:
    """The model in the folder `name`, which was made here, is not as its manifest says."""
    return Broken(f"The model {plain(name)} {what}.", code=code, hint=remake_hint(name))


def remake_hint(name: str) -> str:
    """How to mend a model that was not pulled: it can be had nowhere else."""
    return (
        f"Remove it with `edge-agent models rm {plain(name)}`, and make it again with edge-quantize, "
        "or import its bundle again."
    )
