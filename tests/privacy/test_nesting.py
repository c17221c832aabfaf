"""What is put into a JSON string, or into one inside another, is escaped for all of them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.nesting import Nesting
from edge_agent.privacy.restore import restore_text
from tests.privacy.restored_json import restore_json

MAPPING = SessionMapping(
    [
        MappingEntry("<PERSON_1>", "PERSON", "Anna Müller"),
        MappingEntry("<PERSON_2>", "PERSON", 'Peter "Pit" O\\Neil\n<PERSON_1>'),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=6,
)


def test_a_value_in_a_document_inside_a_document_is_escaped_for_both():
    value = MAPPING.value_of("<PERSON_2>")
    source = json.dumps(
        {"a": json.dumps({"b": json.dumps(["<PERSON_2>"])}), "c": "{not} <PERSON_2>", "d": '"<PERSON_2>"'}
    )
    for restored_source in (restore_json(source, MAPPING), restore_text(source, MAPPING)):
        document = json.loads(restored_source)
        assert json.loads(json.loads(document["a"])["b"]) == [value]
        assert document["c"] == f"{{not}} {value}"
        assert document["d"] == f'"{value}"'


def test_a_backslash_before_a_placeholder_stays_in_a_document():
    for path in ("C:\\<PERSON_1>\\x", "\\\\<PERSON_1>", "\n<PERSON_1>"):
        source = json.dumps({"path": path}).replace("<", "\\u003c").replace(">", "\\u003e")
        for written in (source, json.dumps({"path": path})):
            assert json.loads(restore_json(written, MAPPING)) == {"path": path.replace("<PERSON_1>", "Anna Müller")}


def test_prose_is_no_document():
    text = '["<PERSON_2>"] is a list, {"a": 1} is an object: "<PERSON_2>"'
    assert restore_text(text, MAPPING).endswith('"Peter "Pit" O\\Neil\n<PERSON_1>"')


def test_what_begins_as_a_document_and_is_none_is_prose():
    source = json.dumps({"a": '[["x\n<PERSON_2>"]]', "b": '[1] "<PERSON_2>"', "c": "[note] <PERSON_2>"})
    value = MAPPING.value_of("<PERSON_2>")
    assert json.loads(restore_json(source, MAPPING)) == {
        "a": f'[["x\n{value}"]]',
        "b": f'[1] "{value}"',
        "c": f"[note] {value}",
    }


@given(before=st.lists(JSON, max_size=2), levels=st.integers(1, 4), ascii_only=st.booleans(), cut=st.integers(1, 40))
def test_the_depth_of_any_place_in_any_document_is_known(before, levels: int, ascii_only: bool, cut: int):
    """A mark is put at a known depth into a document of any other content, which is read in pieces."""
    document = "@"
    for _ in range(levels):
        document = json.dumps([*before, {"key": document}], ensure_ascii=ascii_only)
    place = document.index("@")
    if any("@" in json.dumps(value) for value in before):
        return
    nesting = Nesting()
    for start in range(0, place, cut):
        nesting.feed(document[start : min(start + cut, place)])
    assert nesting.depth == levels
    assert not nesting.in_escape
    nesting.feed(document[place:])
    assert nesting.depth == 0
