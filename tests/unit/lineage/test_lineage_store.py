"""X20, O1 to O3, O8: a topic's lineage against crashes, doubled and late calls, and other operations."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.kit.objects import MemoryStore
from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.errors import Held, InvalidInput, Refused, Superseded, Unavailable
from tidegate.lineage.model import Excluded, Former, Gate, TopicLineage, check
from tidegate.lineage.store import LineageStore

TOPIC = "payments"
KEY = S3Uri("control", names.lineage_key(TOPIC))
A, B = "failover-ledger-1/run-a", "failover-ledger-2/run-b"
GONE = Excluded(region="east", first=40, last=44, why="superseded (X21)", by=A)

Step = Callable[[LineageStore], Awaitable[TopicLineage | None]]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def control() -> MemoryStore:
    return MemoryStore("control")


@pytest.fixture
def store(control: MemoryStore) -> LineageStore:
    return LineageStore(control, "control", control_wait_s=0.3)


def begin(store: LineageStore):
    return store.begin(TOPIC, "east", {0: 0, 1: 7})


def close(operation: str = A, **how: bool) -> Step:
    return lambda store: store.close(TOPIC, operation, **how)


def turn(operation: str = A, target: str = "west", *, planned: bool = True, end: int = 50, cut: int = 30) -> Step:
    return lambda store: store.turn(
        TOPIC,
        operation,
        target,
        planned=planned,
        ends={0: end, 1: end + 1},
        cuts={0: cut, 1: cut + 1},
        excluded=[(0, GONE)],
    )


def open_(operation: str = A) -> Step:
    return lambda store: store.open(TOPIC, operation)


def unturn(operation: str = A) -> Step:
    return lambda store: store.unturn(TOPIC, operation)


def leave(operation: str = A) -> Step:
    return lambda store: store.leave(TOPIC, operation)


def exclude(operation: str = A, first: int = 30) -> Step:
    range_ = Excluded(region="west", first=first, last=first + 3, why="superseded (X21)", by=operation)
    return lambda store: store.exclude(TOPIC, operation, 0, [range_])


PLANNED: tuple[Step, ...] = (begin, close(), turn(), exclude(), open_())
UNDONE: tuple[Step, ...] = (begin, close(), turn(), unturn(), leave())
TAKEN_OVER: tuple[Step, ...] = (begin, close(), turn(), close(B, take_over=True), turn(B, cut=77), open_(B))
THERE_AND_BACK: tuple[Step, ...] = (*PLANNED, close(B), turn(B, "east", end=90, cut=80), open_(B))
SCENARIOS = {"planned": PLANNED, "undone": UNDONE, "taken over": TAKEN_OVER, "there and back": THERE_AND_BACK}


def said(lineage: TopicLineage | None) -> object:
    """What a lineage says, whenever and in however many writes it came to say it."""
    assert lineage is not None
    told = lineage.model_dump(exclude={"seq", "write_id", "updated_at"})
    for one in told["turns"]:
        del one["at"]
    return told


async def run(store: LineageStore, steps: tuple[Step, ...]) -> TopicLineage:
    for step in steps:
        await step(store)
    found = await store.read(TOPIC)
    assert found is not None
    return check(found)


async def test_x20_a_turn_ends_a_segment_and_begins_the_next_at_the_cut(store: LineageStore) -> None:
    lineage = await run(store, PLANNED)

    old, new = lineage.partitions["0"].segments
    assert (old.region, old.first, old.end, old.cut) == ("east", 0, 50, 30)
    assert (new.region, new.first, new.end, new.cut, new.turn) == ("west", 30, None, None, 1)
    assert (lineage.region, lineage.gate, lineage.holder, lineage.turn) == ("west", Gate.OPEN, None, 1)
    assert [(one.source, one.target, one.planned) for one in lineage.turns] == [("east", "west", True)]
    assert [(one.region, one.first, one.last) for one in lineage.partitions["0"].excluded] == [
        ("east", 40, 44),
        ("west", 30, 33),
    ]


async def test_x24_turned_back_it_is_as_it_was(store: LineageStore) -> None:
    before = said(await run(store, (begin,)))
    after = said(await run(store, UNDONE))

    assert after == {**before, "fence": 1, "former": {A: Former.DONE}}


async def test_x20_there_and_back_again_the_first_region_has_two_segments(store: LineageStore) -> None:
    lineage = await run(store, THERE_AND_BACK)

    segments = lineage.partitions["0"].segments
    assert [(one.turn, one.region, one.first, one.end) for one in segments] == [
        (0, "east", 0, 50),
        (1, "west", 30, 90),
        (2, "east", 80, None),
    ]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_o3_killed_at_every_call_and_done_again_it_ends_alike(name: str) -> None:
    """Before the call was applied and after it: the step is then done again by the next attempt."""
    steps = SCENARIOS[name]
    clean = MemoryStore("control")
    expected = said(await run(LineageStore(clean, "control"), steps))

    for moment, at in itertools.product(
        ("before", "after"), range(len(clean.calls) - 1)
    ):  # the last is the look at the end
        control = MemoryStore("control")
        calls = itertools.count()

        async def kill(op: str, uri: S3Uri, calls=calls, at=at) -> None:
            if next(calls) == at:
                raise Killed

        setattr(control, moment, kill)
        store = LineageStore(control, "control", control_wait_s=0.3)
        died = False
        for step in steps:
            try:
                await step(store)
            except Killed:
                died = True
                await step(store)
        assert said(await store.read(TOPIC)) == expected, f"killed {moment} call {at}"
        assert died


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_o3_an_answer_that_is_lost_at_any_write_changes_nothing(name: str, moment: str) -> None:
    steps = SCENARIOS[name]
    expected = said(await run(LineageStore(MemoryStore("control"), "control"), steps))
    for at in range(len(steps)):
        control = MemoryStore("control")
        writes = itertools.count()

        async def lose(op: str, uri: S3Uri, writes=writes, at=at) -> None:
            if op in {"create", "replace"} and next(writes) == at:
                raise Unavailable("no answer")

        setattr(control, moment, lose)
        assert said(await run(LineageStore(control, "control", control_wait_s=2), steps)) == expected


@pytest.mark.parametrize("name", SCENARIOS)
async def test_o8_any_call_that_comes_late_or_twice_changes_nothing(name: str) -> None:
    """A zombie's call reads anew when its write was refused, so a late call is the same call made later."""
    steps = SCENARIOS[name]
    for last in range(len(steps)):
        for late in range(last + 1):
            store = LineageStore(MemoryStore("control"), "control")
            before = said(await run(store, steps[: last + 1]))
            with contextlib.suppress(Superseded, Refused):
                await steps[late](store)
            assert said(await store.read(TOPIC)) == before, f"step {late} after step {last}"


