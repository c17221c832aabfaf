"""Native code that reads a stranger's file runs in a process of its own: it may crash, and a stop ends it at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edge_agent.runtimes import worker_process

Said = dict[str, Any]

# A crash of llama.cpp would start a debugger.
ENVIRONMENT = {"GGML_NO_BACKTRACE": "1", **worker_process.ENVIRONMENT}


@contextmanager
def working(module: str, job: Mapping[str, Any]) -> Iterator[Iterator[Said]]:
    """Run `python -m module JOB`; the block iterates over what it says, one JSON object a line, until it ends.

    The process is gone when the block is left, in whatever way. A process that crashed just stops talking.
    """
    # -P: the present folder may hold a file named like one of our imports.
    command = [sys.executable, "-P", "-m", module, json.dumps(job)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **ENVIRONMENT},
        # A terminal's Ctrl-C would reach the worker, too, and its death would look like a crash.
        start_new_session=True,
    ) as process:
        try:
            yield (json.loads(line) for line in process.stdout or ())
        finally:
            process.kill()
