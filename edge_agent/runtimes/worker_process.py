"""The daemon's end of a model's process: starts it, speaks to it, notices its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import count

from cloud_bridge.protocol.problems import Broken, Problem, Unavailable
from edge_agent.models.damage import CHECK_HINT
from edge_agent.runtimes.runtime import ModelSpec
from edge_agent.runtimes.worker.frames import Frame, FrameDecoder, FrameError, encode_frame
from edge_agent.runtimes.worker.problem_frames import problem_from_json

log = logging.getLogger(__name__)

# Threads that wait for each other spin for some microseconds and then sleep. By default OpenMP's spin for milliseconds:
# on a machine that has anything else to do that makes generation several times slower. Sleeping at once costs a third
# on an idle one. The second setting is GCC's, and counts there; the first is everybody else's.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
_WITHHELD = "EDGE_AGENT_VAULT__PASSPHRASE"
_LOAD_SECONDS = 300
_GOODBYE_SECONDS = 2
_STDERR_LINES = 50
SILENCE_S = 20.0
"""So long a process may say nothing while somebody waits; then it is asked, and after as long again it is ended."""
_READ_BYTES = 256 * 1024

Reply = Frame | Problem


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a model's process is told of `environ`."""
    return {**ENVIRONMENT, **without_passphrase(environ)}


