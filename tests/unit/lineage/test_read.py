"""X20, X23: what counts and whose it is, against logs that were written, mirrored and turned at random."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.kit.turned_world import TurnedWorld, worlds
from tidegate.errors import InvalidInput
from tidegate.lineage.model import Excluded, Partition, Segment, TopicLineage, check
from tidegate.lineage.read import HopOver, Place, Stretch, counted, locate, translate_path
from tidegate.lineage.window import window
from tidegate.registry.swap import encode


def read(world: TurnedWorld, stretches: tuple[Stretch, ...]) -> list[int]:
    """The records that a reader of these stretches gets, in order."""
    found = []
    for one in stretches:
        log = world.logs[one.region]
        end = len(log) if one.end is None else one.end
        found += [log[at][0] for at in range(one.first, min(end, len(log))) if log[at] is not None and one.counts(at)]
    return found


@settings(deadline=None)
@given(worlds())
def test_x20_across_the_regions_every_record_counts_once_and_in_order(world: TurnedWorld) -> None:
    assert read(world, counted(world.partition)) == [one for one in world.origin if one not in world.lost]


@settings(deadline=None)
@given(worlds())
def test_x23_one_regions_log_without_what_is_excluded_holds_each_record_once(world: TurnedWorld) -> None:
    """As far as the mirror has come: the tail of a region that was lost is left out by its exclusion."""
    true = [one for one in world.origin if one not in world.lost]
    for region in world.logs:
        got = read(world, counted(world.partition, region))
        assert got == true[: len(got)]
        if region == world.home:
            assert got == true


@settings(deadline=None)
@given(worlds())
def test_x20_every_offset_belongs_to_the_segment_that_wrote_it(world: TurnedWorld) -> None:
    for region, log in world.logs.items():
        for offset, entry in enumerate(log):
            if entry is None or entry[0] in world.lost:
                continue
            place = locate(world.partition, region, offset)
            assert place.native == (entry[1] is None)
            assert world.origin[entry[0]] in {one.region for one in place.segments}


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_x20_a_position_is_found_in_its_segments_window_and_none_is_jumped(world: TurnedWorld) -> None:
    """As ``carry`` goes by it: by the hop of what the target holds, or of what the source got from the target."""
    for source, target in (("east", "west"), ("west", "east")):
        for offset in range(len(world.logs[source]) + 1):
            assert_right(world, source, target, offset, carried(world, source, target, offset))


def carried(world: TurnedWorld, source: str, target: str, offset: int) -> int:
    where = window(world.partition, source, target, offset)
    if where.came_from_target:
        end = where.source_end if where.source_end is not None else offset
        for entry in world.logs[source][offset:end]:
            if entry is not None and entry[1] is not None and entry[1][0] == target:
                return entry[1][1]
        return where.high if where.high is not None else where.low
    log = world.logs[target]
    high = len(log) if where.high is None else min(where.high, len(log))
    behind = where.low
    for at in range(where.low, high):
        entry = log[at]
        if entry is None or entry[1] is None or entry[1][0] != source:
            continue
        if entry[1][1] >= offset:
            return at
        behind = at + 1
    return behind


def assert_right(world: TurnedWorld, source: str, target: str, offset: int, found: int) -> None:
    """What stands in the target before the place was read in the source; what comes behind it was not."""
    known = {entry[0] for entry in world.logs[source][:offset] if entry is not None}
    jumped = [e[0] for e in world.logs[target][:found] if e is not None and e[0] not in known | world.lost]
    assert jumped == [], f"{source} {offset} -> {target} {found}: {jumped} would be jumped"
    segments = [one for one in world.partition.segments if one.region == source]
    beyond = not segments or (segments[-1].end is not None and offset > segments[-1].end)
    again = [e[0] for e in world.logs[target][found:] if e is not None and e[0] in known - world.lost]
    assert beyond or again == [], f"{source} {offset} -> {target} {found}: {again} would come again"


def test_x21_the_java_reader_is_tested_with_what_is_written_here() -> None:
    text = (Path(__file__).parents[3] / "readers/java/src/test/resources/lineage.json").read_bytes()
    lineage = check(TopicLineage.model_validate_json(text))
    assert encode(lineage) == text
    mirrored, native = counted(lineage.partitions["0"], "west")
    assert mirrored.without == ((20, 24), (26, 26))
    assert (native.first, native.without) == (30, ())


THREE = Partition(
    segments=(
        Segment(turn=0, region="east", first=0, end=10, cut=8),
        Segment(turn=1, region="west", first=8, end=20, cut=15),
        Segment(turn=2, region="north", first=15, end=30, cut=40),
        Segment(turn=3, region="east", first=40),
    ),
    excluded=(
        Excluded(region="east", first=10, last=12, why="tail", by="o"),
        Excluded(region="east", first=12, last=14, why="superseded", by="o"),
        Excluded(region="west", first=3, last=9, why="superseded", by="o"),
    ),
)


def test_x20_the_log_of_a_region_that_was_left_twice() -> None:
    assert counted(THREE, "east") == (
        Stretch("east", 0, 10, ("east",)),
        Stretch("east", 10, 40, ("west", "north"), ((10, 14),)),
        Stretch("east", 40, None, ("east",)),
    )
    assert counted(THREE)[1] == Stretch("west", 8, 20, ("west",), ((8, 9),))
    assert counted(THREE, "north")[0] == Stretch("north", 0, 15, ("east", "west"))
    assert locate(THREE, "east", 33) == Place(THREE.segments[1:3], native=False)
    assert locate(THREE, "north", 15) == Place(THREE.segments[2:3], native=True)
    assert locate(THREE, "west", 25) == Place(THREE.segments[2:], native=False)


def test_x20_over_which_regions_a_position_is_carried() -> None:
    assert translate_path(THREE, "east", 0, "east") == ()
    assert translate_path(THREE, "east", 0, "west") == (HopOver("east", "west", 0),)
    assert translate_path(THREE, "east", 0, "north") == (HopOver("east", "west", 0), HopOver("west", "north", 1))
    assert translate_path(THREE, "north", 2, "west") == (HopOver("north", "west", 2),)
    assert translate_path(THREE, "west", 1, "east") == (HopOver("west", "east", 1),)
    with pytest.raises(InvalidInput, match="south has never had the topic"):
        translate_path(THREE, "west", 1, "south")
    with pytest.raises(InvalidInput, match="turn 1 has no segment of east"):
        translate_path(THREE, "east", 1, "west")


def test_x20_an_end_that_nobody_knows() -> None:
    lost = Partition(
        segments=(Segment(turn=0, region="east", first=0, cut=8), Segment(turn=1, region="west", first=8)),
    )
    assert counted(lost) == (Stretch("east", 0, None, ("east",)), Stretch("west", 8, None, ("west",)))
    assert counted(lost, "east") == (Stretch("east", 0, None, ("east", "west")),)
    assert locate(lost, "east", 99) == Place(lost.segments[:1], native=True)
    with pytest.raises(InvalidInput, match="belongs to no segment"):
        locate(Partition(segments=(Segment(turn=0, region="east", first=5),)), "east", 1)
