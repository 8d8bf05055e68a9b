"""A cron expression of five fields as sets of numbers, and what the clocks do to it twice a year.

When a schedule fires is Temporal's decision, not this module's. Here it is read so that mistakes are told with their
field, so that what the server holds can be compared with what is wanted, and so that a time is warned of that a change
of the clocks takes away or brings twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

FIELDS: Final = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PART: Final = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
_LONGEST: Final = timedelta(days=366 * 8 + 1)
"""29 February comes again within eight years."""


@dataclass(frozen=True)
class Cron:
    """When it is due, in local time: it matches if each of its parts does."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""

    @classmethod
    def parse(cls, text: str) -> Cron:
        """``30 2 * * mon-fri``. Raises ValueError: which field is wrong, and what was expected."""
        parts = text.split()
        if len(parts) != len(FIELDS):
            names = ", ".join(name for name, _, _ in FIELDS)
            raise ValueError(f"{text!r} has {len(parts)} fields; expected 5: {names}")
        if parts[2] != "*" and parts[4] != "*":
            # Some crons read it as "or", Temporal as "and": nobody shall have to know.
            raise ValueError("day of month and day of week at once; expected * for one of them")
        read = [_field(part, *field) for part, field in zip(parts, FIELDS, strict=True)]
        cron = cls(*read)
        if next(cron._dates(date(2024, 1, 1), 1), None) is None:
            raise ValueError(f"{text!r} names no day that ever comes")
        return cron

    def _on(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _dates(self, first: date, step_days: int) -> Iterator[date]:
        for number in range(_LONGEST.days):
            day = first + timedelta(days=number * step_days)
            if self._on(day):
                yield day

    def last_due(self, zone: ZoneInfo, before: datetime) -> datetime | None:
        """The last moment (UTC) before this one at which it was due, where local times come once."""
        for day in self._dates(before.astimezone(zone).date() + timedelta(days=1), -1):
            for hour in sorted(self.hours, reverse=True):
                for minute in sorted(self.minutes, reverse=True):
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                    if _comes(local) != 0 and local.replace(fold=1).astimezone(UTC) < before:
                        return local.replace(fold=1).astimezone(UTC)
        return None

    def changes(self, zone: ZoneInfo, after: datetime, days: int = 366) -> Iterator[tuple[datetime, int]]:
        """Local times at which it is due and that do not come once: with 0 (never that day) or 2 (twice)."""
        first = after.astimezone(zone).date()
        for day in (first + timedelta(days=number) for number in range(days)):
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
            next_day = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)
            if midnight.utcoffset() == next_day.utcoffset() or not self._on(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    local = midnight.replace(hour=hour, minute=minute)
                    if (times := _comes(local)) != 1:
                        yield local, times


def _comes(local: datetime) -> int:
    """How often a local time comes: 0, 1 or 2."""
    first, second = local.replace(fold=0), local.replace(fold=1)
    if first.utcoffset() == second.utcoffset():
        return 1
    back = first.astimezone(UTC).astimezone(local.tzinfo)
    return 2 if back.replace(tzinfo=None) == local.replace(tzinfo=None) else 0


def _field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{name}: {part!r} cannot be read; expected *, N, N-M, */N or a list of these")
        step = int(match["step"] or 1)
        if step < 1:
            raise ValueError(f"{name}: a step of {step}; expected 1 or more")
        if match["first"] == "*":
            if match["last"]:
                raise ValueError(f"{name}: {part!r} cannot be read; expected *, N, N-M, */N or a list of these")
            found |= set(range(low, high + 1, step))
            continue
        first = _number(match["first"], name, low, high)
        last = _number(match["last"], name, low, high) if match["last"] else high if match["step"] else first
        if last < first:
            raise ValueError(f"{name}: {part} runs backwards; expected the lower one first")
        found |= {number % 7 if name == "day of week" else number for number in range(first, last + 1, step)}
    return frozenset(found)


def _number(text: str, name: str, low: int, high: int) -> int:
    words = {"day of week": DAYS, "month": _MONTHS}.get(name, ())
    if text in words:
        return words.index(text)
    top = 7 if name == "day of week" else high  # both 0 and 7 are Sunday
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= top:
        named = f", or {words[1]} to {words[-1]}" if words else ""
        raise ValueError(f"{name}: {text}; expected {low} to {high}{named}")
    return int(text)
