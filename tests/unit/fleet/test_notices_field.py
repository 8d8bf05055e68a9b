"""``notices`` of a fleet file: mistakes are told with their place, and an address is never shown."""

from __future__ import annotations

from typing import get_args

import pytest

from tests.unit.fleet.test_fleetfile import SMALL
from tidegate.errors import InvalidInput
from tidegate.model.fleetfile import load_fleet
from tidegate.model.notice import Event, EventName, Severity, SeverityName


def load(notices: str):
    return load_fleet(f"{SMALL}\nnotices:\n{notices}\n").fleet


def test_targets_are_read_and_nothing_of_them_is_shown() -> None:
    fleet = load(
        """
  - {name: hook, kind: webhook, url: {literal: "http://127.0.0.1:8099/x"}, secret: {literal: dev}, events: [halted]}
  - {name: chat, kind: slack, url: {env: SLACK_URL}, min_severity: warning}
  - {name: oncall, kind: pagerduty, routing_key: {file: key}}"""
    )
    assert [target.name for target in fleet.notices] == ["hook", "chat", "oncall"]
    for shown in (repr(fleet.notices), fleet.model_dump_json()):
        assert "8099" not in shown
        assert "dev" not in shown
    assert load_fleet(SMALL).fleet.notices == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{name: a, kind: webhook, url: {env: X}}", "secret: missing; expected for kind webhook"),
        ("{name: a, kind: slack}", "url: missing; expected for kind slack"),
        ("{name: a, kind: slack, url: {env: X}, secret: {env: Y}}", "secret: means nothing for kind slack"),
        ("{name: a, kind: pagerduty}", "routing_key: missing; expected for kind pagerduty"),
        ("{name: a, kind: mail, url: {env: X}}", "webhook, slack or pagerduty"),
        ("{name: a, kind: slack, url: {env: X}, events: [haltet]}", "did you mean halted"),
        ("{name: a, kind: slack, url: {env: X}, events: []}", "empty"),
        ("{name: a, kind: slack, url: {literal: 'https://hooks.example/zzz'}}", "a literal secret for hooks.example"),
        ("{name: a, kind: webhook, url: {env: X}, secret: {literal: zzz}}", "which is not loopback"),
        ("{name: a, kind: pagerduty, routing_key: {literal: zzz}}", "a literal secret for events.pagerduty.com"),
        ("{name: a, kind: slack, url: zzz}", "expected a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_the_secret(line: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load(f"  - {line}")
    assert says in refused.value.message
    assert "notices[0]" in refused.value.message
    assert "zzz" not in refused.value.message


def test_two_targets_have_two_names() -> None:
    line = "  - {name: a, kind: slack, url: {env: X}}\n"
    with pytest.raises(InvalidInput, match=r"a is the name of notices\[0\] too"):
        load(line * 2)


def test_what_a_file_may_name_is_what_there_is() -> None:
    assert set(get_args(EventName)) == {event.value for event in Event} - {"test"}
    assert get_args(SeverityName) == tuple(severity.value for severity in Severity)
