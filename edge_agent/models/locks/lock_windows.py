"""File locks on Windows."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _FAIL_IMMEDIATELY, _EXCLUSIVE = 1, 2

    class _Overlapped(ctypes.Structure):
        _fields_ = (
            ("Internal", ctypes.c_void_p),
            ("InternalHigh", ctypes.c_void_p),
            ("Offset", wintypes.DWORD),
            ("OffsetHigh", wintypes.DWORD),
            ("hEvent", wintypes.HANDLE),
        )

    def try_lock(descriptor: int, *, shared: bool = False) -> bool:
        """Lock the open file, alone or with others who share it, or say that it cannot be had now.

        Closing the descriptor unlocks. The byte that is locked lies far behind what a file holds, since nobody else
        may read a locked one.
        """
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        place = _Overlapped(OffsetHigh=0x7FFFFFFF)
        flags = _FAIL_IMMEDIATELY | (0 if shared else _EXCLUSIVE)
        handle = wintypes.HANDLE(msvcrt.get_osfhandle(descriptor))
        return bool(kernel.LockFileEx(handle, flags, 0, 1, 0, ctypes.byref(place)))
