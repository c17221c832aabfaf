"""Sessions at the door: page by page, and going on from the answer that somebody chose."""

from __future__ import annotations

from typing import Any

from tests.daemon.running_daemon import RunningDaemon

PATH = "/edge/v1/sessions/"


def ask(running: RunningDaemon, session_id: str, *texts: str) -> str:
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    answered = running.chat("", messages=messages, max_tokens=2, edge={"session_id": session_id})
    return str(answered.json()["choices"][0]["message"]["content"])


def texts(messages: Any) -> list[str]:
    return [message["parts"][0]["text"] for message in messages]


def test_a_session_is_read_page_by_page(local_daemon: RunningDaemon) -> None:
    said: list[str] = []
    for number in range(3):
        said.append(f"Question {number}?")
        said.append(ask(local_daemon, "paged", *said))
    newest = local_daemon.http.get(f"{PATH}paged", params={"limit": 2}).json()
    assert [texts(turn["messages"]) for turn in newest["turns"]] == [["Question 1?"], ["Question 2?"]]
    assert newest["more"] is True
    assert newest["continues"] == newest["turns"][-1]["answers"][0]["id"]
    assert texts(newest["history"]) in (said[2:], said[4:])
    first = local_daemon.http.get(f"{PATH}paged", params={"before": newest["turns"][0]["id"]}).json()
    assert [texts(turn["messages"]) for turn in first["turns"]] == [["Question 0?"]]
    assert (first["more"], texts(first["history"])) == (False, said)
    for query, code in (({"before": "x"}, "unknown_turn"), ({"limit": 0}, "invalid_value")):
        refused = local_daemon.http.get(f"{PATH}paged", params=query)
        assert (refused.status_code // 100, refused.json()["error"]["code"]) == (4, code)


def test_the_next_question_carries_the_line_that_was_chosen(local_daemon: RunningDaemon) -> None:
    first = ask(local_daemon, "a/fork", "Name a colour.")
    ask(local_daemon, "a/fork", "Name a colour.", first, "Another?")
    root, _ = local_daemon.http.get(f"{PATH}a/fork").json()["turns"]
    answer_id = root["answers"][0]["id"]
    chosen = local_daemon.http.post(f"{PATH}a/fork/choose", json={"answer_id": answer_id})
    assert chosen.json() == {"id": "a/fork", "continues": answer_id}
    assert texts(local_daemon.http.get(f"{PATH}a/fork").json()["history"]) == ["Name a colour.", first]
    asked = local_daemon.command("ask", "A third one?", "--session", "a/fork", "--max-tokens", "2", "--json")
    assert asked.returncode == 0, asked.stderr
    *_, another, third = local_daemon.http.get(f"{PATH}a/fork").json()["turns"]
    assert (third["parent"], another["branch"], third["branch"]) == (answer_id, 0, 1)
    for session_id, body, code in (
        ("a/fork", {"answer_id": "x"}, "unknown_answer"),
        ("nobody", {"answer_id": answer_id}, "unknown_session"),
        ("a/fork", {}, "missing_required_parameter"),
    ):
        refused = local_daemon.http.post(f"{PATH}{session_id}/choose", json=body)
        assert (refused.status_code // 100, refused.json()["error"]["code"]) == (4, code)
