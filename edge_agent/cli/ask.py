"""`edge-agent ask`: one question, streamed to the terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cloud_bridge.protocol.problems import NotFound
from edge_agent.cli.client import DaemonClient
from edge_agent.cli.output import JsonFlag, print_json
from edge_agent.home import current_home

CARRIED_TURNS = 64
"""How many of a session's turns a question carries at most; a short session's all."""


def ask(
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    model: Annotated[str, typer.Option("--model", "-m", help="auto, local, cloud, or a model's id.")] = "auto",
    session: Annotated[str | None, typer.Option("--session", "-s", help="Continue this session.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="End the answer here.")] = None,
    json: JsonFlag = False,
) -> None:
    """Ask the running daemon."""
    client = DaemonClient.from_home(current_home())
    text = sys.stdin.read() if prompt == "-" else prompt
    body: dict[str, Any] = {
        "model": model,
        "messages": [*_history(client, session), {"role": "user", "content": text}],
    }
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if session is not None:
        body["edge"] = {"session_id": session}
    if json:
        print_json(client.post("/v1/chat/completions", body))
        return
    for chunk in client.stream("/v1/chat/completions", {**body, "stream": True}):
        for choice in chunk.get("choices", []):
            sys.stdout.write(choice["delta"].get("content") or "")
            sys.stdout.flush()
        if "edge" in chunk:
            sys.stdout.write("\n")
            _footer(chunk["edge"])


def _history(client: DaemonClient, session: str | None) -> list[dict[str, str]]:
    """The session's newest messages; none where it is new."""
    if session is None:
        return []
    try:
        history = client.get(f"/edge/v1/sessions/{quote(session, safe='')}?limit={CARRIED_TURNS}")["history"]
    except NotFound:
        return []
    return [{"role": message["role"], "content": _text(message)} for message in history]


def _text(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def _footer(edge: dict[str, Any]) -> None:
    """Where the answer came from, on stderr, so that a pipe gets the answer alone."""
    masked = sum(edge["privacy"]["entities"].values())
    parts = [edge["route"], edge["model"] or "", f"{(edge['timings_ms']['total'] or 0) / 1000:.1f} s"]
    if edge["confidence"] is not None:
        parts.append(f"confidence {edge['confidence']:.2f}")
    if edge["privacy"]["bytes_sent"]:
        parts.append(f"{masked} masked, {edge['privacy']['bytes_sent']} bytes sent")
    if edge["provisional"]:
        parts.append(f"provisional, queued as {edge.get('job_id')}")
    parts.append(f"session {edge['session_id']}")
    sys.stderr.write("[" + " · ".join(part for part in parts if part) + "]\n")
