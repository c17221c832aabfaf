"""llama.cpp's own C++ server, to measure against: a compiled `llama-server`, or the one in the xllamacpp package.

The package's prebuilt wheel for Linux does without AVX-512; where the machine has it, a `llama-server` that was
compiled there is the harder baseline: `python -m tests.benchmarks --only batch --llama-server PATH`.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import httpx

from tests.benchmarks.clients import Server
from tests.benchmarks.setup import CONTEXT_LENGTH, Setup

HOW_TO_INSTALL = "install it: .venv/bin/uv pip install --require-hashes -r requirements/bench.txt"
START_S = 120


def name_of(setup: Setup) -> str | None:
    """What would be measured, None where there is nothing."""
    if setup.llama_server is not None:
        return setup.llama_server.name
    try:
        return f"llama.cpp's server, xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        return None


@contextmanager
def cpp_server(setup: Setup, parallel: int, environ: Mapping[str, str]) -> Iterator[Server]:
    """The server with the model loaded, until the block ends: `parallel` slots that share the context."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        _command(setup, parallel, port),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environ},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False) as http:
            _wait_for(http, process)
            yield Server(http, "local")
    finally:
        process.kill()
        process.communicate()


def _command(setup: Setup, parallel: int, port: int) -> list[str]:
    if setup.llama_server is None:
        own = [sys.executable, "-m", "tests.benchmarks.cpp_server", "--path", str(setup.path)]
        return [*own, "--port", str(port), "--parallel", str(parallel), "--threads", str(setup.threads)]
    return [
        *(str(setup.llama_server), "--model", str(setup.path), "--host", "127.0.0.1", "--port", str(port)),
        *("--ctx-size", str(CONTEXT_LENGTH), "--parallel", str(parallel), "--kv-unified"),
        *("--threads", str(setup.threads), "--threads-batch", str(setup.threads)),
    ]


def _wait_for(http: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the C++ server ended while it loaded"
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the C++ server did not become ready")


def main() -> None:
    """Run the package's server until stdin ends."""
    import xllamacpp  # noqa: PLC0415 - installed only to be measured

    parser = argparse.ArgumentParser()
    parser.add_argument("--path", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = given.path
    params.port = given.port
    params.n_ctx = CONTEXT_LENGTH
    params.n_parallel = given.parallel
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given.threads
    server = xllamacpp.Server(params)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
