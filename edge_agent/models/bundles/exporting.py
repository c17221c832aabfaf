"""Writing a bundle: every byte is checked on its way in, and the file appears when all of them are."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from cloud_bridge.protocol.problems import Conflict, InvalidRequest
from edge_agent.models.bundled import bundled_path
from edge_agent.models.bundles.bundle import INDEX_NAME, Bundled, Index, member_name
from edge_agent.models.bundles.tar import TarWriter, Told
from edge_agent.models.damage import damaged
from edge_agent.models.disk import check_room, disk_errors
from edge_agent.models.locks.place import sync_folder
from edge_agent.models.manifest import Manifest
from edge_agent.models.progress import SILENT, Meter, Progress
from edge_agent.models.store import ModelStore

_NOTICE = "NOTICE.txt"
_LICENCES = "licences"


@dataclass(frozen=True, slots=True)
class Exported:
    """The bundle that was written; `size` in bytes."""

    path: Path
    sha256: str
    size: int
    model_ids: Sequence[str]


def export(store: ModelStore, model_ids: Sequence[str], target: Path, progress: Progress = SILENT) -> Exported:
    """Write the models with these ids to the new file `target`, the same bytes for the same models. Blocks.

    Raises what `ModelStore.path` raises for a model that is not here, Broken for one that is damaged, Conflict code
    "already_exists", InvalidRequest code "bad_arguments" | "file_too_large", Unavailable code "not_enough_disk".
    """
    if os.path.lexists(target):
        raise Conflict(f"{target} exists already.", code="already_exists", hint="Remove it, or name another file.")
    if not target.parent.is_dir():
        raise InvalidRequest(
            f"There is no folder {target.parent}.", code="bad_arguments", hint="Make it first.", param="bundle"
        )
    with ExitStack() as stack:
        folders: dict[str, Path] = {}
        for model_id in sorted({store.get(model_id).id for model_id in model_ids}):
            stack.enter_context(store.place(model_id).hold())
            folders[model_id] = store.path(model_id)
        manifests = [store.get(model_id) for model_id in folders]
        texts = _texts(manifests)
        sizes = {name: len(text) for name, text in texts.items()}
        index = Index(sizes, [Bundled.of(manifest) for manifest in manifests])
        check_room(target.parent, index.size)
        meter = Meter(progress, index.size)
        with _appearing(target) as opened:
            digest = hashlib.sha256()
            tar = TarWriter(cast("IO[bytes]", Told(opened, digest.update)))
            _add(tar, INDEX_NAME, index.to_bytes())
            for name, text in texts.items():
                _add(tar, name, text)
            for model, file in index.files():
                _add_file(tar, model.manifest, file.path, folders[model.manifest.id], meter)
            tar.close()
    return Exported(target, digest.hexdigest(), target.stat().st_size, list(folders))


def _add(tar: TarWriter, name: str, content: bytes) -> None:
    tar.add(name, len(content), io.BytesIO(content))


def _add_file(tar: TarWriter, manifest: Manifest, path: str, folder: Path, meter: Meter) -> None:
    file = next(each for each in manifest.files if each.path == path)
    source = folder / path
    if not source.is_file():
        raise damaged(manifest, f"has no file {path}", "model_file_missing")
    if source.stat().st_size != file.size:
        raise damaged(manifest, f"is damaged: {path} has not its size", "model_corrupt")
    digest, done = hashlib.sha256(), 0

    def seen(data: bytes) -> None:
        nonlocal done
        digest.update(data)
        done += len(data)
        meter.partly(done, path)

    with source.open("rb") as opened:
        tar.add(member_name(manifest.id, path), file.size, cast("IO[bytes]", Told(opened, seen)))
    if digest.hexdigest() != file.sha256:
        raise damaged(manifest, f"is damaged: the sha256 of {path} is wrong", "model_corrupt")
    meter.finish(file.size, path)


@contextmanager
def _appearing(target: Path) -> Iterator[IO[bytes]]:
    """A new file beside `target` that gets its name when the block ends well, and is removed when it does not."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with disk_errors(target.parent):
            with os.fdopen(descriptor, "wb") as opened:
                yield opened
                opened.flush()
                os.fsync(opened.fileno())
            if os.name == "posix":
                part.chmod(0o644)  # it is made to be taken elsewhere
            part.replace(target)
            sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _texts(manifests: Sequence[Manifest]) -> Mapping[str, bytes]:
    """Who made the models, under which terms, and those terms where they do not lie among the files."""
    texts = {_NOTICE: _notice(manifests).encode()}
    for licence in sorted({manifest.licence for manifest in manifests}):
        text = bundled_path(_LICENCES) / f"{licence}.txt"
        if text.parent == bundled_path(_LICENCES) and text.is_file():
            texts[f"{_LICENCES}/{licence}.txt"] = text.read_bytes()
    return texts


def _notice(manifests: Sequence[Manifest]) -> str:
    lines = ["Models for edge-agent. Install them with: edge-agent models import FILE", ""]
    for manifest in manifests:
        lines += [manifest.id, f"    licence      {manifest.licence}", f"    attribution  {manifest.attribution}"]
        if manifest.homepage:
            lines.append(f"    homepage     {manifest.homepage}")
        if manifest.made:
            lines.append(f"    made from    {manifest.made.source.name}")
            lines.append(f"    with         {manifest.made.command}")
        lines.append("")
    return "\n".join(lines)
