"""Documents of a person's own: used for answers here and, masked, for escalations; sealed, and forgotten for good."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.pdf_file import pdf
from tests.upstream import Answer

pytestmark = pytest.mark.slow

Remembering = tuple[RunningDaemon, UpstreamProcess]

HOUSE = """# The wooden hut

## Heating
The boiler warranty ends when the pump is replaced. Wilhelmina Achterberg repairs it, w.achterberg@example.org.

## Gate
Ask her for the key (her social security number is 078-05-1120). The gate code is plumbago.
"""
BOILER, GATE = "When does the boiler warranty end?", "What is the gate code?"


@pytest.fixture(scope="module")
def remembering(models_home: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remembering]:
    with upstream() as cloud:
        config = SMOL + provider_config(cloud.url)
        with daemon(tmp_path_factory.mktemp("memory"), models_home, config, STAND_IN_KEY=KEY) as running:
            yield running, cloud


def run(running: RunningDaemon, *words: str) -> dict[str, Any]:
    done = running.command("docs", *words, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def house(remembering: Remembering) -> str:
    """A document that the command line added while the daemon runs, and the daemon had none before."""
    running, _ = remembering
    assert "memory" not in running.chat(BOILER, model="local").json()["edge"]
    path = running.home.parent / f"{running.home.name}-house.md"
    path.write_text(HOUSE)
    (added,) = run(running, "add", str(path))["documents"]
    path.unlink()
    return str(added["id"])


def system_text(request: Any) -> str:
    found = [message["content"] for message in request.json["messages"] if message["role"] == "system"]
    return "".join(text if isinstance(text, str) else "".join(part["text"] for part in text) for text in found)


def test_a_local_answer_is_given_the_passage_and_says_which(remembering: Remembering, house: str) -> None:
    running, cloud = remembering
    before = len(cloud.requests)
    answer = running.chat(GATE, model="local", temperature=0).json()
    (use,) = answer["edge"]["memory"]
    assert (use["document"], use["name"]) == (house, f"{running.home.name}-house.md")
    without = running.chat(GATE, model="local", temperature=0, edge={"memory": "off"}).json()
    assert "memory" not in without["edge"]
    assert answer["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"] + 30
    assert "plumbago" in answer["choices"][0]["message"]["content"].lower()
    assert len(cloud.requests) == before
    recorded = running.http.get(f"/edge/v1/decisions/{answer['edge']['decision_id']}").json()
    assert recorded["memory"] == [{"document": house, "passage": use["passage"]}]
    session = running.http.get(f"/edge/v1/sessions/{answer['edge']['session_id']}").json()
    assert "plumbago" not in json.dumps(session["turns"][0]["messages"])


def test_an_escalation_has_the_passage_masked_and_without_the_files_name(remembering: Remembering, house: str) -> None:
    running, cloud = remembering
    cloud.will(Answer(text="When the pump is replaced; ask <PERSON_1>."))
    explained = running.http.post(
        "/edge/v1/explain", json={"model": "cloud", "messages": [{"role": "user", "content": BOILER}]}
    ).json()
    answer = running.chat(BOILER, model="cloud").json()
    assert answer["choices"][0]["message"]["content"] == "When the pump is replaced; ask Wilhelmina Achterberg."
    sent = cloud.requests[-1]
    assert json.loads(explained["would_send"]["body"])["messages"] == sent.json["messages"]
    assert explained["decision"]["memory"] == answer["edge"]["memory"]
    told = system_text(sent)
    assert "The boiler warranty ends when the pump is replaced. <PERSON_1> repairs it" in told
    assert "house.md" not in told
    for secret in (b"Achterberg", b"w.achterberg@example.org", b"078-05-1120", b"plumbago"):
        assert secret not in sent.head + sent.body
    assert sent.json["messages"][-1]["content"] == BOILER
    entry = running.http.get(f"/edge/v1/ledger/{answer['edge']['privacy']['ledger_id']}").json()
    assert "pump is replaced" in json.dumps(entry)


def test_the_same_question_again_is_answered_from_the_cache(remembering: Remembering, house: str) -> None:
    running, cloud = remembering
    cloud.will(Answer(text="In May."))
    question = "Until when is the warranty of the boiler?"
    first = running.chat(question, model="cloud").json()["edge"]
    again = running.chat(question, model="cloud").json()["edge"]
    assert (first["route"], again["route"], again["memory"]) == ("cloud", "cache", first["memory"])


def test_a_passage_with_what_never_leaves_stays_and_the_question_is_sent(remembering: Remembering, house: str) -> None:
    running, cloud = remembering
    cloud.will(Answer(text="I do not know."))
    answer = running.chat(GATE, model="cloud").json()
    assert answer["edge"]["route"] == "cloud"
    assert "memory" not in answer["edge"]
    assert [message["role"] for message in cloud.requests[-1].json["messages"]] == ["user"]


def test_a_passage_that_describes_somebody_stays_and_the_question_is_sent(remembering: Remembering) -> None:
    running, cloud = remembering
    cloud.will(Answer(text="I do not know."))
    text = "The flag of the village is with the only female judge in the district, the one who walked out of the trial."
    document = running.http.post("/edge/v1/documents", json={"name": "flag.txt", "text": text}).json()["document"]["id"]
    edge = running.chat("Who has the flag of the village?", model="cloud").json()["edge"]
    assert (edge["route"], "memory" in edge) == ("cloud", False)
    assert b"judge" not in cloud.requests[-1].body
    here = running.chat("Who has the flag of the village?", model="local").json()["edge"]
    assert here["memory"] == [{"document": document, "passage": 0, "name": "flag.txt"}]
    running.http.delete(f"/edge/v1/documents/{document}")


def test_a_follow_up_continues_the_session_as_without_notes(remembering: Remembering, house: str) -> None:
    running, cloud = remembering
    cloud.will(Answer(text="In May."))
    said = [{"role": "user", "content": BOILER}]
    body = {"model": "cloud", "edge": {"session_id": "follow", "cache": False}}
    running.http.post("/v1/chat/completions", json={**body, "messages": said})
    said += [{"role": "assistant", "content": "In May."}, {"role": "user", "content": "Whose boiler warranty is it?"}]
    running.http.post("/v1/chat/completions", json={**body, "messages": said})
    turns = running.http.get("/edge/v1/sessions/follow").json()["turns"]
    assert [len(turn["messages"]) for turn in turns] == [1, 1]
    assert turns[1]["parent"] == turns[0]["answers"][0]["id"]


@pytest.mark.parametrize(
    "more",
    [
        {"edge": {"task": "classification"}},
        {
            "tools": [{"type": "function", "function": {"name": "open", "parameters": {"type": "object"}}}],
            "tool_choice": "required",
        },
    ],
)
def test_tasks_and_requests_for_a_call_get_none(remembering: Remembering, house: str, more: dict[str, Any]) -> None:
    running, cloud = remembering
    cloud.will(Answer(text="No."))
    assert "memory" not in running.chat(BOILER, model="cloud", **more).json()["edge"]


def test_what_was_said_before_is_found_where_the_client_does_not_send_it(remembering: Remembering) -> None:
    running, cloud = remembering
    cloud.will(Answer(text="I shall remember that."))
    edge = {"session_id": "before"}
    first = running.chat("The spare wheel lies under the blue carpet.", model="cloud", edge=edge).json()["edge"]
    running.chat("The car jack is behind the freezer.", model="local", edge=edge)
    cloud.will(Answer(text="In the shed."))
    answer = running.chat("Where is the spare wheel?", model="cloud", edge=edge).json()["edge"]
    turns = running.http.get("/edge/v1/sessions/before").json()["turns"]
    assert first["route"] == answer["route"] == "cloud"
    assert answer["memory"] == [{"turn": turns[0]["id"], "passage": 0}]
    assert "under the blue carpet" in system_text(cloud.requests[-1])
    # What was asked here only does not leave now, either.
    running.chat("Where is the car jack?", model="cloud", edge=edge)
    assert b"freezer" not in cloud.requests[-1].body
    here = running.chat("Where is the car jack?", model="local", edge=edge).json()["edge"]
    assert {"turn": turns[1]["id"], "passage": 0} in here["memory"]


def test_documents_over_http(remembering: Remembering, house: str) -> None:
    running, _ = remembering
    data = base64.b64encode(pdf(["The cellar key hangs", "behind the mirror."], ["Page two."])).decode()
    added = running.http.post("/edge/v1/documents", json={"name": "cellar.pdf", "data": data}).json()
    document = added["document"]
    assert (added["added"], document["kind"], document["path"]) == (True, "pdf", None)
    again = running.http.post("/edge/v1/documents", json={"name": "copy.pdf", "data": data}).json()
    assert (again["added"], again["document"]["id"]) == (False, document["id"])
    found = running.http.get("/edge/v1/documents/search", params={"q": 'where is the "cellar key"*'}).json()["passages"]
    assert (found[0]["document"], found[0]["heading"]) == (document["id"], "page 1")
    assert "behind the mirror" in found[0]["text"]
    assert {each["id"] for each in running.http.get("/edge/v1/documents").json()["documents"]} == {
        house,
        document["id"],
    }
    assert running.http.delete(f"/edge/v1/documents/{document['id']}").json() == {"forgotten": document["id"]}
    assert running.http.get("/edge/v1/documents/search", params={"q": "cellar"}).json()["passages"] == []
    for gone in (document["id"], "sessions", "01" * 13):
        response = running.http.delete(f"/edge/v1/documents/{gone}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_document")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "a.txt"}, "invalid_value"),
        ({"name": "a.txt", "text": "x", "data": "eA=="}, "invalid_value"),
        ({"name": "a.txt", "data": "%"}, "invalid_value"),
        ({"name": "", "text": "x"}, "invalid_value"),
        ({"name": "a.txt", "text": " \n"}, "document_empty"),
        ({"name": "a.doc", "data": base64.b64encode(b"\x00\x01").decode()}, "document_not_text"),
        ({"name": "a.pdf", "data": base64.b64encode(b"%PDF-1.4 x").decode()}, "pdf_unreadable"),
    ],
)
def test_bad_documents_are_refused(remembering: Remembering, body: dict[str, str], code: str) -> None:
    response = remembering[0].http.post("/edge/v1/documents", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


def test_a_document_is_no_session(remembering: Remembering, house: str) -> None:
    running, _ = remembering
    assert house not in running.http.get("/edge/v1/sessions").text
    for name in (house, "mine"):
        refused = running.chat("Hello", model="local", edge={"session_id": f"document/{name}"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_session_id")
    assert running.http.get(f"/edge/v1/sessions/document/{house}").status_code == 404


def test_removed_it_is_gone_at_once_and_was_never_on_disk(remembering: Remembering, house: str) -> None:
    """The last one: it ends the document that the others use."""
    running, cloud = remembering
    files = [path for path in running.home.rglob("*") if path.is_file() and "models" not in path.parts]
    raw = b"".join(path.read_bytes() for path in files)
    for words in (b"boiler", b"plumbago", b"Achterberg", b"wooden hut", b"house.md"):
        assert words not in raw
        assert words.decode().encode("utf-16-le") not in raw
    assert running.http.delete(f"/edge/v1/documents/{house}").json() == {"forgotten": house}
    assert "memory" not in running.chat(GATE, model="local").json()["edge"]
    cloud.will(Answer(text="No."))
    running.chat("Until when is the boiler's warranty, please?", model="cloud")
    assert b"pump is replaced" not in cloud.requests[-1].body
    assert running.http.get("/edge/v1/documents").json() == {"documents": []}
