"""The official OpenAI client against a real daemon with a real model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import openai
import pytest

from tests.daemon.running_daemon import RunningDaemon
from tests.model_files import SMALL_MODELS

pytestmark = pytest.mark.slow
HELLO = [{"role": "user", "content": "Say hello in one short sentence."}]


@pytest.fixture
def client(local_daemon: RunningDaemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=local_daemon.url + "/v1", api_key=local_daemon.token, max_retries=0) as client:
        yield client


def test_a_whole_answer_says_how_it_came_to_be(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="local", messages=HELLO, max_tokens=20, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 20
    edge = answer.edge
    assert edge["route"] == "local"
    assert edge["model"] == SMALL_MODELS[0]
    assert edge["reasons"][0] == "requested:local"
    assert 0 <= edge["confidence"] <= 1
    assert edge["privacy"] == {"entities": {}, "bytes_sent": 0, "ledger_id": None}
    assert edge["cost_usd"] == 0
    assert edge["timings_ms"]["total"] >= edge["timings_ms"]["first_token"] > 0
    assert "job_id" not in edge


def test_a_stream_is_the_same_answer_with_the_report_last(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="local", messages=HELLO, max_tokens=20, temperature=0)
    stream = client.chat.completions.create(
        model="local", messages=HELLO, max_tokens=20, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].edge["route"] == "local"


def test_log_probabilities_and_stop(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="local", messages=HELLO, max_tokens=12, temperature=0, logprobs=True, top_logprobs=3
    )
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
    word = answer.choices[0].message.content.split()[1]
    stopped = client.chat.completions.create(model="local", messages=HELLO, max_tokens=12, temperature=0, stop=word)
    assert word not in stopped.choices[0].message.content
    assert stopped.choices[0].finish_reason == "stop"


def test_the_bytes_of_all_tokens_are_the_answer(client: openai.OpenAI) -> None:
    """An emoji is written in several tokens, none of which is a character."""
    stars = {"type": "json_schema", "json_schema": {"name": "stars", "schema": {"const": "🌟🦊"}}}
    answer = client.chat.completions.create(
        model="local", messages=HELLO, max_tokens=40, logprobs=True, response_format=stars
    )
    tokens = answer.choices[0].logprobs.content
    assert answer.choices[0].message.content == '"🌟🦊"'
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == '"🌟🦊"'
    assert any(token.token.startswith("bytes:") for token in tokens)


def test_a_json_schema_is_kept(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="local",
        messages=[{"role": "user", "content": "Name a city and whether it is large."}],
        max_tokens=60,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
    )
    document = json.loads(answer.choices[0].message.content)
    assert set(document) == {"city", "large"}
    assert isinstance(document["large"], bool)


def test_models_are_listed(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert ids[:3] == ["auto", "local", "cloud"]
    assert SMALL_MODELS[0] in ids
    assert client.models.retrieve(SMALL_MODELS[0]).owned_by == "local"


def test_embeddings_are_unit_vectors_that_know_meaning(client: openai.OpenAI) -> None:
    texts = ["How do I report a lost bank card?", "My debit card was stolen.", "A recipe for apple pie."]
    found = client.embeddings.create(model="all-minilm-l6-v2", input=texts)
    vectors = [item.embedding for item in found.data]
    assert [len(vector) for vector in vectors] == [384] * 3
    assert all(math.isclose(math.fsum(x * x for x in vector), 1, abs_tol=1e-3) for vector in vectors)

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert similarity(vectors[0], vectors[1]) > similarity(vectors[0], vectors[2]) + 0.2
    assert found.usage.prompt_tokens > 10
    alone = client.embeddings.create(model="all-minilm-l6-v2", input=texts[0], encoding_format="float")
    assert similarity(alone.data[0].embedding, vectors[0]) > 0.99


def test_an_unknown_model_is_the_clients_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="edge-agent models list"):
        client.chat.completions.create(model="gpt-17", messages=HELLO)


def test_bad_ranges_name_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="local", messages=HELLO, temperature=9)
    assert caught.value.param == "temperature"


def test_classify_tells_intents_and_what_is_outside(local_daemon: RunningDaemon) -> None:
    texts = ["What is my checking account balance?", "Colourless green ideas sleep furiously in the tensor."]
    results = local_daemon.http.post("/edge/v1/classify", json={"texts": texts}).json()["results"]
    assert results[0]["label"] == "balance"
    assert not results[0]["out_of_scope"]
    assert results[1]["out_of_scope"]
    labelled = local_daemon.http.post(
        "/edge/v1/classify", json={"texts": ["The film was dreadful"], "labels": ["praise", "complaint"]}
    ).json()
    assert labelled["results"][0]["label"] == "complaint"


def test_anonymize_and_restore_are_inverse(local_daemon: RunningDaemon) -> None:
    text = "Write to anna.schmidt@example.org or call +49 30 901820, IBAN DE89 3704 0044 0532 0130 00."
    masked = local_daemon.http.post("/edge/v1/anonymize", json={"text": text}).json()
    for value in ("anna.schmidt", "901820", "0532"):
        assert value not in masked["text"]
    for entity in masked["entities"]:
        assert set(entity) >= {"type", "start", "end", "placeholder", "score"}
        assert entity["placeholder"] in masked["text"]
    body = {"text": masked["text"], "mapping_id": masked["mapping_id"]}
    assert local_daemon.http.post("/edge/v1/restore", json=body).json() == {"text": text}
    unknown = local_daemon.http.post("/edge/v1/restore", json={**body, "mapping_id": "nobody"})
    assert unknown.status_code == 404


def test_decisions_and_sessions_are_on_record(local_daemon: RunningDaemon) -> None:
    edge = local_daemon.chat("Say hello.", model="local", edge={"session_id": "kept"}).json()["edge"]
    assert edge["session_id"] == "kept"
    decision = local_daemon.http.get(f"/edge/v1/decisions/{edge['decision_id']}").json()
    assert decision["reasons"] == edge["reasons"]
    session = local_daemon.http.get("/edge/v1/sessions/kept").json()
    assert session["turns"][0]["answers"][0]["decision_id"] == edge["decision_id"]
    listed = local_daemon.command("sessions", "list", "--json")
    assert "kept" in listed.stdout


def test_ask_streams_and_continues_a_session(local_daemon: RunningDaemon) -> None:
    first = local_daemon.command("ask", "Say hello.", "--max-tokens", "16", "--model", "local", "--session", "asked")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip()
    assert "session asked" in first.stderr
    more = ("--max-tokens", "16", "--session", "asked", "--json")
    second = json.loads(local_daemon.command("ask", "And again.", "--model", "local", *more).stdout)
    assert second["edge"]["session_id"] == "asked"
    assert second["usage"]["completion_tokens"] <= 16
    turns = local_daemon.http.get("/edge/v1/sessions/asked").json()["turns"]
    assert len(turns) == 2
    assert turns[1]["parent"] == turns[0]["answers"][0]["id"]


def test_status_and_doctor(local_daemon: RunningDaemon) -> None:
    status = json.loads(local_daemon.command("status", "--json").stdout)
    assert status["ready"]
    assert status["default_model"] == SMALL_MODELS[0]
    doctor = local_daemon.command("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "none altered" in doctor.stdout


def test_metrics_count_answers_and_hold_no_text(local_daemon: RunningDaemon) -> None:
    local_daemon.chat("Zanzibar, say hello.", model="local")
    metrics = local_daemon.http.get("/metrics").text
    assert 'edge_answers_total{provisional="false",route="local"}' in metrics
    assert "Zanzibar" not in metrics


def test_a_language_model_gives_embeddings_of_its_own(client: openai.OpenAI) -> None:
    texts = ["a small cat", "a little kitten", "the corporate tax return of 1998"]
    found = client.embeddings.create(model=SMALL_MODELS[0], input=texts)
    assert found.model == SMALL_MODELS[0]
    cat, kitten, tax = [item.embedding for item in found.data]
    assert math.hypot(*cat) == pytest.approx(1, abs=1e-5)
    assert _product(cat, kitten) > _product(cat, tax)
    assert found.usage.prompt_tokens > 10
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="a")


def test_a_model_says_what_it_can(client: openai.OpenAI) -> None:
    (model,) = [model for model in client.models.list() if model.id == SMALL_MODELS[0]]
    assert model.format == "gguf"
    can = ("embeddings", "structured_output", "tools", "batches", "adapters")
    assert model.capabilities == dict.fromkeys(can, True)


def _product(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
