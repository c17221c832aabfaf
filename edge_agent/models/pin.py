"""`python -m edge_agent.models.pin MODEL_ID [FOLDER]`: write the sha256 and size of a model's files into the catalog.

For a bundled model after it was made anew; FOLDER where its files lie elsewhere. Only these lines change.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from cloud_bridge.protocol.problems import NotFound, Problem
from edge_agent.models.bundled import data_dir
from edge_agent.models.catalog import Catalog
from edge_agent.models.digest import sha256_of
from edge_agent.models.manifest import BundledSource

_MODEL = re.compile(r"^\[\[models\]\]$", re.MULTILINE)
_FILE = re.compile(r"^\[\[models\.files\]\]$", re.MULTILINE)
_PATH = re.compile(r'^path = "([^"]+)"$', re.MULTILINE)
_PINNED = re.compile(r'^sha256 = "[0-9a-f]{64}"\nsize = \d+$', re.MULTILINE)


def pinned(text: str, model_id: str, found: Mapping[str, tuple[str, int]]) -> str:
    """The catalog `text` with the (sha256, size) of `found` in the files of `model_id`.

    Raises NotFound code "unknown_model" or "unknown_model_file".
    """
    blocks = _split(_MODEL, text)
    for n, block in enumerate(blocks):
        if f'\nid = "{model_id}"\n' in block:
            files = _split(_FILE, block)
            blocks[n] = files[0] + "".join(_file(part, found) for part in files[1:])
            return "".join(blocks)
    raise NotFound(f"There is no model {model_id!r} in the catalog.", code="unknown_model", hint="Add it first.")


def pin(catalog_dir: Path, model_id: str, folder: Path | None = None) -> None:
    """Do it to `catalog.toml` in `catalog_dir`; the files lie in `folder`, or where the bundled ones do."""
    manifest = Catalog.load(catalog_dir).get(model_id)
    bundled = [source.folder for source in manifest.files[0].sources if isinstance(source, BundledSource)]
    if folder is None and not bundled:
        raise NotFound(f"The model {model_id} is not bundled.", code="unknown_model_file", hint="Name its folder.")
    place = folder or catalog_dir / bundled[0]
    paths = {file.path: place / file.path for file in manifest.files}
    found = {name: (sha256_of(path), path.stat().st_size) for name, path in paths.items()}
    catalog = catalog_dir / "catalog.toml"
    fresh = catalog.with_suffix(".toml.new")
    with fresh.open("w", encoding="utf-8", newline="\n") as opened:
        opened.write(pinned(catalog.read_text(encoding="utf-8"), model_id, found))
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(catalog)
    Catalog.load(catalog_dir)


def _split(mark: re.Pattern[str], text: str) -> list[str]:
    starts = [0, *(match.start() for match in mark.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(starts)]


def _file(block: str, found: Mapping[str, tuple[str, int]]) -> str:
    path = _PATH.search(block)
    if path is None or path[1] not in found:
        raise NotFound("A file in the catalog is not among those found.", code="unknown_model_file")
    sha256, size = found[path[1]]
    return _PINNED.sub(f'sha256 = "{sha256}"\nsize = {size}', block, count=1)


def main(arguments: list[str]) -> int:
    """The command: 0, or 1 with one line on stderr."""
    if len(arguments) not in {1, 2}:
        sys.stderr.write("usage: python -m edge_agent.models.pin MODEL_ID [FOLDER]\n")
        return 2
    try:
        pin(data_dir(), arguments[0], Path(arguments[1]) if len(arguments) == 2 else None)
    except (Problem, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
