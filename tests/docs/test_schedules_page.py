"""The page of schedules says what the code does; its table of the clocks is run on a server in tests/workflow."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.docs.pages import table_under, text_of
from tests.docs.test_runbook_pages import input_rows
from tidegate.model.schedule import Entry, SkipReason
from tidegate.schedules.cron import Cron

PAGE = "runbooks/schedules.md"


def test_the_fields_of_an_entry_are_those_of_the_model() -> None:
    assert table_under(PAGE, "### Entry") == input_rows(Entry)


def test_the_reasons_of_a_skip_are_those_of_the_code() -> None:
    _, _, below = text_of(PAGE).partition("| `TidegateSkipped` | Why |\n| --- | --- |\n")
    told = [line.split("`")[1] for line in below.partition("\n\n")[0].splitlines()]
    assert told == list(SkipReason)


@pytest.mark.parametrize("row", [row for row in table_under(PAGE, "## When the clocks change") if row[0] != "either"])
def test_the_days_on_which_a_time_does_not_come_once_are_those_of_the_time_zone(row: list[str]) -> None:
    zone, due, day, _ = row
    hour, minute = due.split(":")
    found = list(Cron.parse(f"{minute} {hour} * * *").changes(ZoneInfo(zone), datetime(2027, 1, 1, tzinfo=UTC), 364))
    told = {f"{local:%-d %B}": "does not exist" if times == 0 else "comes twice" for local, times in found}
    date, _, what = day.partition(": ")
    assert what == f"{due} {told[date]}"
