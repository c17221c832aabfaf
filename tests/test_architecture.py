"""What the design promises, held against the code itself."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge_agent", "cloud_bridge", "quantize")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
LONG_FILES: frozenset[str] = frozenset()
LONG_FUNCTIONS = frozenset(
    {
        "edge_agent/state/migrations.py:m002_views",  # one schema, read in one piece
    }
)

MAKES_MASKED = {
    "edge_agent/privacy/mask.py",  # from a person's text
    "cloud_bridge/protocol/envelope.py",  # from bytes that were made from one
}

IMPORTED_AS = {
    "llama-cpp-python": "llama_cpp",
    "mlx-lm": "mlx_lm",
    "optimum-onnx": "optimum",
    "presidio-analyzer": "presidio_analyzer",
    "prometheus-client": "prometheus_client",
    "sqlite-utils": "sqlite_utils",
}
REQUIRED = (
    "llama-cpp-python",
    "mlx-lm",
    "onnxruntime",
    "transformers",
    "optimum",
    "sqlite-utils",
    "cryptography",
    "httpx",
    "presidio-analyzer",
)

# Put together here, so that this file names none.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("debian", "org"),
        ("archive", "ubuntu", "com"),
        ("anaconda", "org"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
        ("download", "pytorch", "org"),
    )
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.Module) -> Iterator[str]:
    """The last name of everything that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


def renames_masked(tree: ast.Module) -> bool:
    return any(
        alias.name == "Masked" and alias.asname is not None
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def requirement(line: str) -> str:
    """The package that a requirement names."""
    return re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower()


def run_time() -> list[str]:
    return [requirement(line) for line in project()["project"]["dependencies"]]  # type: ignore[index]


@cache
def imported() -> set[str]:
    return {name for path in SOURCES for name in imports(tree_of(path))}


def test_only_the_mask_and_the_envelope_make_what_may_leave():
    makers = {name_of(path) for path in SOURCES if "Masked" in calls(tree_of(path))}
    assert makers == MAKES_MASKED
    assert [name_of(path) for path in SOURCES if renames_masked(tree_of(path))] == []


def test_files_and_functions_are_short():
    files, functions = set(), set()
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > MAX_FILE_LINES:
            files.add(name_of(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    functions.add(f"{name_of(path)}:{node.name}")
    assert files == LONG_FILES
    assert functions == LONG_FUNCTIONS


def test_no_committed_file_names_a_package_registry():
    try:
        listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    naming = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        naming += [f"{name}: {host}" for host in REGISTRIES if host.encode() in content]
    assert naming == []


@pytest.mark.parametrize("package", run_time())
def test_a_run_time_dependency_is_used_and_justified(package: str):
    assert IMPORTED_AS.get(package, package.replace("-", "_")) in imported()
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").partition("Extras")[0]
    assert re.search(rf"^\|[^|]*\b{re.escape(package)}\b[^|]*\| \S", table, re.MULTILINE), package


@pytest.mark.parametrize("package", REQUIRED)
def test_a_required_package_is_asked_for_and_used(package: str):
    document = project()
    extras = document["project"]["optional-dependencies"].values()  # type: ignore[index]
    groups = [document["dependency-groups"]["export"]]  # type: ignore[index]
    optional = {requirement(line) for lines in [*extras, *groups] for line in lines}
    assert package in {*run_time(), *optional}
    assert IMPORTED_AS.get(package, package) in imported()
