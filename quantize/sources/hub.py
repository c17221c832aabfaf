"""A source that is named by its hub id: `owner/name`, `owner/name@revision`, `owner/name:file.gguf`.

It is fetched into `$EDGE_AGENT_HOME/quantize/sources/<owner>--<name>@<commit>/` and stays there: a conversion that is
stopped goes on with what has come, and a second one fetches nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import Broken, Problem, Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.checked import Checked
from edge_agent.models.disk import check_room, disk_errors
from edge_agent.models.download.fetch import fetch_file, part_path
from edge_agent.models.download.hub import Hub
from edge_agent.models.download.stream import SourceFailed, Stream
from edge_agent.models.locks.lock import exclusive
from edge_agent.models.manifest import HubSource, ModelFile
from edge_agent.models.manifest import Source as FetchSource
from edge_agent.models.progress import Meter, Progress
from quantize.sources import hub_listing
from quantize.sources.hub_failures import problem_of
from quantize.sources.hub_listing import INDEX, MOST_SMALL_BYTES, HubFile, Listing

DEFAULT_REVISION = "main"

_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[A-Za-z0-9][\w.-]*))?(:(?P<file>[^:]+\.gguf))?",
    re.ASCII | re.IGNORECASE,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WHOLE = ".whole.json"


@dataclass(frozen=True, slots=True)
class HubId:
    """What a person wrote: a repository, a branch, tag or commit, and a GGUF of several."""

    repo: str
    revision: str = DEFAULT_REVISION
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubId | None:
        """The id that `text` spells, None where it can only be a path. `a/b.gguf` is a path, `a/b:c.gguf` is none."""
        found = _ID.fullmatch(text)
        if found is None or ".." in text or (found["file"] is None and text.lower().endswith(".gguf")):
            return None
        return cls(found["repo"], found["revision"] or DEFAULT_REVISION, found["file"])


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where a repository's files lie now. `main` is the GGUF, or the folder; `name` is the id with the commit."""

    repo: str
    commit: str
    folder: Path
    main: Path

    @property
    def name(self) -> str:
        """The id by which the same bytes can be had again: `owner/name@commit`, `owner/name@commit:file.gguf`."""
        file = "" if self.main == self.folder else f":{self.main.relative_to(self.folder).as_posix()}"
        return f"{self.repo}@{self.commit}{file}"


def fetch(wanted: HubId, home: Path, progress: Progress, environ: Mapping[str, str] | None = None) -> Fetched:
    """The repository's model on this disk, fetched where it is not there yet. Blocks, for as long as it takes.

    An id with a whole commit that was fetched before needs no network. Every file's size and digest are compared with
    what the hub states. Raises NotFound, NotAllowed, InvalidRequest, Unavailable and Broken with codes "hub_…", and
    Unavailable code "not_enough_disk".
    """
    sources = home / "quantize" / "sources"
    if _COMMIT.fullmatch(wanted.revision) and (known := _known(sources, wanted)) is not None:
        return known
    hub = Hub(Catalog.load().hub, os.environ if environ is None else environ)
    progress.advance(0, 0, f"asking the hub for {wanted.repo}")
    try:
        description = hub.describe(wanted.repo, wanted.revision)
    except SourceFailed as failure:
        raise problem_of(failure.cause, wanted.repo, wanted.revision, _fetched_before(sources, wanted)) from failure
    listing = hub_listing.read(wanted.repo, description)
    folder = _folder(sources, wanted.repo, listing.commit)
    with exclusive(folder.with_name(f".{folder.name}.lock"), lambda: progress.advance(0, 0, "waiting for another run")):
        return _Repository(hub, listing, folder, progress).fetched(wanted.file)


