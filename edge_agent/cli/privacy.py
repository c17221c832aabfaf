"""`edge-agent privacy check FILE|-`: what would be masked in a text. Nothing is sent, nothing is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cloud_bridge.protocol.problems import InvalidRequest, NotFound
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_store
from edge_agent.home import current_home
from edge_agent.privacy.detect import Detector

app = typer.Typer()


@app.callback()
def privacy() -> None:
    """Keep `check` a subcommand while it is the only one."""


@app.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A UTF-8 text file, or - for standard input.")],
    json: JsonFlag = False,
) -> None:
    """Show every value that would be masked: its type, where it stands, and how certain it is."""
    text = _read(file)
    spans = Detector.on(open_store(current_home()).path).detect(text)
    if json:
        print_json(
            {
                "spans": [
                    {
                        "type": s.type,
                        "start": s.start,
                        "end": s.end,
                        "score": round(s.score, 3),
                        "text": text[s.start : s.end],
                    }
                    for s in spans
                ]
            }
        )
        return
    rows = [
        (span.type, f"{span.start}-{span.end}", f"{span.score:.2f}", " ".join(text[span.start : span.end].split()))
        for span in sorted(spans, key=lambda span: (span.type, span.start))
    ]
    print_table(("type", "where", "score", "text"), rows, empty="Nothing to mask.")


def _read(file: str) -> str:
    try:
        return sys.stdin.buffer.read().decode() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise NotFound(
            f"{file} cannot be read.", code="file_not_found", hint="Name a text file, or - for standard input."
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{file} is not UTF-8 text.", code="not_text", hint="Convert it to UTF-8 first."
        ) from error
