"""Masking with surrogates: every text comes back, one value has one surrogate, and the provider sees no placeholder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud_bridge.protocol.conversation import Conversation, Message, Text, ToolCall, ToolResult
from cloud_bridge.protocol.problems import InvalidRequest, Problem
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import MaskResult, anonymize_text, mask, replace_spans, settle
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.spans import Span, resolve
from edge_agent.privacy.surrogates.surrogates import TYPES, Surrogates
from edge_agent.privacy.vault import Style, Vault
from edge_agent.settings import Settings
from edge_agent.state.keys import KeyRing
from edge_agent.state.state import State
from tests.privacy.restored_json import restore_json

pytestmark = pytest.mark.anyio

PLANTED = {
    "EMAIL_ADDRESS": "margaret.holloway@acme-widgets.com",
    "IBAN_CODE": "GB33 BUKB 2020 1555 5555 55",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "PHONE_NUMBER": "+44 7700 900123",
    "IP_ADDRESS": "203.0.113.45",
    "PERSON": "Margaret Holloway",
}
LETTER = (
    f"Dear team, {PLANTED['PERSON']} called from {PLANTED['PHONE_NUMBER']} ({PLANTED['IP_ADDRESS']}) and asks to pay "
    f"{PLANTED['IBAN_CODE']}, not the card {PLANTED['CREDIT_CARD']}. Write to {PLANTED['EMAIL_ADDRESS']}."
)
STYLE = Style(TYPES, lambda session_id: session_id.encode())


def said(*parts: Text | ToolCall | ToolResult, role: str = "user") -> Conversation:
    return Conversation((Message(role, parts),))  # type: ignore[arg-type]


def shown_by_type(result: MaskResult) -> dict[str, str]:
    return {entity.type: entity.placeholder for entity in result.found}


def surrogates_vault(store) -> Vault:
    return Vault(store, STYLE)


async def test_a_letter_leaves_with_surrogates_and_comes_back(detector: Detector, store):
    vault = surrogates_vault(store)
    result = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s", note=True)
    masked = result.masked.conversation.last_user_text
    shown = shown_by_type(result)
    assert shown.keys() >= PLANTED.keys()
    assert not [value for value in PLANTED.values() if value in masked]
    assert not [entity.placeholder for entity in result.found if entity.is_placeholder and entity.type in TYPES]
    assert shown["EMAIL_ADDRESS"].startswith(".".join(shown["PERSON"].lower().split()))
    assert restore_text(masked, await vault.session("s")) == LETTER


async def test_without_a_placeholder_there_is_no_note_about_them(detector: Detector, store):
    text = "Write to margaret.holloway@acme-widgets.com"
    result = await mask(said(Text(text)), detector=detector, vault=surrogates_vault(store), session_id="s", note=True)
    assert len(result.masked.conversation.messages) == 1
    assert result.masked.conversation.last_user_text.endswith(".example.org")


async def test_what_has_no_surrogate_keeps_its_placeholder_and_the_note(detector: Detector, store):
    text = "Margaret Holloway's password: hunter2horse"
    result = await mask(said(Text(text)), detector=detector, vault=surrogates_vault(store), session_id="s", note=True)
    assert result.masked.conversation.messages[0].role == "system"
    masked = result.masked.conversation.last_user_text
    assert masked.endswith("'s password: <PASSWORD_1>")
    assert "Holloway" not in masked


async def test_only_the_chosen_types_get_surrogates(detector: Detector, store):
    vault = Vault(store, Style(frozenset({"PERSON"}), str.encode))
    result = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s")
    shown = shown_by_type(result)
    assert {entity for entity in PLANTED if shown[entity].startswith("<")} == set(PLANTED) - {"PERSON"}


async def test_the_same_value_has_one_surrogate_in_every_turn_and_after_a_restart(detector: Detector, store):
    first = await mask(said(Text(LETTER)), detector=detector, vault=surrogates_vault(store), session_id="s")
    name = shown_by_type(first)["PERSON"]
    text = "The letter went to Margaret\nHolloway, and then to Holloway: MARGARET HOLLOWAY!"
    second = await mask(said(Text(text)), detector=detector, vault=surrogates_vault(store), session_id="s")
    given_name, surname = name.split()
    masked = second.masked.conversation.last_user_text
    assert masked.endswith(f" went to {given_name}\n{surname}, and then to {surname}: {name.upper()}!")
    other = await mask(said(Text(text)), detector=detector, vault=surrogates_vault(store), session_id="other")
    assert given_name not in other.masked.conversation.last_user_text


async def test_the_kept_state_makes_and_understands_the_same_after_a_restart(detector: Detector, tmp_path: Path):
    masked: list[str] = []
    for _ in range(2):
        with State.open(tmp_path / "state.db", KeyRing(b"k" * 32)) as state:
            vault = Vault(state, Style(TYPES, state.surrogate_seed))
            assert state.surrogate_seed("s") != state.surrogate_seed("other")
            result = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s")
            masked.append(result.masked.conversation.last_user_text)
            assert restore_text(masked[0], await vault.session("s")) == LETTER
    assert masked[0] == masked[1]
    stored = (tmp_path / "state.db").read_bytes()
    assert not [word for word in masked[0].split() if len(word) > 9 and word.encode() in stored]


async def test_a_look_ahead_shows_what_will_be_sent(detector: Detector, store):
    class Unkept:
        def load(self, session_id: str):
            return store.load(session_id)

        def began(self, session_id: str) -> None:
            return None

        def add(self, session_id: str, entries, began: str | None) -> None:
            pass

    seen = await mask(said(Text(LETTER)), detector=detector, vault=Vault(Unkept(), STYLE), session_id="s")
    sent = await mask(said(Text(LETTER)), detector=detector, vault=surrogates_vault(store), session_id="s")
    assert seen.masked == sent.masked


async def test_a_session_goes_on_when_the_setting_changes(detector: Detector, store):
    vault = surrogates_vault(store)
    before = (await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s")).masked
    plain = Vault(store)
    after = (await mask(said(Text(LETTER)), detector=detector, vault=plain, session_id="s")).masked
    assert "<PERSON_1>" in after.conversation.last_user_text
    mapping = await plain.session("s")
    for masked in (before, after):
        assert restore_text(masked.conversation.last_user_text, mapping) == LETTER
    again = (await mask(said(Text(LETTER)), detector=detector, vault=surrogates_vault(store), session_id="s")).masked
    assert again == before


async def test_tool_calls_and_results_in_json(detector: Detector, store):
    arguments = json.dumps({"customer": {"contact": [PLANTED["EMAIL_ADDRESS"], "x"]}, "card": 4111111111111111})
    parts = (ToolCall("call_1", "look_up", arguments), ToolResult("call_1", json.dumps({PLANTED["PERSON"]: LETTER})))
    vault = surrogates_vault(store)
    result = await mask(said(*parts, role="assistant"), detector=detector, vault=vault, session_id="s")
    call, answer = result.masked.conversation.messages[0].parts
    assert isinstance(call, ToolCall)
    assert isinstance(answer, ToolResult)
    wire = call.arguments + answer.content
    assert not [value for value in (*PLANTED.values(), "4111111111111111") if value in wire]
    mapping = await vault.session("s")
    assert json.loads(restore_json(call.arguments, mapping)) == {**json.loads(arguments), "card": "4111111111111111"}
    assert json.loads(restore_json(answer.content, mapping)) == {PLANTED["PERSON"]: LETTER}


async def test_a_surrogate_that_the_user_writes_stays_the_users(detector: Detector, store):
    vault = surrogates_vault(store)
    first = await mask(said(Text(LETTER)), detector=detector, vault=vault, session_id="s")
    surname = shown_by_type(first)["PERSON"].split()[1]
    text = f"Is {surname} or {surname.lower()} a good name?"
    result = await mask(said(Text(text)), detector=detector, vault=vault, session_id="s")
    masked = result.masked.conversation.last_user_text
    assert surname.lower() not in masked.lower()
    assert restore_text(masked, await vault.session("s")) == text


async def test_anonymize_and_restore(detector: Detector, store):
    vault = surrogates_vault(store)
    masked, entities = await anonymize_text(LETTER, detector, vault, "s")
    assert all(str(entity["placeholder"]) in masked for entity in entities)
    assert restore_text(masked.upper(), await vault.session("s")).startswith("DEAR TEAM, MARGARET HOLLOWAY CALLED")


async def test_a_vault_in_which_a_surrogate_stands_for_two_restores_neither(store):
    store.add("s", [MappingEntry("Nora Kestle", "PERSON", "Anna"), MappingEntry("Nora Kestle", "PERSON", "Bob")])
    with pytest.raises(Problem) as caught:
        await Vault(store).session("s")
    assert caught.value.code == "privacy_failed"


def test_the_settings_name_the_types_that_have_one(tmp_path: Path):
    assert Settings.load(tmp_path, {}).privacy.surrogate_types == frozenset()
    assert Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__STYLE": "surrogate"}).privacy.surrogate_types == TYPES
    chosen = Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__SURROGATES": "PERSON,IBAN_CODE"}).privacy
    assert chosen.surrogate_types == {"PERSON", "IBAN_CODE"}
    with pytest.raises(InvalidRequest) as caught:
        Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__SURROGATES": "PERSON,API_KEY"})
    assert caught.value.param == "privacy.surrogates"
    assert "API_KEY" in caught.value.message
    assert "PHONE_NUMBER" in caught.value.message


KNOWN = (
    ("PERSON", "Anna Schmidt"),
    ("PERSON", "Bob"),
    ("PERSON", "A. Schmidt"),
    ("ADDRESS", "12 Schmidt Street"),
    ("EMAIL_ADDRESS", "bob@acme.com"),
    ("CREDIT_CARD", "4111 1111 1111 1111"),
)


def known_mapping() -> SessionMapping:
    mapping = SessionMapping((), Surrogates(b"seed", TYPES))
    for entity, value in KNOWN:
        mapping.stand_in_for(entity, value)
    return mapping


SHOWN = [entry.placeholder for entry in known_mapping().new_entries]
WORDS = sorted({word for shown in SHOWN for word in shown.replace("@", " ").replace(".", " ").split()})
TEXTS = st.lists(
    st.one_of(
        st.sampled_from([value for _, value in KNOWN]),
        st.sampled_from([*SHOWN, *WORDS, *(word.upper() for word in WORDS), *(word[:5] for word in WORDS)]),
        st.sampled_from(
            ["<PERSON_1>", "<", ">", "{", "[", '"', "\\", "\\n", " ", "\n", ". ", "'s", "12 ", "@", "-", "_"]
        ),
        st.sampled_from(["Schmidt", "SCHMIDT", "schmidt", "Anna", "bob", "Street", "12", "4111"]),
        st.text(max_size=4),
    ),
    max_size=10,
).map("".join)
TYPE = st.sampled_from(["PERSON", "EMAIL_ADDRESS", "ADDRESS", "LOCATION", "CREDIT_CARD", "API_KEY", "USERNAME"])


@given(
    text=TEXTS,
    marks=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 20), TYPE, st.floats(0, 1)), max_size=6),
    bewares=st.booleans(),
)
@example(text="12 Anna Schmidt Street", marks=[], bewares=True)
@example(text=f"12 {WORDS[-1]}", marks=[], bewares=False)
def test_masking_then_restoring_gives_back_every_text(text: str, marks, bewares: bool):
    mapping = known_mapping()
    if bewares:
        mapping.surrogates.beware([text])
    spans = [Span(min(at, len(text)), min(at + size, len(text)), kind, score) for at, size, kind, score in marks]
    settled = settle(text, resolve(spans, text), mapping)
    masked, found = replace_spans(text, settled, mapping)
    assert len(found) == len(settled)
    assert restore_text(masked, mapping) == text
    again = SessionMapping([*mapping.new_entries], Surrogates(b"seed", TYPES))
    assert restore_text(masked, again) == text
    anew, _ = replace_spans(text, settle(text, resolve(spans, text), again), again)
    assert restore_text(anew, again) == text
