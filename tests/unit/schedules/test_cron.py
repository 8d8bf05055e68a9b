"""The five fields as sets, and what the clocks do to them; that the server does the same is in tests/workflow."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.kit.scheduled import entry
from tidegate.schedules.cron import Cron
from tidegate.schedules.diff import clock_notes

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


def test_lists_ranges_steps_and_names() -> None:
    cron = Cron.parse("*/20 1-3,22 * jan,dec mon-fri")
    assert sorted(cron.minutes) == [0, 20, 40]
    assert sorted(cron.hours) == [1, 2, 3, 22]
    assert sorted(cron.months) == [1, 12]
    assert sorted(cron.weekdays) == [1, 2, 3, 4, 5]
    assert Cron.parse("0 0 * * 7").weekdays == Cron.parse("0 0 * * sun").weekdays == {0}
    assert sorted(Cron.parse("5/20 0 * * *").minutes) == [5, 25, 45]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x 1 * * *", "minute: x; expected 0 to 59"),
        ("1 24 * * *", "hour: 24; expected 0 to 23"),
        ("1 1 0 * *", "day of month: 0"),
        ("1 1 * 13 *", "month: 13; expected 1 to 12, or jan to dec"),
        ("1 1 * * 8", "day of week: 8; expected 0 to 6, or mon to sat"),
        ("5-1 1 * * *", "runs backwards"),
        ("*/0 1 * * *", "a step of 0"),
        ("*-5 1 * * *", "cannot be read"),
        ("@daily", "has 1 fields"),
    ],
)
def test_a_mistake_names_its_field(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("*", r"\*")):
        Cron.parse(text)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("30 2 * * *", BERLIN, [("2027-03-28 02:30", 0), ("2027-10-31 02:30", 2)]),
        ("30 2 * * *", NEW_YORK, [("2027-03-14 02:30", 0)]),
        ("30 1 * * *", NEW_YORK, [("2027-11-07 01:30", 2)]),
        ("30 4 * * *", BERLIN, []),
        ("30 2 * * mon", BERLIN, []),  # the clocks change on Sundays
        ("30 2 * * *", ZoneInfo("Asia/Tokyo"), []),
    ],
)
def test_times_that_the_clocks_take_or_double_are_known(
    text: str, zone: ZoneInfo, expected: list[tuple[str, int]]
) -> None:
    found = [(f"{local:%Y-%m-%d %H:%M}", times) for local, times in Cron.parse(text).changes(zone, NEW_YEAR, 364)]
    assert found == expected


def test_a_plan_warns_of_them() -> None:
    told = clock_notes(entry(), NEW_YEAR)
    assert told == [
        "2027-03-28 02:30 does not exist in Europe/Berlin: it does not fire at that time",
        "2027-10-31 02:30 comes twice in Europe/Berlin: it may fire only the second time",
    ]
    assert "fires both times" in clock_notes(entry(cron="30 1 * * *", time_zone="America/New_York"), NEW_YEAR)[0]


def test_the_last_time_at_which_it_was_due() -> None:
    cron = Cron.parse("30 2 * * *")
    assert cron.last_due(BERLIN, datetime(2027, 3, 28, 12, tzinfo=UTC)) == datetime(2027, 3, 27, 1, 30, tzinfo=UTC)
    assert cron.last_due(BERLIN, datetime(2027, 3, 29, 12, tzinfo=UTC)) == datetime(2027, 3, 29, 0, 30, tzinfo=UTC)
    assert cron.last_due(BERLIN, datetime(2027, 10, 31, 1, 0, tzinfo=UTC)) == datetime(2027, 10, 30, 0, 30, tzinfo=UTC)
    leap = Cron.parse("0 0 29 2 *").last_due(BERLIN, datetime(2027, 1, 1, tzinfo=UTC))
    assert leap == datetime(2024, 2, 28, 23, 0, tzinfo=UTC)
