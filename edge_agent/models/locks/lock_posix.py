"""File locks on POSIX."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import fcntl

    def try_lock(descriptor: int, *, shared: bool = False) -> bool:
        """Lock the open file, alone or with others who share it, or say that it cannot be had now.

        Closing the descriptor unlocks.
        """
        try:
            # flock, not lockf: two descriptors of one process exclude each other too.
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
