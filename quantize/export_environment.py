"""The exporter's own environment: torch and a transformers that cannot share one with mlx-lm or the daemon.

Made on demand beside the present environment (`.venv` gets a `.venv-export`), from the hash-pinned
`requirements/export.txt` and torch, with pip and the user's own pip settings. torch is pinned by version only:
a CPU build found through PIP_FIND_LINKS has other hashes than the one of the package index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem, Unavailable
from edge_agent.models.disk import HINT
from edge_agent.models.progress import Progress

TORCH = "torch==2.13.0"
SCRIPT = Path(__file__).parent / "onnx" / "export_onnx.py"

_MARK = "made-from"


def run(arguments: list[str], progress: Progress, *, log: Path, script: Path = SCRIPT) -> dict[str, Any]:
    """Run a script of ours there with `arguments`; what its libraries say goes to `log`. Blocks, for minutes.

    The script prints one JSON object a line: {"step"}, with bytes done "at" and expected "of" where it knows, at the
    end {"done": facts} or {"error": {"code", "message", "hint" if it has one}}. Returns the facts it found.
    Raises what `interpreter` raises, and the script's own refusals.
    """
    command = [str(interpreter(progress)), "-I", str(script), *arguments]
    last: dict[str, Any] = {}
    with (
        log.open("w") as said,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        try:
            for line in process.stdout or ():
                last = json.loads(line)
                if "step" in last:
                    progress.advance(last.get("at", 0), last.get("of", 0), last["step"])
        finally:
            process.kill()
    if "done" in last:
        facts: dict[str, Any] = last["done"]
        return facts
    raise _refusal(last.get("error"), log)


def interpreter(progress: Progress, home: Path | None = None) -> Path:
    """The Python of the export environment (at `home`), which is made first where it is missing or out of date.

    Raises Unavailable code "export_environment_failed" when pip cannot make it.
    """
    home = home or place()
    wanted = _fingerprint()
    if not _is_made(home, wanted):
        progress.advance(0, 0, "making the export environment (once; torch is large)")
        _make(home, wanted)
    return _python(home)


def place() -> Path:
    """Where the export environment lies."""
    if sys.prefix == sys.base_prefix:
        return user_cache_path("edge-agent") / "venv-export"
    here = Path(sys.prefix)
    return here.with_name(f"{here.name}-export")


def requirements(name: str = "export") -> Path:
    """The pinned requirements of that name: in the wheel beside this file, in a checkout under requirements/."""
    packaged = Path(__file__).with_name(f"requirements-{name}.txt")
    return packaged if packaged.is_file() else Path(__file__).parents[1] / "requirements" / f"{name}.txt"


def _fingerprint() -> str:
    pinned = hashlib.sha256(requirements().read_bytes()).hexdigest()
    return f"{pinned} {TORCH} python {sys.version_info.major}.{sys.version_info.minor}\n"


def _is_made(home: Path, mark: str) -> bool:
    made_from = home / _MARK
    return made_from.is_file() and made_from.read_text("utf-8") == mark


def _make(home: Path, mark: str) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
    try:
        venv.create(scratch, with_pip=True)
        # Without their dependencies: the list is complete but for torch, which the hashes leave out.
        pinned = ("--no-deps", "--require-hashes", "--requirement", str(requirements()))
        with tempfile.TemporaryDirectory(prefix=".pip-", dir=scratch) as room:
            pip(_python(scratch), "install", "--quiet", *pinned, scratch=Path(room))
            pip(_python(scratch), "install", "--quiet", TORCH, scratch=Path(room))
        (scratch / _MARK).write_text(mark, "utf-8")
        if not _is_made(home, mark):  # by another run of this command, in the meantime
            shutil.rmtree(home, ignore_errors=True)
            scratch.rename(home)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _not_made(error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def pip(python: Path, *arguments: str, scratch: Path) -> None:
    """Run that environment's pip with the user's own settings; its temporary files go into `scratch`. Blocks.

    Raises CalledProcessError with what it said. When this is interrupted, whatever it started ends with it.
    """
    # -P: the present folder may be the model's, with a pip.py in it.
    command = [str(python), "-P", "-m", "pip", *arguments, "--no-input", "--disable-pip-version-check"]
    environ = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as client:
        try:
            said, errors = client.communicate()
        except BaseException:
            _end(client)
            raise
    if client.returncode:
        raise subprocess.CalledProcessError(client.returncode, command, said, errors)


def _end(client: subprocess.Popen[str]) -> None:
    """With what it started: pip builds packages in processes of their own."""
    if sys.platform == "win32":
        client.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(client.pid, signal.SIGKILL)


def _python(home: Path) -> Path:
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _not_made(error: OSError | subprocess.CalledProcessError) -> Unavailable:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    errors = [line for line in (said or "").splitlines() if line.startswith("ERROR:")] or (said or "").splitlines()
    return Unavailable(
        f"The environment for ONNX exports could not be made: {errors[-1][:300] if errors else 'pip failed'}",
        code="export_environment_failed",
        hint="It needs pip's package index, or wheels named by PIP_FIND_LINKS, and 3 GB of disk.",
    )


def _refusal(error: dict[str, str] | None, log: Path) -> Problem:
    if error is None:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        return Broken(
            f"The exporter crashed: {lines[-1][:300] if lines else 'it said nothing'}",
            code="exporter_crashed",
            hint="It may need more memory: some three times the size of the weights at 32 bits.",
        )
    message, code = f"{error['message']}.", error["code"]
    if code == "not_enough_disk":
        return Unavailable(message, code=code, hint=HINT)
    if code.startswith("unsupported_"):
        return InvalidRequest(message, code=code, hint=error.get("hint", "GGUF may still work: --to gguf."))
    return Broken(message, code=code, hint=error.get("hint", "Fetch the source again and compare its sha256."))
