"""`edge-agent docs add|list|rm|search`: the documents that answers may draw on. A running daemon sees each at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_bridge.protocol.problems import InvalidRequest, NotFound, Problem
from edge_agent.cli.output import JsonFlag, drawn, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.home import current_home
from edge_agent.state.documents import Added, Documents, NewDocument
from edge_agent.state.state import State

app = typer.Typer()

FOUND = 10


@dataclass(frozen=True, slots=True)
class _Skipped:
    """A file that was not added, and why. `named`: it was asked for by name, and not found in a folder."""

    path: Path
    why: Problem
    named: bool


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Text, Markdown or PDF; or folders of them.")],
    json: JsonFlag = False,
) -> None:
    """Keep documents for answers, sealed on this device. A file that changed since takes its former place."""
    chosen = list(_files(files))
    added: list[tuple[Path, Added]] = []
    skipped: list[_Skipped] = []
    with open_state(current_home()) as state, drawn("reading", of_bytes=False) as progress:
        documents = Documents(state.log)
        for number, (path, named) in enumerate(chosen):
            progress.advance(number, len(chosen), _shown(path))
            try:
                added.append((path, documents.add(_read(path))))
            except (InvalidRequest, NotFound) as problem:
                skipped.append(_Skipped(path, problem, named))
        progress.advance(len(chosen), len(chosen), "done")
    failed = [each for each in skipped if each.named]
    if len(chosen) == 1 and failed:
        raise failed[0].why
    _tell(added, skipped, as_json=json)
    if failed or not chosen:
        raise InvalidRequest(
            f"{len(failed)} of {len(chosen)} files could not be added." if failed else "There is no file in there.",
            code="documents_skipped",
            hint="The others were added; what is wrong with each is said above."
            if failed
            else "Name files, or folders.",
        )


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the documents, the oldest first."""
    with open_state(current_home()) as state:
        found = Documents(state.log).listed()
    if json:
        print_json({"documents": [each.to_json() for each in found]})
        return
    print_table(
        ("document", "name", "kind", "characters", "added", "file"),
        [(each.id, each.name, each.kind, each.characters, each.added_at, ", ".join(each.paths)) for each in found],
        empty="No documents yet. Add some: edge-agent docs add FILE...",
    )


@app.command("rm")
def remove(document_id: Annotated[str, typer.Argument(metavar="ID")], json: JsonFlag = False) -> None:
    """Destroy a document's key: nothing can read it again. The file that it was read from stays as it is."""
    with open_state(current_home()) as state:
        Documents(state.log).forget(document_id)
        waiting = _waiting(state, document_id)
    if json:
        print_json({"forgotten": document_id, "waiting": waiting})
        return
    sys.stdout.write(f"Forgot {document_id}.\n")
    if waiting:
        sys.stdout.write(
            f"What waits to be sent may have passages of it still, masked: {', '.join(waiting)}."
            " To give one up: edge-agent outbox drop ID\n"
        )


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What a person might ask.")],
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many passages at most.")] = FOUND,
    json: JsonFlag = False,
) -> None:
    """Show the passages that speak to a text, the best first, and how well: from 0 to 1."""
    from edge_agent.recall import Library  # noqa: PLC0415 for this command only

    if not text.strip():
        raise InvalidRequest("The text is empty.", code="empty_text", hint="Say what a person might ask.")
    with open_state(current_home()) as state:
        found = [each.to_json() for each in Library(Documents(state.log)).search(text, limit=limit)]
    if json:
        print_json({"passages": found})
        return
    if not found:
        sys.stdout.write("No passage has these words.\n")
    for each in found:
        under = f", under {each['heading']!r}" if each["heading"] else ""
        sys.stdout.write(f"{each['score']:.2f}  {each['name']}{under}  ({each['document']}, {each['passage']})\n")
        sys.stdout.write("".join(f"      {_shown(line)}\n" for line in each["text"].splitlines()) + "\n")


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """The files named, and those in the folders named, but for hidden ones and links: these may lead anywhere."""
    for path in paths:
        if not path.is_dir():
            yield path, True
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            inside = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
            yield from ((each, False) for each in inside if not each.is_symlink())


def _waiting(state: State, document_id: str) -> list[str]:
    """The jobs that wait and were made with passages of the document."""
    found = []
    for job in state.jobs("queued"):
        with suppress(NotFound):
            uses = state.decision(job.decision_id or "").get("memory") or ()
            if any(use.get("document") == document_id for use in uses):
                found.append(job.id)
    return found


def _read(path: Path) -> NewDocument:
    from edge_agent.memory.reading import read_file  # noqa: PLC0415 for this command only

    content = read_file(path)
    return NewDocument(_shown(path.name), content.kind, content.text, content.size, _shown(path.resolve()))


def _shown(path: Path | str) -> str:
    """A path as a line of text: names may hold line ends, marks for terminals, and bytes that are no characters."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(path))


def _tell(added: Sequence[tuple[Path, Added]], skipped: Sequence[_Skipped], *, as_json: bool) -> None:
    if as_json:
        print_json({"documents": [_entry(each) for _, each in added], "skipped": [_told(each) for each in skipped]})
        return
    for path, each in added:
        done = "Replaced" if each.replaced else "Added" if each.is_new else "Known already:"
        sys.stdout.write(f"{done} {_shown(path)} ({each.document.id}).\n")
    for missed in skipped:
        sys.stderr.write(f"skipped {_shown(missed.path)}: {_shown(missed.why.message)}\n")


def _entry(added: Added) -> dict[str, Any]:
    return {**added.document.to_json(), "added": added.is_new, "replaced": added.replaced}


def _told(skipped: _Skipped) -> dict[str, str]:
    return {"path": _shown(skipped.path), "code": skipped.why.code, "message": _shown(skipped.why.message)}