async def test_o4_a_second_operation_is_told_who_turns_the_topic(store: LineageStore) -> None:
    await run(store, (begin, close()))
    with pytest.raises(Held, match=f"turned by {A}") as held:
        await store.close(TOPIC, B)
    assert "tidegate ops watch failover-ledger-1" in (held.value.hint or "")


async def test_o8_who_lost_the_topic_can_do_nothing_and_cannot_take_it_back(store: LineageStore) -> None:
    before = said(await run(store, (begin, close(), close(B, take_over=True))))
    assert (await store.read(TOPIC)).fence == 2
    for step in (close(), close(take_over=True), turn(), unturn(), open_(), leave(), exclude()):
        with pytest.raises(Superseded):
            await step(store)
    with pytest.raises(Superseded):
        await store.amend_end(TOPIC, A, 0, 0, 5)
    assert said(await store.read(TOPIC)) == before


async def test_x24_what_was_opened_there_is_not_turned_back(store: LineageStore) -> None:
    before = said(await run(store, PLANNED))
    with pytest.raises(Refused, match="opened in west"):
        await store.unturn(TOPIC, A)
    assert said(await store.read(TOPIC)) == before


async def test_x24_who_has_turned_back_does_not_turn_again(store: LineageStore) -> None:
    """A turn that is still under way must not land between the way back and the opening of the gate."""
    await run(store, (begin, close(), unturn()))
    with pytest.raises(Refused, match="turned back"):
        await turn()(store)
    assert (await store.open(TOPIC, A)).region == "east"


async def test_x24_a_topic_that_was_not_closed_yet_is_left_for_good(store: LineageStore) -> None:
    """The way back begins while the close is under way: landing later it would keep the producers out for ever."""
    await run(store, (begin, unturn(), leave()))
    with pytest.raises(Refused, match="too late"):
        await store.close(TOPIC, A)
    assert (await store.read(TOPIC)).gate is Gate.OPEN


