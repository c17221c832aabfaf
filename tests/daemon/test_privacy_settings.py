"""Where text may go, how long masking may take and which clock is believed: as set, and told where set wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.composition import preferences
from edge_agent.settings import Settings


def test_nothing_set_means_any_region_a_minute_and_a_checked_clock(tmp_path: Path) -> None:
    privacy = Settings.load(tmp_path, {}).privacy
    assert (privacy.residency, privacy.timeout_s, privacy.clock) == ((), 60, "checked")


def test_regions_in_the_environment_are_separated_by_commas(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__RESIDENCY": "eu,ch"})
    assert settings.privacy.residency == ("eu", "ch")


@pytest.mark.parametrize("said", ["", "eu,", " "])
def test_an_empty_region_in_the_environment_does_not_allow_all(tmp_path: Path, said: str) -> None:
    (tmp_path / "config.toml").write_text('[privacy]\nresidency = ["eu"]\n')
    with pytest.raises(InvalidRequest, match="a region has no name"):
        Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__RESIDENCY": said})


def test_an_unset_variable_does_not_let_everything_leave(tmp_path: Path) -> None:
    said = Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__NEVER_LEAVE": ""}).privacy
    with pytest.raises(InvalidRequest, match="never_leave"):
        preferences(said)
    assert Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__NEVER_LEAVE": "[]"}).privacy.never_leave == ()


def test_models_in_the_environment_are_separated_by_commas(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__MODELS": "edge-pii-int8,another"})
    assert settings.privacy.models == ("edge-pii-int8", "another")


def test_a_list_in_the_environment_may_be_written_as_in_the_file(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__DENY": '["Zorbax", { text = "F-1", type = "PROJECT" }]'})
    assert [entry if isinstance(entry, str) else entry.text for entry in settings.privacy.deny] == ["Zorbax", "F-1"]
    with pytest.raises(InvalidRequest, match=r"privacy\.deny"):
        Settings.load(tmp_path, {"EDGE_AGENT_PRIVACY__DENY": '["Zorbax"'})


@pytest.mark.parametrize(
    ("config", "key", "says"),
    [
        ('residency = ["eu", " "]', "privacy.residency", "a region has no name"),
        ('residency = "eu"', "privacy.residency", "tuple"),
        ("timeout_s = 0", "privacy.timeout_s", "greater than 0"),
        ("timeout_s = true", "privacy.timeout_s", "a number"),
        ('clock = "ignored"', "privacy.clock", "trusted"),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, config: str, key: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(f"[privacy]\n{config}\n")
    with pytest.raises(InvalidRequest, match=says) as caught:
        Settings.load(tmp_path, {})
    assert caught.value.param == key
