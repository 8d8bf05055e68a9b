"""Which drill of a region begins when: order, slots and time, as a property over any region."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.drill.queue import ASSUMED_S, Limits, Queue, forecast, in_order, largest_first
from tidegate.model.regiondrill import CellRoom, DrillCandidate

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def one(name: str, tier: int = 1, slots: int = 1, at: str = "west/cell-1", **fields: Any) -> DrillCandidate:
    return DrillCandidate(deployment=name, tier=tier, parallelism=slots, at=at, **fields)


def room(free: int, keep: int = 0, at: str = "west/cell-1") -> CellRoom:
    return CellRoom(at=at, slots_free=free, slots_total=16, keep=keep, keep_for="top" if keep else "")


def queue(candidates: list[DrillCandidate], *cells: CellRoom, slots: int | None = None, budget_s: float = 1e6) -> Queue:
    limits = Limits.of(cells or (room(4),), slots)
    return Queue(in_order(candidates), limits, window_s=20.0, budget_s=budget_s)


def names(found: list[DrillCandidate]) -> list[str]:
    return [candidate.deployment for candidate in found]


def test_by_tier_then_what_was_never_proven_then_what_was_proven_longest_ago() -> None:
    days = {"fresh": 1, "old": 30, "b-never": None, "a-never": None}
    found = [one(name, proven_at=None if age is None else NOW - timedelta(days=age)) for name, age in days.items()]
    found += [one("top", tier=0, proven_at=NOW), one("low", tier=2)]
    assert names(list(in_order(found))) == ["top", "a-never", "b-never", "old", "fresh", "low"]


def test_over_several_nights_all_are_drilled_though_a_night_is_too_short() -> None:
    """Each night has time for two; what was drilled has a newer proof and comes last in the next."""
    proven: dict[str, datetime] = {}
    for night in range(3):
        found = [one(name, proven_at=proven.get(name), besides_s=80.0) for name in "abcdef"]
        told = forecast(lambda found=found: queue(found, slots=1, budget_s=200.0))  # type: ignore[misc]
        assert len(told.begins_s) == 2
        proven |= dict.fromkeys(told.begins_s, NOW + timedelta(days=night))
    assert set(proven) == set("abcdef")


def test_the_slots_of_the_largest_of_the_highest_tier_stay_free() -> None:
    found = [one("a", tier=1, slots=8), one("b", tier=0, slots=2), one("c", tier=0, slots=3)]
    first = largest_first(found)
    assert first is not None
    assert first.deployment == "c"
    assert largest_first([]) is None
    limits = Limits.of((room(8, keep=3),), None)
    assert (limits.total, limits.usable("west/cell-1"), limits.kept) == (5, 5, "3 in west/cell-1 for top")
    asked = Limits.of((room(8, keep=3),), 8)
    assert (asked.total, asked.kept) == (8, ""), "a person's word keeps nothing free"
    assert Limits.of((room(8),), 20).total == 8, "nor makes slots"


def test_what_never_fits_is_named_with_what_it_needs_and_what_there_is() -> None:
    big = one("big", slots=6)
    assert queue([big], room(8, keep=3)).not_drilled == {
        "big": "no room: it needs 6 slots, 8 of 16 are free in west/cell-1, 3 of these must stay free for top"
    }
    assert queue([big], room(8), slots=4).not_drilled == {
        "big": "no room: it needs 6 slots, 8 of 16 are free in west/cell-1, and 4 may be used at once"
    }
    assert queue([big], room(2)).not_drilled == {"big": "no room: it needs 6 slots, 2 of 16 are free in west/cell-1"}
    lost = one("lost", at="", against="west has 2 cells, and none is called cell-1")
    assert queue([lost]).not_drilled == {"lost": "west has 2 cells, and none is called cell-1"}


def test_nobody_overtakes_in_a_cell_and_another_cell_goes_on() -> None:
    found = [one("a", slots=3), one("b", slots=2), one("c"), one("d", at="west/cell-2")]
    running = queue(found, room(4), room(4, at="west/cell-2"))
    assert names(running.due(0.0)) == ["a", "d"], "c would fit, and b, which needs more, would wait for ever"
    running.ended("a")
    assert names(running.due(1.0)) == ["b", "c"]
    # Short of the slots of all cells together, nobody goes.
    short = queue(found, room(4), room(4, at="west/cell-2"), slots=3)
    assert names(short.due(0.0)) == ["a"]
    short.ended("a")
    assert names(short.due(1.0)) == ["b", "c"]


def test_it_takes_as_long_as_its_last_one_else_as_the_others_in_the_middle() -> None:
    """One that is slow does not keep what is new, and of which nothing is known, from being drilled."""
    known = queue([one("a", besides_s=7_000.0), one("b", besides_s=40.0), one("c", besides_s=60.0), one("d")])
    assert [known.estimate_s(candidate) for candidate in known.waiting] == [7_020.0, 60.0, 80.0, 80.0]
    unknown = queue([one("a"), one("b")])
    assert unknown.estimate_s(unknown.waiting[0]) == ASSUMED_S + 20.0
    begun = unknown.due(0.0)
    unknown.ended("a", 55.0)
    assert unknown.estimate_s(begun[1]) == 55.0, "by what it has seen meanwhile"


def test_none_is_begun_that_could_not_end_in_time_and_a_shorter_one_behind_it_is() -> None:
    found = [one("a", tier=0, besides_s=100.0), one("b", tier=1, besides_s=60.0), one("c", tier=2, besides_s=30.0)]
    running = queue(found, slots=1, budget_s=180.0)
    assert names(running.due(0.0)) == ["a"]
    running.ended("a", 120.0)
    assert names(running.due(120.0)) == ["c"]
    assert running.not_drilled == {"b": "no time: it takes about 80 s by its last one, and 60 s of 180 s were left"}


def test_given_up_all_that_wait_are_named_and_what_runs_is_not_touched() -> None:
    running = queue([one("a"), one("b"), one("c")], slots=2)
    running.due(0.0)
    running.give_up("not begun: aborted by bob")
    assert running.not_drilled == {"c": "not begun: aborted by bob"}
    assert set(running.running) == {"a", "b"}
    running.ended("a")
    assert running.due(1.0) == []


CELLS = ("west/cell-1", "west/cell-2")
candidates = st.lists(
    st.builds(
        lambda tier, slots, at, took: {"tier": tier, "slots": slots, "at": at, "besides_s": took},
        st.integers(0, 3),
        st.integers(1, 6),
        st.sampled_from(CELLS),
        st.one_of(st.none(), st.floats(1.0, 500.0)),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(
    found=candidates,
    free=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    keep=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    slots=st.one_of(st.none(), st.integers(1, 10)),
    budget_s=st.floats(1.0, 2_000.0),
)
def test_never_too_many_slots_never_beyond_the_budget_and_nobody_is_forgotten(
    found: list[dict[str, Any]], free: tuple[int, int], keep: tuple[int, int], slots: int | None, budget_s: float
) -> None:
    every = [one(f"d{number}", **fields) for number, fields in enumerate(found)]
    cells = [room(*pair, at=at) for at, pair in zip(CELLS, zip(free, keep, strict=True), strict=True)]
    told = forecast(lambda: queue(every, *cells, slots=slots, budget_s=budget_s))
    assert set(told.begins_s) | set(told.not_drilled) == {candidate.deployment for candidate in every}
    assert not set(told.begins_s) & set(told.not_drilled)
    assert all(why for why in told.not_drilled.values())
    assert told.ends_s <= budget_s
    of = {candidate.deployment: candidate for candidate in every}
    for at_s in told.begins_s.values():
        running = [of[name] for name, at in told.begins_s.items() if at <= at_s < at + told.takes_s[name]]
        used = sum(candidate.parallelism for candidate in running)
        assert used <= told.at_once <= (sum(free) if slots is None else slots)
        for cell in cells:
            there = sum(candidate.parallelism for candidate in running if candidate.at == cell.at)
            assert there <= max(0, cell.slots_free - (cell.keep if slots is None else 0))