async def test_x24_a_topic_that_another_one_turns_is_left_to_it(store: LineageStore) -> None:
    await run(store, (begin, close(B), unturn(A), leave(A)))
    assert (await store.read(TOPIC)).holder == B
    assert await LineageStore(MemoryStore(), "control").leave("none", A) is None


async def test_only_the_holder_opens_and_turns(store: LineageStore) -> None:
    await run(store, (begin,))
    for step in (open_(), turn()):
        with pytest.raises(Superseded, match="nobody: its gate is open"):
            await step(store)
    await run(store, (close(), turn(), open_()))
    with pytest.raises(Superseded):
        await store.open(TOPIC, B)


async def test_a_turn_that_is_taken_over_keeps_its_cut_and_can_be_turned_back(store: LineageStore) -> None:
    lineage = await run(store, TAKEN_OVER[:5])
    assert lineage.partitions["0"].segments[-1].first == 30
    assert (lineage.turns[0].operation, lineage.turns[0].taken_over) == (B, (A,))
    with pytest.raises(Refused, match="was turned to west"):
        await store.turn(TOPIC, B, "north", planned=False, ends={}, cuts={0: 1, 1: 1})

    lineage = await store.unturn(TOPIC, B)
    assert (lineage.region, lineage.turn, lineage.partitions["0"].excluded) == ("east", 0, ())


async def test_x21_who_takes_a_turn_on_says_anew_what_does_not_count(store: LineageStore) -> None:
    """The one before it went on from another point: what that one lacked is the state's own now, and counts."""

    def gone(by: str, first: int) -> list[tuple[int, Excluded]]:
        return [(0, Excluded(region="east", first=first, last=49, why="superseded (X21)", by=by))]

    how: dict[str, Any] = {"planned": False, "ends": {0: 50, 1: 60}, "cuts": {0: 30, 1: 31}}
    await run(store, (begin,))
    kept = Excluded(region="east", first=1, last=2, why="superseded (X26)", by="restore-ledger-1/r")
    await store.exclude(TOPIC, kept.by, 0, [kept])
    await store.close(TOPIC, A)
    await store.turn(TOPIC, A, "west", excluded=gone(A, 20), **how)
    await store.close(TOPIC, B, take_over=True)
    for _ in range(2):
        lineage = await store.turn(TOPIC, B, "west", excluded=gone(B, 40), **how)
        assert lineage.partitions["0"].excluded == (kept, *(one for _, one in gone(B, 40)))


async def test_x18_unplanned_nothing_of_an_idle_segment_came(store: LineageStore) -> None:
    """The newest record that came of the partition is of an earlier segment."""
    await run(store, (begin, close()))
    with pytest.raises(InvalidInput, match="before it began"):
        await store.turn(TOPIC, A, "west", planned=True, ends={0: 50, 1: 3}, cuts={0: 30, 1: 31})
    with pytest.raises(InvalidInput, match="nobody has said"):
        await store.turn(TOPIC, A, "west", planned=True, ends={0: 50}, cuts={0: 30, 1: 31})
    lineage = await store.turn(TOPIC, A, "west", planned=False, ends={0: 50, 1: 3}, cuts={0: 30, 1: 31})
    assert (lineage.partitions["1"].segments[0].first, lineage.partitions["1"].segments[0].end) == (7, 7)


async def test_x20_a_partition_without_a_cut_is_refused_and_a_new_one_begins_there(store: LineageStore) -> None:
    await run(store, (begin, close()))
    with pytest.raises(InvalidInput, match="payments/1: west has no such partition"):
        await store.turn(TOPIC, A, "west", planned=True, ends={0: 50, 1: 60}, cuts={0: 30})
    lineage = await store.turn(TOPIC, A, "west", planned=True, ends={0: 50, 1: 60}, cuts={0: 30, 1: 31, 2: 0})
    assert [one.turn for one in lineage.partitions["2"].segments] == [1]
    assert "2" not in (await store.unturn(TOPIC, A)).partitions


