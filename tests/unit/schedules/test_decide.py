"""Whether a run that is due begins: days and hours are those of the entry's zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.kit.scheduled import entry
from tidegate.model.schedule import SkipReason
from tidegate.schedules.decide import by_calendar, by_world


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


FREEZE: dict[str, Any] = {"freezes": [{"first": "2026-12-20", "last": "2026-12-31", "why": "year end"}]}


@pytest.mark.parametrize(
    ("at", "frozen"),
    [
        ("2026-12-19T22:59:59", False),
        ("2026-12-19T23:00:00", True),  # the 20th has begun in Berlin
        ("2026-12-31T22:59:59", True),
        ("2026-12-31T23:00:00", False),  # the new year, in Berlin
    ],
)
def test_a_freeze_is_of_days_in_the_zone_both_included(at: str, frozen: bool) -> None:
    skip = by_calendar(entry(**FREEZE), _at(at))
    assert (skip is not None) is frozen
    if skip:
        assert (skip.reason, skip.why) == (SkipReason.FREEZE, "frozen 2026-12-20 to 2026-12-31: year end")


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        ("2026-11-30T00:59:59", False),  # 01:59 in Berlin
        ("2026-11-30T01:00:00", True),  # Monday, 02:00
        ("2026-11-30T03:59:59", True),
        ("2026-11-30T04:00:00", False),  # 05:00 is not included
        ("2026-12-01T01:00:00", False),  # Tuesday
        ("2026-07-06T00:00:00", True),  # summer: 02:00 is midnight UTC
    ],
)
def test_a_window_is_of_hours_in_the_zone(at: str, inside: bool) -> None:
    skip = by_calendar(entry(windows=[{"days": ["mon"], "start": "02:00", "end": "05:00"}]), _at(at))
    assert (skip is None) is inside
    if skip:
        assert skip.reason is SkipReason.OUTSIDE_WINDOW
        assert "Europe/Berlin" in skip.why
        assert "mon 02:00 to 05:00" in skip.why


def test_the_day_ends_at_24() -> None:
    late = entry(windows=[{"start": "22:00", "end": "24:00"}])
    assert by_calendar(late, _at("2026-11-30T22:59:00")) is None
    assert by_calendar(late, _at("2026-11-30T23:00:00")) is not None


def test_an_incident_counts_only_if_the_entry_says_so() -> None:
    skip = by_world(entry(), ["inc-2", "inc-1"], [])
    assert skip is not None
    assert (skip.reason, skip.why) == (SkipReason.INCIDENT_OPEN, "open: inc-1, inc-2")
    assert by_world(entry(skip_if=[]), ["inc-1"], []) is None
