"""`edge-agent docs` against a real home."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloud_bridge.protocol.problems import InvalidRequest, NotFound, Problem
from edge_agent.cli import docs


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def command(*arguments: str) -> Result:
        result = CliRunner().invoke(docs.app, arguments, env={"EDGE_AGENT_HOME": str(tmp_path / "home")})
        if isinstance(result.exception, Problem):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return command


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder: a text, one deeper, a hidden one, no text, and a pipe that nobody writes to."""
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "gate.md").write_text("# Gate\nThe gate code is 4711.")
    (folder / "deep" / "hut\x1b[2J\n.txt").write_text("The hut is green.")
    (folder / ".hidden.txt").write_text("Not this.")
    (folder / "picture.png").write_bytes(b"\x89PNG\x00")
    os.mkfifo(folder / "pipe")
    return folder


def listed(run: Any) -> list[dict[str, Any]]:
    return list(json.loads(run("list", "--json").output)["documents"])


def test_an_empty_home_says_so(run: Any) -> None:
    assert "No documents yet" in run("list").output
    assert "No passage" in run("search", "gate").output


def test_a_folder_is_added_but_for_what_cannot_be_read(run: Any, notes: Path) -> None:
    added = run("add", str(notes))
    assert added.output.count("Added ") == 2
    assert "skipped" in added.output
    assert "picture.png is not text" in added.output
    assert "\x1b" not in added.output
    assert [each["name"] for each in listed(run)] == ["gate.md", r"hut\x1b[2J\n.txt"]
    again = json.loads(run("add", str(notes), "--json").stdout)
    assert [each["added"] for each in again["documents"]] == [False, False]
    assert {Path(each["path"]).name: each["code"] for each in again["skipped"]} == {
        "picture.png": "document_not_text",
        "pipe": "document_unreadable",
    }
    found = json.loads(run("search", "what is the gate's code?", "--json").output)["passages"]
    assert (found[0]["name"], found[0]["heading"], found[0]["score"]) == ("gate.md", "Gate", 1.0)
    assert "The gate code is 4711." in run("search", "gate code").output


def test_a_changed_file_takes_its_former_place_and_is_removed_by_its_id(run: Any, notes: Path) -> None:
    run("add", str(notes / "gate.md"))
    (notes / "gate.md").write_text("The gate code is 1234.")
    assert "Replaced" in run("add", str(notes / "gate.md")).output
    (document,) = listed(run)
    assert "4711" not in run("search", "gate code").output
    assert run("rm", document["id"]).output == f"Forgot {document['id']}.\n"
    assert listed(run) == []
    with pytest.raises(NotFound):
        run("rm", document["id"])


def test_what_cannot_be_added_fails_and_the_rest_is_there(run: Any, notes: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        run("add", str(notes / "gone.txt"))
    with pytest.raises(InvalidRequest) as caught:
        run("add", str(notes / "gone.txt"), str(notes / "gate.md"))
    assert caught.value.code == "documents_skipped"
    assert "1 of 2" in caught.value.message
    assert len(listed(run)) == 1
    (notes / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="no file"):
        run("add", str(notes / "empty"))
    with pytest.raises(InvalidRequest) as caught:
        run("search", " ")
    assert caught.value.code == "empty_text"
