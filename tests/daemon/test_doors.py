"""Who may talk to the daemon, and what each bad request is told."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import httpx
import pytest

from tests.daemon.conftest import LOCAL
from tests.daemon.running_daemon import RunningDaemon, daemon, text_of
from tests.model_files import SMALL_MODELS

pytestmark = pytest.mark.slow
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


def error_of(response: httpx.Response) -> dict[str, str]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return error


def test_health_needs_no_token(local_daemon: RunningDaemon) -> None:
    assert httpx.get(local_daemon.url + "/healthz").json() == {"status": "ok"}
    assert httpx.get(local_daemon.url + "/readyz").status_code == 200


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1e2", ""])
def test_a_page_of_no_size_is_refused(local_daemon: RunningDaemon, limit: str) -> None:
    for path in ("/edge/v1/sessions", "/edge/v1/outbox"):
        response = local_daemon.http.get(path, params={"limit": limit})
        assert response.status_code == 400
        assert error_of(response)["param"] == "limit"


def test_a_page_holds_as_many_as_were_asked_for(local_daemon: RunningDaemon) -> None:
    for name in ("page-a", "page-b"):
        local_daemon.chat("Hello", edge={"session_id": name}, max_tokens=1)
    (newest,) = local_daemon.http.get("/edge/v1/sessions", params={"limit": 1}).json()["sessions"]
    assert newest["id"] == "page-b"
    older = local_daemon.http.get("/edge/v1/sessions", params={"before": "page-b"}).json()["sessions"]
    assert older[0]["id"] == "page-a"


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic abc", "Bearer"])
def test_a_wrong_key_is_refused(local_daemon: RunningDaemon, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    response = httpx.post(local_daemon.url + CHAT, json=HELLO, headers=headers)
    assert response.status_code == 401
    error = error_of(response)
    assert error["code"] == "invalid_api_key"
    assert "edge-agent token show" in error["message"]


def test_every_route_but_health_and_the_page_needs_the_token(local_daemon: RunningDaemon) -> None:
    paths = local_daemon.http.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method in methods:
            url = local_daemon.url + path.replace("{", "").replace("}", "")
            response = httpx.request(method, url, json={} if method == "post" else None)
            expected = {200} if path in {"/healthz", "/readyz"} else {401}
            assert response.status_code in expected, (method, path)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost/healthz?", "127.0.0.1#", "[::2]", "10.0.0.1:8040", ""]
)
def test_a_foreign_host_is_refused_whatever_its_token(local_daemon: RunningDaemon, host: str) -> None:
    for path in ("/v1/models", "/healthz", "/"):
        response = local_daemon.http.get(path, headers={"Host": host})
        assert response.status_code in {400, 403}
        if response.status_code == 403:
            assert error_of(response)["code"] == "wrong_host"


def test_two_host_headers_are_refused(local_daemon: RunningDaemon) -> None:
    host, port = local_daemon.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert raw.recv(100).split()[1] in {b"400", b"403"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
def test_a_foreign_origin_is_refused_whatever_its_token(local_daemon: RunningDaemon, origin: str) -> None:
    response = local_daemon.http.post(CHAT, json=HELLO, headers={"Origin": origin})
    assert response.status_code == 403
    assert error_of(response)["code"] == "wrong_origin"
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "headers", [["Origin: https://evil.example", "Origin: http://localhost"], ["Sec-Fetch-Site: Cross-Site"]]
)
def test_nothing_hides_behind_a_second_origin_or_a_capital(local_daemon: RunningDaemon, headers: list[str]) -> None:
    host, port = local_daemon.url.removeprefix("http://").split(":")
    head = "\r\n".join(["GET /healthz HTTP/1.1", f"Host: {host}", *headers, "Connection: close", "", ""])
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(head.encode())
        assert raw.recv(100).split()[1] == b"403"


def test_a_session_whose_id_holds_a_slash_can_be_read(local_daemon: RunningDaemon) -> None:
    assert local_daemon.chat("Hello", max_tokens=2, edge={"session_id": "a/b c"}).status_code == 200
    assert local_daemon.http.get("/edge/v1/sessions/a%2Fb%20c").json()["id"] == "a/b c"


def test_embeddings_are_not_shortened_in_silence(local_daemon: RunningDaemon) -> None:
    ask = {"input": "Hello", "dimensions": 384}
    assert len(local_daemon.http.post("/v1/embeddings", json=ask).json()["data"][0]["embedding"]) == 384
    refused = local_daemon.http.post("/v1/embeddings", json={**ask, "dimensions": 3})
    assert refused.status_code == 400
    assert error_of(refused)["param"] == "dimensions"


def test_a_page_on_localhost_may_call(local_daemon: RunningDaemon) -> None:
    origin = {"Origin": "http://localhost:3000"}
    preflight = httpx.options(
        local_daemon.url + CHAT,
        headers={**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"},
    )
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert local_daemon.http.get("/v1/models", headers=origin).status_code == 200


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_a_page_could_send_unasked_is_refused(local_daemon: RunningDaemon, media_type: str) -> None:
    response = local_daemon.http.post(CHAT, content=json.dumps(HELLO), headers={"Content-Type": media_type})
    assert response.status_code == 415
    assert error_of(response)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("content", ["{", "", "[1]", '"text"', "\xff", "[" * 100_000])
def test_malformed_json(local_daemon: RunningDaemon, content: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = local_daemon.http.post(CHAT, content=content.encode("latin-1"), headers=headers)
    assert response.status_code == 400
    assert error_of(response)["code"] == "malformed_json"


def test_a_body_over_the_limit_is_refused_also_without_a_length(local_daemon: RunningDaemon) -> None:
    def endless() -> object:
        for _ in range(18):
            yield b" " * 1024 * 1024

    headers = {"Content-Type": "application/json"}
    try:
        response = local_daemon.http.post(CHAT, content=endless(), headers=headers)  # type: ignore[arg-type]
    except httpx.WriteError:
        return  # the daemon hung up before all was sent
    assert response.status_code == 413
    assert error_of(response)["code"] == "payload_too_large"


def test_an_unknown_model(local_daemon: RunningDaemon) -> None:
    response = local_daemon.chat("Hello", model="gpt-17")
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"
    assert local_daemon.http.get("/v1/models/gpt-17").status_code == 404


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": ""}], [{"role": "user", "content": " \n"}]])
def test_an_empty_prompt(local_daemon: RunningDaemon, messages: list[object]) -> None:
    response = local_daemon.http.post(CHAT, json={"messages": messages})
    assert response.status_code == 400
    assert error_of(response)["code"] == "empty_prompt"


@pytest.mark.parametrize("model", ["auto", "local"])
def test_a_prompt_longer_than_the_context(local_daemon: RunningDaemon, model: str) -> None:
    response = local_daemon.chat("word and another word " * 6000, model=model)
    assert response.status_code == 400
    assert error_of(response)["code"] == "context_length_exceeded"


def test_a_cloud_that_is_not_configured(local_daemon: RunningDaemon) -> None:
    response = local_daemon.chat("Hello", model="cloud")
    assert response.status_code == 503
    error = error_of(response)
    assert error["code"] == "cloud_not_configured"
    assert "bridge.providers" in error["message"]


def test_an_unknown_address_and_a_wrong_method(local_daemon: RunningDaemon) -> None:
    assert error_of(local_daemon.http.get("/v1/nothing"))["code"] == "unknown_url"
    response = local_daemon.http.get(CHAT)
    assert response.status_code == 405
    assert error_of(response)["code"] == "method_not_allowed"


def test_the_page_is_served_and_holds_nothing(local_daemon: RunningDaemon) -> None:
    for path in ("/", "/app.js", "/style.css", "/favicon.svg"):
        response = httpx.get(local_daemon.url + path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert local_daemon.token not in response.text


def test_a_new_token_works_at_once_and_the_old_one_no_more(models_home: Path, tmp_path: Path) -> None:
    with daemon(tmp_path / "home", models_home, LOCAL) as running:
        old = running.token
        assert running.command("token", "rotate").stdout.strip() == running.token != old
        assert running.http.get("/v1/models").status_code == 401
        assert httpx.get(running.url + "/v1/models", headers={"x-api-key": running.token}).status_code == 200
        assert (tmp_path / "home" / "token").stat().st_mode & 0o777 == 0o600


def test_a_second_daemon_on_the_same_home_is_refused(local_daemon: RunningDaemon) -> None:
    second = local_daemon.command("serve", "--port", "0")
    assert second.returncode == 1
    assert second.stderr.startswith("error: ")
    assert second.stderr.count("\n") == 1
    assert "EDGE_AGENT_HOME" in second.stderr


def test_a_remote_address_must_be_told_twice(local_daemon: RunningDaemon) -> None:
    refused = local_daemon.command("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 it must be refused
    assert refused.returncode == 1
    assert "allow_remote" in refused.stderr


def _models_with_a_damaged_llm(models_home: Path, folder: Path, *, size: int | None) -> Path:
    """A models folder whose language model is missing its file (None) or was cut to `size` bytes."""
    folder.mkdir()
    for model_id in SMALL_MODELS[1:]:
        (folder / model_id).symlink_to(models_home / model_id)
    shutil.copytree(models_home / SMALL_MODELS[0], folder / SMALL_MODELS[0])
    (gguf,) = (folder / SMALL_MODELS[0]).rglob("*.gguf")
    if size is None:
        gguf.unlink()
    else:
        with gguf.open("r+b") as file:
            file.truncate(size)
    return folder


@pytest.mark.parametrize("model", ["auto", "local", SMALL_MODELS[0]])
@pytest.mark.parametrize(("size", "code"), [(None, "model_file_missing"), (1_000_000, "model_truncated")])
def test_a_missing_or_truncated_model_file(
    models_home: Path, tmp_path: Path, size: int | None, code: str, model: str
) -> None:
    models = _models_with_a_damaged_llm(models_home, tmp_path / "models", size=size)
    with daemon(tmp_path / "home", models, LOCAL) as running:
        response = running.chat("Hello", model=model)
        assert response.status_code == 500
        error = error_of(response)
        assert error["code"] == code
        assert f"edge-agent models pull {SMALL_MODELS[0]}" in error["message"]
        assert running.http.get("/healthz").status_code == 200


def test_a_local_answer_streams(local_daemon: RunningDaemon) -> None:
    chunks = local_daemon.stream("Say hello.", model="local")
    assert text_of(chunks).strip()
    assert chunks[-1]["edge"]["route"] == "local"


def test_a_large_response_format_is_not_taken_for_a_long_prompt(local_daemon: RunningDaemon) -> None:
    schema = {"enum": [f"a value of some length, number {number}" for number in range(4000)]}
    shape = {"type": "json_schema", "json_schema": {"name": "one", "schema": schema}}
    answer = local_daemon.chat("Say hi.", model="local", response_format=shape, max_tokens=40)
    assert answer.status_code == 200