class _Repository:
    def __init__(self, hub: Hub, listing: Listing, folder: Path, progress: Progress) -> None:
        self._hub = hub
        self._listing = listing
        self._folder = folder
        self._progress = progress

    def fetched(self, file: str | None) -> Fetched:
        wanted = self._listing.wanted(file)
        self._folder.mkdir(parents=True, exist_ok=True)
        main = self._folder
        if wanted[0].path.lower().endswith(".gguf"):
            main = self._folder / wanted[0].path
        else:
            index = self._index(wanted)
            wanted = (*wanted, *self._listing.weights(index))
        self._get(wanted)
        _remember(self._folder, wanted, asked=file, main=main)
        return Fetched(self._listing.repo, self._listing.commit, self._folder, main)

    def _index(self, wanted: Iterable[HubFile]) -> list[str] | None:
        """The shards' names, as the repository's index has them; it is fetched first."""
        found = next((file for file in wanted if file.path == INDEX), None)
        if found is None:
            return None
        self._get([found])
        try:
            named = set(json.loads((self._folder / INDEX).read_bytes())["weight_map"].values())
            if not named or not all(isinstance(name, str) for name in named):
                raise ValueError  # noqa: TRY301  # one place says it
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise Broken(
                f"The {INDEX} of {self._listing.repo} cannot be read.",
                code="model_unreadable",
                hint="Choose another revision: owner/name@REVISION",
            ) from error
        return sorted(named)

    def _get(self, wanted: Sequence[HubFile]) -> None:
        checked = Checked(self._folder)
        missing = [file for file in wanted if not self._is_whole(file, checked)]
        still_to_come = sum(file.size - self._begun(file) for file in missing)
        check_room(self._folder, still_to_come)
        meter = Meter(self._progress, sum(file.size for file in wanted))
        meter.finish(sum(file.size for file in wanted if file not in missing), self._listing.repo)
        try:
            with disk_errors(self._folder):
                for file in missing:
                    if file.sha256 is None:
                        self._small(file)
                    else:
                        self._large(file, meter)
                        checked.add(self._model_file(file))
                    meter.finish(file.size, file.path)
        finally:
            checked.save()

    def _is_whole(self, file: HubFile, checked: Checked) -> bool:
        if file.sha256 is not None:
            return checked.is_whole(self._model_file(file))
        path = self._folder / file.path
        return path.is_file() and path.stat().st_size <= MOST_SMALL_BYTES and _is(file, path.read_bytes())

    def _begun(self, file: HubFile) -> int:
        if file.sha256 is None:
            return 0
        part = part_path(self._model_file(file), self._folder / file.path)
        return min(file.size, part.stat().st_size) if part.is_file() else 0

    def _large(self, file: HubFile, meter: Meter) -> None:
        """Resumed where it was cut, and named only when its sha256 is right."""
        failures: list[str] = []

        @contextmanager
        def open_source(source: FetchSource, _: ModelFile, offset: int) -> Iterator[Stream]:
            if not isinstance(source, HubSource):
                raise TypeError(source)
            try:
                with self._hub.open(source, offset) as stream:
                    yield stream
            except SourceFailed as failure:
                failures.append(failure.cause)
                raise

        def written(size: int) -> None:
            meter.partly(size, file.path)

        try:
            fetch_file(self._model_file(file), self._folder / file.path, open_source, written)
        except Unavailable as problem:
            if problem.code != "model_unavailable":
                raise
            raise self._failed(failures[-1] if failures else "wrong_bytes", file) from problem

    def _small(self, file: HubFile) -> None:
        """At once, in memory: such files have a few megabytes at most."""
        content = bytearray()
        try:
            with self._hub.open(self._at(file), 0) as stream:
                for chunk in stream.chunks:
                    content += chunk
                    if len(content) > MOST_SMALL_BYTES:
                        raise self._failed("too_big", file)
        except SourceFailed as failure:
            raise self._failed(failure.cause, file) from failure
        if not _is(file, bytes(content)):
            raise self._failed("wrong_bytes", file)
        _write(self._folder / file.path, bytes(content))

    def _failed(self, cause: str, file: HubFile) -> Problem:
        return problem_of(cause, self._listing.repo, self._listing.commit, file=file.path)

    def _at(self, file: HubFile) -> HubSource:
        return HubSource("hub", self._listing.repo, self._listing.commit, file.path)

    def _model_file(self, file: HubFile) -> ModelFile:
        return ModelFile(file.path, file.sha256 or "", file.size, (self._at(file),))


def _is(file: HubFile, content: bytes) -> bool:
    """Whether these are the bytes that the hub means: it states git's digest of them, or nothing."""
    if file.git_sha1 is None:
        return bool(content)
    if len(content) != file.size:
        return False
    named = hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False)
    return named.hexdigest() == file.git_sha1


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.part")
    with half.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    half.replace(path)


def _folder(sources: Path, repo: str, commit: str) -> Path:
    return sources / f"{repo.replace('/', '--')}@{commit}"


def _remember(folder: Path, files: Iterable[HubFile], *, asked: str | None, main: Path) -> None:
    """Which files came whole, and which of them was meant: what an id with this commit needs no hub for."""
    known = _whole(folder)
    files_known = known.files | {file.path: file.size for file in files}
    own = main.relative_to(folder).as_posix()
    mains = known.mains | {asked or "": own, **({} if main == folder else {own: own})}
    _write(folder / _WHOLE, json.dumps({"files": files_known, "mains": mains}, indent=1, sort_keys=True).encode())


@dataclass(frozen=True, slots=True)
class _Whole:
    """The size of each file that came whole; by the file that was asked for ("" for none), the model's own path."""

    files: dict[str, int]
    mains: dict[str, str]


def _whole(folder: Path) -> _Whole:
    try:
        found = json.loads((folder / _WHOLE).read_bytes())
        return _Whole(dict(found["files"]), dict(found["mains"]))
    except (OSError, ValueError, LookupError, TypeError):
        return _Whole({}, {})


def _known(sources: Path, wanted: HubId) -> Fetched | None:
    """What was fetched before, if its files have the sizes they had: `sha256` of all is taken before long work."""
    folder = _folder(sources, wanted.repo, wanted.revision)
    whole = _whole(folder)
    for path, size in whole.files.items():
        file = folder / path
        if not file.is_file() or file.stat().st_size != size:
            return None
    main = whole.mains.get(wanted.file or "")
    return None if main is None else Fetched(wanted.repo, wanted.revision, folder, folder / main)


def _fetched_before(sources: Path, wanted: HubId) -> str | None:
    """The newest id of the same repository that needs no hub."""
    folders = sorted(
        sources.glob(f"{wanted.repo.replace('/', '--')}@*/{_WHOLE}"), key=lambda path: path.stat().st_mtime
    )
    for record in reversed(folders):
        commit = record.parent.name.rpartition("@")[2]
        if (known := _known(sources, HubId(wanted.repo, commit, wanted.file))) is not None:
            return known.name
    return None
