"""Toy models: their content, the hub that serves them, the wheels that hold them."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

CONTENT = b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + random.Random(7).randbytes(999_976)  # noqa: S311  any bytes do
"""A GGUF of no tensors: what is looked at of it is whole, and it cannot be run."""

HUB_PATH = "/someone/something/resolve/abc/weights.bin"
HUB_SOURCE = {"kind": "hub", "repo": "someone/something", "revision": "abc", "path": "weights.bin"}
FILE_SOURCE = {"kind": "file", "folder_env": "EDGE_AGENT_MIRROR"}


def manifest_of(content: bytes, sources: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    file = {
        "path": "weights.bin",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "sources": sources,
    }
    return {
        "id": "toy",
        "kind": "llm",
        "format": "gguf",
        "licence": "Apache-2.0",
        "attribution": "Nobody",
        "ram_mb": 10,
        "context_length": 128,
        "files": [file],
        **changes,
    }


def made_here_manifest(model_id: str, files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """The manifest that `edge-quantize` would write for these files."""
    described = [
        {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in files.items()
    ]
    return {
        "schema": 1,
        "id": model_id,
        "kind": "llm",
        "format": "onnx" if "onnx" in model_id else "gguf",
        "licence": "Apache-2.0",
        "attribution": "Nobody",
        "ram_mb": 10,
        "context_length": 128,
        "files": described,
        "made": {
            "source": {"name": "toy.gguf", "files": [{"path": "toy.gguf", "sha256": "0" * 64, "size": 1}]},
            "command": "edge-quantize toy.gguf --to gguf --type Q8_0",
            "tools": {"llama-cpp-python": "0.3"},
            "notes": [],
        },
        **changes,
    }


def make_here(root: Path, model_id: str, files: dict[str, bytes] | None = None, **changes: Any) -> Path:
    """Put a model with these files into the models folder `root`; its folder."""
    files = files or {"weights.gguf": CONTENT}
    folder = root / model_id
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(made_here_manifest(model_id, files, **changes)))
    return folder


class Recorder:
    """Remembers what a progress display would have shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, str]] = []

    def advance(self, done: int, total: int, what: str) -> None:
        self.seen.append((done, total, what))


@dataclass
class LoopbackHub:
    """Serves `files` by path, with ranges. `cut_after`: bytes of a body after which the connection is cut.

    `hold` is waited for before an answer, `pause` in the middle of one.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    ranges: bool = True
    hold: threading.Event | None = None
    pause: threading.Event | None = None
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def handler_of(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            hub.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            if hub.hold is not None:
                hub.hold.wait(10)
            if self.path in hub.redirects:
                self._answer(302, b"", {"Location": hub.redirects[self.path]})
            elif self.path not in hub.files:
                self._answer(404, b"")
            else:
                self._file(hub.files[self.path])

        def _file(self, body: bytes) -> None:
            asked = self.headers.get("Range")
            if asked and hub.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                self._answer(206, body[start:], {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
            else:
                self._answer(200, body)

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            body = body[: hub.cut_after]
            half = len(body) // 2 if hub.pause else len(body)
            with suppress(ConnectionError):
                self.wfile.write(body[:half])
                if hub.pause:
                    hub.pause.wait(20)
                self.wfile.write(body[half:])
            self.close_connection = True

    return Handler


@dataclass(frozen=True)
class WheelFolder:
    """A folder of wheels that pip finds, and no index."""

    path: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"PIP_FIND_LINKS": str(self.path), "PIP_NO_INDEX": "1"}

    def add(self, package: str, content: bytes, *, link: bool = False) -> dict[str, Any]:
        """Write a wheel with one data file, and an `__init__.py` that tells if it is ever run; the source's part."""
        module = package.replace("-", "_")
        wheel = self.path / f"{module}-1.0-py3-none-any.whl"
        info = f"{module}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{module}/__init__.py", f"open({str(self.path / 'imported')!r}, 'w')\n")
            member = zipfile.ZipInfo(f"{module}/data.bin")
            member.external_attr = (0o120777 if link else 0o100644) << 16
            archive.writestr(member, content)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return {
            "package": package,
            "version": "1.0",
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "member": f"{module}/data.bin",
            "size": len(content),
        }


def catalog_text(content: bytes, hub_url: str) -> str:
    """A catalog of the one toy model, from the hub."""
    digest = hashlib.sha256(content).hexdigest()
    return f"""
hub = "{hub_url}"
[[models]]
id = "toy"
kind = "llm"
format = "gguf"
licence = "Apache-2.0"
attribution = "Nobody"
ram_mb = 10
context_length = 128
[[models.files]]
path = "weights.bin"
sha256 = "{digest}"
size = {len(content)}
sources = [{{ kind = "hub", repo = "someone/something", revision = "abc", path = "weights.bin" }}]
"""