async def test_x20_a_topic_that_was_made_anew_is_told_by_its_offsets(store: LineageStore) -> None:
    await run(store, (*PLANNED, close(B)))
    with pytest.raises(InvalidInput, match="begins at 20 of east, where an earlier segment ends at 50: was the topic"):
        await store.turn(TOPIC, B, "east", planned=True, ends={0: 90, 1: 99}, cuts={0: 20, 1: 70})


async def test_x23_the_end_of_a_lost_region_is_learned_later(store: LineageStore) -> None:
    await run(store, (begin, close()))
    await store.turn(TOPIC, A, "west", planned=False, ends={0: None, 1: 60}, cuts={0: 30, 1: 31})
    await store.open(TOPIC, A)
    with pytest.raises(InvalidInput, match="goes on"):
        await store.amend_end(TOPIC, B, 0, 1, 50)
    with pytest.raises(InvalidInput, match="before it began"):
        await store.amend_end(TOPIC, B, 0, 0, -1)
    with pytest.raises(InvalidInput, match="has no partition 9; it has 0, 1"):
        await store.amend_end(TOPIC, B, 9, 0, 5)
    first = await store.amend_end(TOPIC, B, 0, 0, 50)
    assert first.partitions["0"].segments[0].end == 50
    assert await store.amend_end(TOPIC, B, 0, 0, 50) == first
    with pytest.raises(Refused, match="has ended at 50"):
        await store.amend_end(TOPIC, B, 0, 0, 51)


async def test_x22_a_segment_that_has_ended_goes_on_to_what_was_read_and_never_shrinks(store: LineageStore) -> None:
    await run(store, (begin, close()))
    await store.turn(TOPIC, A, "west", planned=False, ends={0: None, 1: 60}, cuts={0: 30, 1: 31})
    await store.open(TOPIC, A)
    with pytest.raises(InvalidInput, match="no such segment that has ended"):
        await store.extend(TOPIC, B, 0, 0, 50)
    with pytest.raises(InvalidInput, match="no such segment that has ended"):
        await store.extend(TOPIC, B, 1, 1, 70)
    first = await store.extend(TOPIC, B, 1, 0, 64)
    assert first.partitions["1"].segments[0].end == 64
    assert await store.extend(TOPIC, B, 1, 0, 64) == first
    assert await store.extend(TOPIC, B, 1, 0, 62) == first


async def test_x21_ranges_are_excluded_once_and_only_where_there_is_a_partition(store: LineageStore) -> None:
    await run(store, PLANNED)
    before = await store.read(TOPIC)
    assert await exclude(B)(store) == before, "the range stands there, by another one's word"
    with pytest.raises(InvalidInput, match="no range to exclude"):
        await store.exclude(TOPIC, A, 0, [GONE.model_copy(update={"first": 9, "last": 8})])
    with pytest.raises(InvalidInput, match="no partition 5"):
        await store.exclude(TOPIC, A, 5, [GONE])
    await store.close(TOPIC, B)
    with pytest.raises(Superseded):
        await exclude(A, 60)(store)


async def test_a_topic_keeps_the_lineage_that_it_has(store: LineageStore) -> None:
    first = await begin(store)
    assert await store.begin(TOPIC, "west", {0: 3}) == first
    assert await store.topics() == [TOPIC]
    with pytest.raises(InvalidInput, match="topic balances has no lineage"):
        await store.close("balances", A)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"holder": A}, f"its gate is open and it is held by {A}"),
        ({"region": "west"}, "its last segment is of turn 0 in east; expected 0 in west"),
        ({"turn": 2}, "turn is 2, and the turns that are written down are []"),
        ({"partitions": {"x": {"segments": []}}}, "'x' is no partition number; partition x: it has no segment"),
    ],
)
async def test_a_lineage_that_contradicts_itself_is_not_read(store: LineageStore, control, change, told) -> None:
    broken = TopicLineage.model_validate({**(await begin(store)).model_dump(), **change})
    await control.put(KEY, broken.model_dump_json().encode())
    with pytest.raises(InvalidInput) as refused:
        await store.read(TOPIC)
    assert told in refused.value.message


async def test_a_lineage_of_a_later_version_is_not_guessed_at(store: LineageStore, control) -> None:
    await control.put(KEY, b'{"version": 2}')
    with pytest.raises(InvalidInput, match=r"lineage/payments\.json: damaged, or of a later version"):
        await store.close(TOPIC, A)
