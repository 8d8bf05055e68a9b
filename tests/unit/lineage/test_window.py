"""X20: where in one region's log a position of the other lies, by the segments of a topic that was turned."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tidegate.lineage.model import Partition, Segment
from tidegate.lineage.window import Window, window


def _partition(*segments: tuple[str, int, int | None, int | None]) -> Partition:
    """Region, first, end, cut; numbered by turns."""
    return Partition(
        segments=tuple(
            Segment(turn=turn, region=region, first=first, end=end, cut=cut)
            for turn, (region, first, end, cut) in enumerate(segments)
        )
    )


NEVER = _partition(("east", 0, None, None))
ONCE = _partition(("east", 0, 100, 120), ("west", 120, None, None))
"""Turned to the west: what came of the east ends at 120 there."""
TWICE = _partition(("east", 0, 100, 120), ("west", 120, 150, 140), ("east", 140, None, None))
"""And back: what the west wrote lies in the east from 100 to 140."""
THRICE = _partition(("east", 0, 100, 120), ("west", 120, 150, 140), ("east", 140, 200, 215), ("west", 215, None, None))


@pytest.mark.parametrize("known", [None, Partition(segments=())])
def test_a_topic_without_a_lineage_is_searched_from_end_to_end(known: Partition | None):
    assert window(known, "east", "west", 5) == Window(0, None, 0, None)


def test_never_turned_it_is_searched_from_end_to_end():
    assert window(NEVER, "east", "west", 50) == Window(0, None, 0, None)


@pytest.mark.parametrize("offset", [0, 50, 99, 100, 130])
def test_turned_once_the_old_regions_positions_lie_before_the_cut(offset: int):
    """Behind its end, too: that is tail, and nothing of it is there (X23)."""
    assert window(ONCE, "east", "west", offset) == Window(0, 120, 0, 100)


@pytest.mark.parametrize("offset", [120, 125])
def test_turned_once_the_new_regions_positions_lie_behind_the_old_ones_end(offset: int):
    assert window(ONCE, "west", "east", offset) == Window(100, None, 120, None)


@pytest.mark.parametrize("offset", [0, 119])
def test_what_stands_in_the_new_regions_log_of_the_old_one_is_found_by_its_hops(offset: int):
    assert window(ONCE, "west", "east", offset) == Window(0, 100, 0, 120, came_from_target=True)


@pytest.mark.parametrize(
    ("source", "target", "offset", "where"),
    [
        ("east", "west", 99, Window(0, 120, 0, 100)),
        ("east", "west", 120, Window(120, 150, 0, 140, came_from_target=True)),
        ("east", "west", 140, Window(150, None, 140, None)),
        ("east", "west", 190, Window(150, None, 140, None)),
        ("west", "east", 130, Window(100, 140, 120, 150)),
        ("west", "east", 60, Window(0, 100, 0, 120, came_from_target=True)),
        ("west", "east", 170, Window(100, 140, 120, 150)),
    ],
)
def test_turned_twice_each_position_is_searched_in_its_own_segment(
    source: str, target: str, offset: int, where: Window
):
    assert window(TWICE, source, target, offset) == where


@pytest.mark.parametrize(
    ("source", "target", "offset", "where"),
    [
        ("east", "west", 150, Window(150, 215, 140, 200)),
        ("east", "west", 230, Window(150, 215, 140, 200)),
        ("west", "east", 160, Window(140, 200, 0, 215, came_from_target=True)),
        ("west", "east", 215, Window(200, None, 215, None)),
        ("west", "east", 149, Window(100, 140, 120, 150)),
    ],
)
def test_turned_thrice_too(source: str, target: str, offset: int, where: Window):
    assert window(THRICE, source, target, offset) == where


def test_an_end_that_nobody_could_say_ends_the_search_at_the_cut():
    lost = _partition(("east", 0, None, 120), ("west", 120, None, None))
    assert window(lost, "east", "west", 500) == Window(0, 120, 0, None)


def test_the_windows_of_one_region_do_not_overlap():
    """Each offset of the target belongs to one segment of the source."""
    for source, target in (("east", "west"), ("west", "east")):
        windows = [window(THRICE, source, target, offset) for offset in range(260)]
        found = {(one.low, one.high) for one in windows if not one.came_from_target}
        spans = sorted(found)
        for (_, high), (low, _) in pairwise(spans):
            assert high is not None
            assert high <= low
