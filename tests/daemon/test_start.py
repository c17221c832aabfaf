"""What a start loads: each of these libraries takes a tenth of a second or more, and none is needed to listen."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    *("httpx", "llama_cpp", "llguidance", "numpy", "onnxruntime", "phonenumbers", "presidio_analyzer", "psutil"),
    *("regex", "requests", "rich", "spacy", "sqlite_utils", "tldextract", "tokenizers"),
}
DOORS = {"fastapi", "httpx", "pydantic", "uvicorn"}


def _loaded(statement: str) -> set[str]:
    script = f"import json, sys\n{statement}\njson.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


def test_the_daemon_listens_before_it_loads_what_answers() -> None:
    assert not _loaded("import edge_agent.cli.serve, edge_agent.http.app") & HEAVY


@pytest.mark.parametrize("words", ["--help", "status"])
def test_small_commands_load_no_server(words: str) -> None:
    assert not _loaded(f"from edge_agent.cli.main import build; build({words.split()!r})") & (HEAVY | DOORS)
