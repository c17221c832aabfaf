"""Which runtimes are installed, as the commands say it, in this environment and in one that lacks them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from edge_agent.models.libraries import LIBRARIES, RuntimeLibrary, library_for

ROOT = Path(__file__).parents[2]
PACKAGES = {"llama_cpp", "onnxruntime", "mlx", "mlx_lm", "tokenizers"}


def _made_here(home: Path) -> None:
    folder = home / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"w" * 100)
    file = {"path": "model.safetensors", "sha256": "0" * 64, "size": 100}
    manifest = {
        "id": "mine", "kind": "llm", "format": "mlx", "licence": "Apache-2.0", "attribution": "Nobody", "ram_mb": 10,
        "context_length": 128, "files": [file],
        "made": {"source": {"name": "x", "files": [file]}, "command": "edge-quantize x", "tools": {}},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment like this one, without MLX."""
    folder = tmp_path_factory.mktemp("packages")
    for package in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not package.name.startswith("mlx"):
            (folder / package.name).symlink_to(package)
    return folder


def _lacking_mlx(packages: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-m", "edge_agent.cli.main", *arguments],
        env={"EDGE_AGENT_HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_every_installation_has_is_there() -> None:
    for name in ("gguf", "onnx"):
        library = library_for(name)
        assert library is not None
        assert library.version
        assert library.extra == ""
    assert library_for("spacy") is None
    assert [library.format for library in LIBRARIES] == ["gguf", "onnx", "mlx"]


def test_a_library_is_there_only_with_all_its_packages() -> None:
    lacking = RuntimeLibrary("X", "mlx", ("numpy", "surely-not-a-package"), extra="x")
    assert lacking.version is None
    assert lacking.install_command == "pip install 'edge-agent[x]'"


def test_asking_imports_none_of_them() -> None:
    program = (
        "import sys; from edge_agent.models.libraries import LIBRARIES; "
        "[each.version for each in LIBRARIES]; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not PACKAGES & set(done.stdout.split())


def test_models_list_says_what_a_model_lacks_and_how_to_get_it(packages: Path, tmp_path: Path) -> None:
    _made_here(tmp_path)
    listed = _lacking_mlx(packages, tmp_path, "models", "list")
    (mine,) = [line for line in listed.stdout.splitlines() if "mine" in line]
    assert "MLX, not installed" in mine
    assert "pip install 'edge-agent[mlx]'" in listed.stderr
    models = json.loads(_lacking_mlx(packages, tmp_path, "models", "list", "--json").stdout)["models"]
    runtimes = {model["id"]: model["runtime"] for model in models}
    assert runtimes["mine"] == {"name": "MLX", "installed": False, "extra": "mlx"}
    assert runtimes["smollm2-135m-instruct-q4_1"] == {"name": "llama.cpp", "installed": True, "extra": None}
    assert runtimes["spacy-en-core-web-sm"] is None


def test_doctor_says_it_too(packages: Path, tmp_path: Path) -> None:
    findings = json.loads(_lacking_mlx(packages, tmp_path, "doctor", "--json").stdout)["findings"]
    by_name = {finding["what"]: finding for finding in findings}
    assert by_name["MLX"]["verdict"] == "note"
    assert "pip install 'edge-agent[mlx]'" in by_name["MLX"]["detail"]
    assert by_name["llama.cpp"]["verdict"] == by_name["ONNX Runtime"]["verdict"] == "ok"
    assert "llama-cpp-python" in by_name["llama.cpp"]["detail"]
