"""Errors that are shown to a person or a client.

    Problem
    ├── InvalidRequest   the request can never work as it is
    ├── NotAuthenticated no key, or a wrong one
    ├── NotAllowed       understood, and refused by a rule
    │   └── NeverLeaves  the privacy policy keeps it on this device
    ├── NotFound         the thing named does not exist
    ├── Conflict         the thing named is in use, or in another state
    ├── Unavailable      may work later; `retry_after_s` says when
    └── Broken           our own fault, or a file's
        └── Unsafe       what would leave may hold what must not, so it did not leave

Every problem carries a stable `code` for programs and a `hint` that says what to do. Neither they nor the
message ever hold the text of a prompt or the body of a provider's answer.
"""

from __future__ import annotations


class Problem(Exception):
    """A failure with a stable code and a hint that says what to do."""

    def __init__(self, message: str, *, code: str, hint: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.param = param

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InvalidRequest(Problem):
    """The request can never work as it is."""


class NotAuthenticated(Problem):
    """No key, or a wrong one."""


class NotAllowed(Problem):
    """Understood, and refused by a rule."""


class NeverLeaves(NotAllowed):
    """The privacy policy keeps this text on the device."""


class NotFound(Problem):
    """The thing named does not exist."""


class Conflict(Problem):
    """The thing named is in use, or in another state."""


class Unavailable(Problem):
    """May work later."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str = "",
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint, param=param)
        self.retry_after_s = retry_after_s


class Broken(Problem):
    """Our own fault, or a file's."""


class Unsafe(Broken):
    """What would leave may hold what must not, so it did not leave."""
