"""A hub on loopback that holds repositories of models, as a real one describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.models.toys import LoopbackHub, handler_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/Toy-1B"


@dataclass
class ModelHub(LoopbackHub):
    """`refusals` by path: the status, and what the hub says in X-Error-Code."""

    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)

    def hold_repository(self, files: Mapping[str, bytes], repo: str = REPO, revision: str = "main") -> None:
        """Serve `files` as a repository; weights are large files, the rest lies in git."""
        self.describe({"sha": COMMIT, "siblings": [_sibling(*file) for file in files.items()]}, repo, revision)
        for path, content in files.items():
            self.files[f"/{repo}/resolve/{COMMIT}/{path}"] = content

    def describe(self, said: object, repo: str = REPO, revision: str = "main") -> None:
        """Answer this when the repository is asked for."""
        self.files[described_at(repo, revision)] = json.dumps(said).encode()

    @property
    def fetched(self) -> list[str]:
        """The names of the files that were asked for."""
        return [path.partition(f"/{COMMIT}/")[2] for path, _ in self.requests if "/resolve/" in path]


def described_at(repo: str = REPO, revision: str = "main") -> str:
    """The path at which the hub describes a repository."""
    return f"/api/models/{repo}/revision/{revision}?blobs=true"


def _sibling(path: str, content: bytes) -> dict[str, object]:
    git = hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git}
    if path.endswith((".safetensors", ".gguf", ".bin")):
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def model_hub_handler(hub: ModelHub) -> type[BaseHTTPRequestHandler]:
    """Serves `hub`."""

    class Handler(handler_of(hub)):  # type: ignore[misc]  # a class made at run time
        def do_GET(self) -> None:  # noqa: N802  # the library's name
            status, said = hub.refusals.get(self.path, (0, ""))
            if not status:
                super().do_GET()
                return
            hub.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(status)
            self.send_header("X-Error-Code", said)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
