"""What the command line says where something is wrong that no command foresaw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from edge_agent.cli.output import run


def _error(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.cli.main", *arguments],
        env={**os.environ, "EDGE_AGENT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def _one_line(error: str) -> bool:
    return error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize("command", [("status",), ("token", "show"), ("ledger", "list"), ("serve",)])
def test_a_home_that_is_a_file(tmp_path: Path, command: tuple[str, ...]) -> None:
    home = tmp_path / "home"
    home.touch()
    error = _error(home, *command)
    assert _one_line(error), error
    assert str(home) in error


def test_a_config_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    error = _error(tmp_path, "serve")
    assert _one_line(error), error
    assert str(tmp_path / "config.toml") in error


def test_a_token_that_is_no_text_names_the_command_that_mends_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    error = _error(tmp_path, "token", "show")
    assert _one_line(error), error
    assert "edge-agent token rotate" in error


@pytest.mark.parametrize("content", ["", "{", "[]", "5", '{"url": 5}', "\x00"])
def test_an_address_file_full_of_junk(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 1")
    (tmp_path / "daemon.json").write_text(content)
    error = _error(tmp_path, "status")
    assert _one_line(error), error
    assert "edge-agent serve" in error


def test_a_slip_in_never_leave_is_told_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[privacy]\nnever_leave = ["US_SSN", "IBAN"]')
    error = _error(tmp_path, "serve", "--port", "0")
    assert _one_line(error), error
    assert "IBAN." in error
    assert "IBAN_CODE" in error


def test_an_unknown_configured_model_is_told_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[models]\ndefault = "nope"')
    error = _error(tmp_path, "serve", "--port", "0")
    assert _one_line(error), error
    assert "'nope'" in error


def test_a_daemon_that_is_told_to_stop_puts_everything_away(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[bridge]\nmode = "off"')
    serving = subprocess.Popen(
        [sys.executable, "-m", "edge_agent.cli.main", "serve", "--port", "0"],
        env={**os.environ, "EDGE_AGENT_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with serving:
        try:
            assert serving.stdout is not None
            while "curl" not in serving.stdout.readline():
                assert serving.poll() is None
            httpx.get(json.loads((tmp_path / "daemon.json").read_text())["url"] + "/healthz").raise_for_status()
            serving.terminate()
            assert serving.wait(30) == 0
        finally:
            serving.kill()
    assert not (tmp_path / "daemon.json").exists()
    assert not (tmp_path / "state.db-wal").exists()


def test_a_daemon_that_is_told_to_stop_while_it_opens_its_home_puts_everything_away(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[bridge]\nmode = "off"')
    serving = subprocess.Popen(
        [sys.executable, "-m", "edge_agent.cli.main", "serve", "--port", "0"],
        env={**os.environ, "EDGE_AGENT_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with serving:
        try:
            while not (tmp_path / "state.db-wal").exists():
                assert serving.poll() is None
                time.sleep(0.001)
            serving.terminate()
            assert serving.wait(30) == 0
            assert serving.stderr is not None
            assert not serving.stderr.read()
        finally:
            serving.kill()
    assert not (tmp_path / "daemon.json").exists()
    assert not (tmp_path / "state.db-wal").exists()


def test_the_text_of_an_unforeseen_error_stays_out_but_for_debug(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ValueError("a prompt")

    assert run(broken, debug=False) == 1
    error = capsys.readouterr().err
    assert _one_line(error)
    assert "ValueError" in error
    assert "prompt" not in error
    with pytest.raises(ValueError, match="a prompt"):
        run(broken, debug=True)