def without_passphrase(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a process that has no need to open the vault."""
    return {name: value for name, value in environ.items() if name != _WITHHELD}


class WorkerProcess:
    """One process with one model. `start` makes it, `stop` or its own death ends it; it is never restarted."""

    def __init__(self, process: asyncio.subprocess.Process, on_death: Callable[[], None], silence_s: float) -> None:
        self._process = process
        self._silence_s = silence_s
        self._heard = asyncio.get_running_loop().time()
        self._is_asked = False
        self._on_death = on_death
        self._ids = count(1)
        self._replies: dict[int, asyncio.Queue[Reply]] = {}
        self._ready: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._errors: deque[str] = deque(maxlen=_STDERR_LINES)
        self._ended: Problem | None = None
        self._tasks = (asyncio.create_task(self._read_frames()), asyncio.create_task(self._read_errors()))

    @classmethod
    async def start(cls, spec: ModelSpec, *, on_death: Callable[[], None], silence_s: float) -> WorkerProcess:
        """Start a process and wait until its model is loaded. Raises as `Runtime.ensure_ready` does.

        `on_death` is called once, when the process ends in any way but `stop`.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "edge_agent.runtimes.worker"),
            *("--path", str(spec.path), "--format", spec.format, "--context-length", str(spec.context_length)),
            *("--parallel", str(spec.parallel), "--max-waiting", str(spec.max_waiting)),
            *("--threads", str(spec.threads), "--parent", str(os.getpid())),
            *(("--in-use", str(spec.in_use)) if spec.in_use is not None else ()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=worker_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for the daemon, which ends its models in its own order
        )
        worker = cls(process, on_death, silence_s)
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                await worker._ready
        except TimeoutError as error:
            await worker.stop()
            raise _unreadable("did not load in time") from error
        except BaseException:
            await worker.stop()
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        """Whether requests can be sent."""
        return self._ended is None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def context_length(self) -> int:
        """What the model really has, in tokens."""
        return int(self._ready.result()["context_length"])

    @asynccontextmanager
    async def call(self, frame: Frame) -> AsyncIterator[AsyncIterator[Frame]]:
        """Send a request; its replies, until a problem is raised or the block is left, which cancels it."""
        if self._ended is not None:
            raise self._ended
        call_id = next(self._ids)
        replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._replies[call_id] = replies
        try:
            self._send({**frame, "id": call_id})
            async with aclosing(self._each(replies)) as each:
                yield each
        finally:
            if self._replies.pop(call_id, None) is not None and self._ended is None:
                self._send({"op": "cancel", "id": call_id})

    async def stop(self) -> None:
        """End the process and wait for its end. Requests in flight get Unavailable code "model_stopped"."""
        self._end(stopped())
        with suppress(OSError):
            self._pipe.close()  # the process ends by itself when its stdin does
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _pipe(self) -> asyncio.StreamWriter:
        assert self._process.stdin is not None  # noqa: S101 - it was started with pipes; this tells the type checker
        return self._process.stdin

    async def _each(self, replies: asyncio.Queue[Reply]) -> AsyncGenerator[Frame, None]:
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    reply = await replies.get()
            except TimeoutError:
                self._look_for_life()
                continue
            if isinstance(reply, Problem):
                raise reply
            yield reply

    def _look_for_life(self) -> None:
        """A process that hangs, or was stopped, must not hold its requests for ever."""
        now = asyncio.get_running_loop().time()
        if now - self._heard < self._silence_s:
            return
        if self._is_asked:
            self._kill()
            return
        self._is_asked, self._heard = True, now
        self._send({"op": "ping", "id": 0})

    def _kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                # Not `Process.kill`: it may reap the process under the hands of asyncio, which then warns.
                os.kill(self._process.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    def _send(self, frame: Frame) -> None:
        with suppress(OSError):  # its death is noticed at the other pipe
            self._pipe.write(encode_frame(frame))

    async def _read_frames(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - as above
        decoder = FrameDecoder()
        with suppress(FrameError, OSError):
            while data := await self._process.stdout.read(_READ_BYTES):
                self._is_asked, self._heard = False, asyncio.get_running_loop().time()
                for frame in decoder.feed(data):
                    self._take(frame)
        self._kill()
        code = await self._process.wait()
        died = self._ended is None
        self._end(_crashed() if self._ready.done() else _died_loading(code))
        with suppress(OSError):
            self._pipe.close()
        if died:
            log.warning("a model's process ended with status %s", code)
            log.debug("its last words: %s", " | ".join(self._errors))
            self._on_death()

    def _take(self, frame: Frame) -> None:
        if "ready" in frame:
            self._ready.set_result(frame["ready"])
        elif "fatal" in frame:
            self._end(problem_from_json(frame["fatal"]))
        elif (replies := self._replies.get(frame["id"])) is not None:
            replies.put_nowait(problem_from_json(frame["error"]) if "error" in frame else frame)
            if _is_last(frame):
                del self._replies[frame["id"]]

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - as above
        while data := await self._process.stderr.read(_READ_BYTES):
            self._errors.extend(data.decode("utf-8", "replace").splitlines())

    def _end(self, problem: Problem) -> None:
        """From now on nothing works; the first reason counts."""
        if self._ended is not None:
            return
        self._ended = problem
        if not self._ready.done():
            self._ready.set_exception(problem)
            self._ready.exception()  # whoever waited may have left
        for replies in self._replies.values():
            replies.put_nowait(problem)
        self._replies.clear()


def _is_last(frame: Frame) -> bool:
    return "event" not in frame or frame["event"]["type"] == "finish"


def _crashed() -> Unavailable:
    return Unavailable(
        "The model's process ended in the middle of the request.",
        code="model_crashed",
        hint="Send the request again; the model is started anew.",
        retry_after_s=1.0,
    )


def _died_loading(code: int) -> Problem:
    if sys.platform != "win32" and code == -signal.SIGKILL:
        return Unavailable(
            "The model's process was killed while it loaded, most likely for want of memory.",
            code="model_crashed",
            hint="Use a smaller model, or free memory.",
            retry_after_s=5.0,
        )
    return _unreadable("brought down the library that reads it")


def _unreadable(what: str) -> Broken:
    return Broken(
        f"The model file {what}.",
        code="model_unreadable",
        hint=CHECK_HINT,
    )


def stopped() -> Unavailable:
    """The model went while it was needed."""
    return Unavailable(
        "The model was unloaded in the middle of the request.",
        code="model_stopped",
        hint="Send the request again.",
        retry_after_s=1.0,
    )
