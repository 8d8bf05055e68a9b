"""What of a region fits into the other one, and which of its deployments must move together."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidegate.errors import Refused
from tidegate.failover.room import families_of, make_room, room_left, units_of
from tidegate.model.failover import Answers, Topics
from tidegate.model.record import Holder
from tidegate.model.region import Family, GroupSeen, Member, Other

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOLDER = Holder(
    operation="failover-region-east-1",
    run_id="r",
    runbook="FailoverRegion",
    cluster_id="c",
    namespace="default",
    who="ana",
    why="",
    since=AT,
)


def seen(free: int, members: dict[str, tuple[int, int]], *families: str, others: tuple[Other, ...] = ()) -> GroupSeen:
    """``members``: tier and parallelism by name; ``families``: names with blanks between."""
    return GroupSeen(
        at=AT,
        fleet_digest="f" * 64,
        holder=HOLDER,
        home=Answers(region="east"),
        standby=Answers(region="west"),
        members=tuple(
            Member(deployment=name, tier=tier, parallelism=slots, home="east/c", at="west/c")
            for name, (tier, slots) in members.items()
        ),
        families=tuple(
            Family(members=tuple(family.split()), topics=Topics(turn=("t",))) for family in families or members
        ),
        others=others,
        slots_free=free,
        slots_total=8,
    )


THREE = {"a": (0, 2), "b": (1, 2), "c": (2, 2)}


def test_all_go_where_there_is_room_for_all() -> None:
    room = make_room(seen(6, THREE), "wait", unplanned=False)
    assert (room.goes, room.waits, room.needed) == (("a", "b", "c"), (), 6)


def test_what_does_not_fit_waits_and_nobody_of_a_lower_tier_overtakes_it() -> None:
    room = make_room(seen(5, {"a": (0, 2), "b": (1, 4), "c": (2, 1)}), "wait", unplanned=False)
    assert (room.goes, room.waits) == (("a",), ("b", "c"))


def test_of_the_same_tier_one_that_fits_goes() -> None:
    room = make_room(seen(3, {"a": (1, 4), "b": (1, 2)}), "wait", unplanned=False)
    assert (room.goes, room.waits) == (("b",), ("a",))


def test_x18_a_family_waits_as_a_whole_where_its_links_must_be_drained_together() -> None:
    members = {"a": (0, 2), "b": (1, 2), "c": (2, 2)}
    assert make_room(seen(5, members, "a c", "b"), "wait", unplanned=False).goes == ("a", "c")
    assert make_room(seen(3, members, "b", "a c"), "wait", unplanned=True).goes == ("a",)


def test_nothing_fits_is_refused_and_says_who_needs_what() -> None:
    with pytest.raises(Refused, match=r"1 of 8 slots are free, and 6 are needed \(a 2, b 2, c 2\)") as refused:
        make_room(seen(1, THREE), "wait", unplanned=False)
    assert "--room lower" in (refused.value.hint or "")


def test_lower_takes_from_the_least_important_first() -> None:
    room = make_room(seen(4, THREE), "lower", unplanned=False)
    assert room.goes == ("a", "b", "c")
    assert room.parallelism == {"b": 1, "c": 1}


def test_lower_keeps_all_as_they_are_where_all_fit() -> None:
    assert make_room(seen(6, THREE), "lower", unplanned=False).parallelism == {}


def test_lower_has_them_wait_for_whom_not_even_one_slot_is_left() -> None:
    room = make_room(seen(2, THREE), "lower", unplanned=True)
    assert (room.goes, room.waits) == (("a", "b"), ("c",))
    assert room.parallelism == {"a": 1, "b": 1, "c": 1}


def test_shed_stops_the_least_important_until_the_slots_are_there() -> None:
    others = (Other(deployment="x", tier=3, parallelism=2), Other(deployment="y", tier=4, parallelism=1))
    room = make_room(seen(4, THREE, others=others), "shed", unplanned=False)
    assert (room.shed, room.goes, room.waits) == (("y", "x"), ("a", "b", "c"), ())


def test_shed_never_stops_what_matters_as_much_as_what_comes() -> None:
    others = (Other(deployment="x", tier=2, parallelism=2),)
    room = make_room(seen(4, THREE, others=others), "shed", unplanned=False)
    assert (room.shed, room.waits) == ((), ("c",))


def test_where_one_that_was_to_give_way_runs_on_those_wait_for_whom_it_was() -> None:
    others = (Other(deployment="x", tier=3, parallelism=2), Other(deployment="y", tier=4, parallelism=2))
    looked = seen(2, THREE, others=others)
    room = make_room(looked, "shed", unplanned=False)
    assert (room.shed, room.goes) == (("y", "x"), ("a", "b", "c"))
    left = room_left(looked, room, ("y",), unplanned=False)
    assert (left.shed, left.goes, left.waits) == (("y", "x"), ("a", "b"), ("c",))
    none = seen(0, {"a": (0, 2)}, others=others)
    left = room_left(none, make_room(none, "shed", unplanned=False), (), unplanned=False)
    assert (left.goes, left.waits, left.needed) == ((), ("a",), 2)


def test_families_are_those_that_share_a_link_or_a_topic_also_by_way_of_another() -> None:
    tiers = {"a": 1, "b": 0, "c": 2, "d": 0}
    shared = [frozenset({"a", "c"}), frozenset({"c", "b"}), frozenset({"d"})]
    assert families_of(("a", "b", "c", "d"), shared, tiers) == [("b", "a", "c"), ("d",)]


def test_planned_families_are_the_units_unplanned_each_deployment_is_one() -> None:
    looked = seen(6, THREE, "c", "a b")
    assert units_of(looked.members, looked.families, unplanned=False) == [("a", "b"), ("c",)]
    assert units_of(looked.members, looked.families, unplanned=True) == [("a",), ("b",), ("c",)]
