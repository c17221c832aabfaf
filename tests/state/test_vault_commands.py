"""`edge-agent vault status|rotate|move`, and how the other commands open a vault with a passphrase."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloud_bridge.protocol.problems import Conflict, NotAuthenticated, Problem
from edge_agent.cli import sessions, vault
from edge_agent.cli.main import build
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.master_key.passphrase import FILE
from edge_agent.state.state import State

Run = Any


@pytest.fixture
def run(home: Path) -> Run:
    def command(app: Any, *arguments: str, **environ: str) -> Result:
        result = CliRunner().invoke(app, arguments, env={"EDGE_AGENT_HOME": str(home), **environ})
        if isinstance(result.exception, Problem):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return command


@pytest.fixture
def used(home: Path) -> Path:
    with State.open(home / "state.db", HomeKey(home).open()) as state:
        state.append("hello", "s", {"text": "hello"})
    return home


def status(run: Run, **environ: str) -> dict[str, Any]:
    return json.loads(run(vault.app, "status", "--json", **environ).output)


def test_a_home_without_a_key_says_so(run: Run, home: Path) -> None:
    found = status(run)
    assert (found["key"], found["setting"], found["fits_state"]) == (None, "auto", None)
    assert "none yet" in run(vault.app, "status").output
    assert not (home / "keys").exists()


def test_status_shows_the_place_and_no_secret(run: Run, used: Path) -> None:
    master = (used / "keys" / "master.key").read_bytes()
    shown = run(vault.app, "status").output
    assert "file" in shown
    assert "yes" in shown
    found = status(run)
    assert found == {
        "key": "file",
        "setting": "auto",
        "record": str(used / "keys" / "master.key"),
        "fingerprint": found["fingerprint"],
        "fits_state": True,
        "settled": True,
    }
    assert len(found["fingerprint"].replace("-", "")) == 16
    assert master.hex() not in shown + json.dumps(found)
    (used / "keys" / "master.key").write_bytes(b"x" * 32)
    assert status(run)["fits_state"] is False


def test_a_key_that_is_gone_fits_nothing(run: Run, used: Path) -> None:
    (used / "keys" / "master.key").unlink()
    found = status(run)
    assert (found["key"], found["fits_state"]) == (None, False)


def test_doctor_says_where_the_key_is(used: Path) -> None:
    result = CliRunner().invoke(build(["doctor"]), ["doctor", "--json"], env={"EDGE_AGENT_HOME": str(used)})
    findings = {found["what"]: found for found in json.loads(result.output)["findings"]}
    assert findings["master key"]["verdict"] == "ok"
    assert findings["master key"]["detail"].startswith("file (")
    assert findings["state"]["verdict"] == findings["ledger"]["verdict"] == "ok"


def test_rotate_replaces_the_key(run: Run, used: Path) -> None:
    before = status(run)
    rotated = json.loads(run(vault.app, "rotate", "--json").output)
    assert (rotated["replaced"], rotated["sessions"]) == (before["fingerprint"], 1)
    assert rotated["fingerprint"] == status(run)["fingerprint"] != before["fingerprint"]
    assert status(run)["fits_state"]
    assert "The old one is removed." in run(vault.app, "rotate").output


@pytest.mark.slow
def test_move_to_a_passphrase(run: Run, used: Path, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("correct horse battery\n")
    with pytest.raises(NotAuthenticated):
        run(vault.app, "move", "passphrase")
    assert status(run)["key"] == "file"
    moved = json.loads(run(vault.app, "move", "passphrase", "--json", **{FILE: str(file)}).output)
    assert (moved["key"], moved["changed"]) == ("passphrase", True)
    assert [path.name for path in (used / "keys").iterdir()] == ["master.passphrase"]
    assert status(run)["key"] == "passphrase"
    with pytest.raises(NotAuthenticated) as caught:
        run(sessions.app, "list")
    assert caught.value.code == "passphrase_missing"
    run(sessions.app, "list", EDGE_AGENT_VAULT__PASSPHRASE="correct horse battery")


def test_move_to_where_it_is_changes_nothing(run: Run, used: Path) -> None:
    assert "was already" in run(vault.app, "move", "file").output


def test_a_place_that_the_settings_forbid_is_refused(run: Run, used: Path) -> None:
    (used / "config.toml").write_text('[vault]\nkey = "keyring"\n')
    with pytest.raises(Conflict) as caught:
        run(vault.app, "move", "file")
    assert caught.value.code == "vault_elsewhere"
    with pytest.raises(Conflict) as caught:
        run(sessions.app, "list")
    assert "edge-agent vault move keyring" in caught.value.hint
    assert status(run)["setting"] == "keyring"


@pytest.mark.parametrize("words", [("rotate",), ("move", "keyring")])
def test_a_home_that_a_daemon_owns_is_left_alone(run: Run, used: Path, words: tuple[str, ...]) -> None:
    before = status(run)
    with State.open(used / "state.db", HomeKey(used).open(), owner=True), pytest.raises(Conflict) as caught:
        run(vault.app, *words)
    assert caught.value.code == "home_in_use"
    assert "Stop it first" in caught.value.hint
    assert status(run) == before


def test_a_place_that_there_is_not_is_named(run: Run, home: Path) -> None:
    with pytest.raises(Problem) as caught:
        run(sessions.app, "list", EDGE_AGENT_VAULT__KEY="safe")
    assert (caught.value.code, caught.value.param) == ("bad_config", "vault.key")
    assert "'keyring'" in caught.value.message
    assert not home.exists()


def test_a_passphrase_is_no_setting(run: Run, used: Path) -> None:
    (used / "config.toml").write_text('[vault]\npassphrase = "correct horse battery"\n')
    with pytest.raises(Problem) as caught:
        run(vault.app, "status")
    assert (caught.value.code, caught.value.param) == ("bad_config", "vault.passphrase")
    assert "battery" not in str(caught.value)
