"""What a hub's refusal means to the person who named a repository: problems with the codes "hub_…"."""

from __future__ import annotations

from cloud_bridge.protocol.problems import Broken, NotAllowed, NotFound, Problem, Unavailable


def problem_of(
    cause: str, repo: str, revision: str, fetched_before: str | None = None, *, file: str | None = None
) -> Problem:
    """The problem to raise for a SourceFailed of that `cause`; `fetched_before` is an id that needs no hub."""
    what = f"{file} of {repo}" if file else repo
    revision = revision[:12] if len(revision) == 40 else revision
    if cause in {"offline", "unreachable"}:
        return _away(cause, what, fetched_before)
    if cause == "not_found" and file is None:
        return NotFound(
            f"There is no file or folder {repo} here, and the hub shows no such repository.",
            code="hub_not_found",
            hint="Check the name; a private repository needs $HF_TOKEN.",
        )
    if cause == "no_revision":
        return NotFound(
            f"{repo} has no revision {revision}.",
            code="hub_revision_not_found",
            hint="Name a branch, a tag or a commit of it, or none.",
        )
    if cause in {"gated", "refused"}:
        return NotAllowed(
            f"The hub does not give {what} to everyone.",
            code=f"hub_{cause}",
            hint="Accept its terms on the hub's page, then set $HF_TOKEN to a token of yours that may read it.",
        )
    if cause in {"wrong_bytes", "too_big"}:
        return Broken(
            f"{what} is not what the hub says it is: its size or digest is wrong.",
            code="hub_wrong_bytes",
            hint="Try again; if it stays, the hub or something between is damaged.",
        )
    if cause in {"private_address", "bad_redirect", "other_host"}:
        return NotAllowed(
            f"The hub sent the request for {what} to an address that is not asked.",
            code=f"hub_{cause}",
            hint="Name your own hub by $HF_ENDPOINT if it is in a private network.",
        )
    return Unavailable(
        f"The hub does not give {what}: {cause}.",
        code="hub_failed",
        hint="Run the command again: it goes on where it was cut.",
    )


def _away(cause: str, what: str, fetched_before: str | None) -> Unavailable:
    why = "$HF_HUB_OFFLINE is set" if cause == "offline" else "it does not answer"
    named = f"{fetched_before} was fetched before and needs no hub. " if fetched_before else ""
    return Unavailable(
        f"{what} is not here, and the hub cannot be asked: {why}.",
        code=f"hub_{cause}",
        hint=f"{named}Name a local file or folder, or check the network and $HF_ENDPOINT.",
    )
