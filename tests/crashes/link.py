"""Two network namespaces with a link between them that loses, delays and reorders packets, and can be pulled.

Linux only, and only where namespaces and TUN devices may be made (root, or CAP_NET_ADMIN and CAP_SYS_ADMIN). The link
is made here and not by netem, which many kernels come without: each end is a TUN device, and a thread carries what one
end sends to the other, or does not. TCP above it is the kernel's own.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

TUN = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_MTU = 1500


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to packets: the chance that one is lost, and how long one takes, in seconds, from and to.

    Packets that take longer than those behind them come later: that is the reordering.
    """

    loss: float = 0.0
    delay_s: tuple[float, float] = (0.0, 0.0)


CALM = Weather()
STORM = Weather(loss=0.05, delay_s=(0.005, 0.05))


class Link:
    """The link. `here` and `there`: the ends' namespaces; `address`: there's, as here sees it."""

    def __init__(self, ends: tuple[int, int], names: tuple[str, str], address: str, random: Random) -> None:
        self.here, self.there = names
        self.address = address
        self.weather = CALM
        self.carried, self.lost, self.overtaken = 0, 0, 0
        self._is_up = True
        self._ends = ends
        self._random = random
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._newest_due = 0.0
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._carry)

    def pull(self) -> None:
        """Nothing gets through any more, and what was under way is gone."""
        self._is_up = False

    def plug(self) -> None:
        """Packets get through again."""
        self._is_up = True

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        os.write(self._wake[1], b".")
        self._thread.join()
        for descriptor in (*self._ends, *self._wake):
            os.close(descriptor)

    def _carry(self) -> None:
        while True:
            wait_s = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else 1.0
            ready, _, _ = select.select([*self._ends, self._wake[0]], [], [], wait_s)
            if self._wake[0] in ready:
                return
            for end in ready:
                self._send_off(os.read(end, _MTU + 4), self._ends[end == self._ends[0]])
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                *_, to, packet = heapq.heappop(self._under_way)
                if self._is_up:
                    os.write(to, packet)

    def _send_off(self, packet: bytes, to: int) -> None:
        if not self._is_up or self._random.random() < self.weather.loss:
            self.lost += 1
            return
        self.carried += 1
        due = time.monotonic() + self._random.uniform(*self.weather.delay_s)
        self.overtaken += due < self._newest_due
        self._newest_due = max(due, self._newest_due)
        heapq.heappush(self._under_way, (due, self.carried, to, packet))


@contextmanager
def link(random: Random) -> Iterator[Link]:
    """The namespaces and the link, all gone at the end. Raises OSError or CalledProcessError where not permitted."""
    names = (f"edge-{os.getpid()}-a", f"edge-{os.getpid()}-b")
    addresses = ("10.213.77.1", "10.213.77.2")
    with ExitStack() as stack:
        ends = []
        for number, (name, address) in enumerate(zip(names, addresses, strict=True)):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            device = f"edge{os.getpid()}{'ab'[number]}"
            ends.append(_tun(device))
            _ip("link", "set", device, "netns", name)
            peer = addresses[1 - number]
            _ip("-n", name, "addr", "add", address, "peer", peer, "dev", device)
            _ip("-n", name, "link", "set", device, "up", "mtu", str(_MTU))
            _ip("-n", name, "link", "set", "lo", "up")
        made = Link((ends[0], ends[1]), names, addresses[1], random)
        made.start()
        stack.callback(made.stop)
        yield made


def why_not() -> str | None:
    """Why no link can be made here, or None."""
    if sys.platform != "linux" or not TUN.exists():
        return "network namespaces with a link between them want Linux and /dev/net/tun"
    try:
        with link(Random(0)):  # noqa: S311 - weather, not secrets
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces may not be made here (CAP_NET_ADMIN, CAP_SYS_ADMIN): {type(error).__name__}"


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """What this thread connects, and what it starts, threads too, is in the namespace until the block ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{namespace}").open() as wanted:

        def enter(where: int) -> None:
            if libc.setns(where, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

        enter(wanted.fileno())
        try:
            yield
        finally:
            enter(before.fileno())


def _tun(name: str) -> int:
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)  # noqa: S607 - the system's own
