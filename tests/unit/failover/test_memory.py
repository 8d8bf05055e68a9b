"""Slots with less memory in the standby are named before anything starts there, also when home is gone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tidegate.errors import Unavailable
from tidegate.failover.memory import Needs, compare, less, warnings
from tidegate.model.record import SlotMemory

LARGE = SlotMemory(managed_mib=512.0, heap_mib=1_024.0)
SMALL = SlotMemory(managed_mib=128.0, heap_mib=1_024.0)
HOME, AWAY = "east/c", "west/c"


def needs(name: str, began: SlotMemory | None = None) -> Needs:
    return Needs(name, HOME, AWAY, began)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (LARGE, ""),
        (SlotMemory(managed_mib=2_048.0, heap_mib=2_048.0), ""),
        (SlotMemory(managed_mib=511.0, heap_mib=1_023.0), ""),
        (SMALL, "managed memory 128 MiB instead of 512 MiB"),
        (SlotMemory(managed_mib=512.0, heap_mib=166.7), "task heap 166.7 MiB instead of 1024 MiB"),
        (
            SlotMemory(managed_mib=0.0, heap_mib=0.0),
            "managed memory 0 MiB instead of 512 MiB, task heap 0 MiB instead of 1024 MiB",
        ),
    ],
)
def test_what_is_less_is_told_with_both_figures(there: SlotMemory, words: str) -> None:
    assert less(LARGE, there) == words


def test_slots_as_large_are_no_word() -> None:
    assert warnings([needs("a", SMALL), needs("b")], {HOME: LARGE}, {AWAY: LARGE}) == ()


def test_those_that_run_in_the_same_cells_are_told_in_one_line() -> None:
    (line,) = warnings([needs("a"), needs("b", SMALL)], {HOME: LARGE}, {AWAY: SMALL})
    assert line.startswith(
        "a, b: the slots in west/c have less memory than those in east/c, where it runs: managed memory 128 MiB "
        "instead of 512 MiB. Flink starts it all the same"
    )
    assert "taskmanager.memory.managed.size" in line


def test_with_home_gone_what_its_record_says_counts() -> None:
    (line,) = warnings([needs("a", LARGE), needs("b", SMALL)], {HOME: "no answer"}, {AWAY: SMALL})
    assert line.startswith("a: the slots in west/c have less memory than those that its job was started in, in east/c")


def test_what_nobody_knows_is_told_too() -> None:
    (line,) = warnings([needs("a")], {HOME: "no answer"}, {AWAY: SMALL})
    assert line.startswith("a: nobody can say whether the slots in west/c (128 MiB managed, 1024 MiB task heap) have")
    assert "its record does not say" in line
    (line,) = warnings([needs("a", LARGE)], {HOME: LARGE}, {AWAY: "Flink there does not tell it"})
    assert line == "a: nobody can say how much memory the slots in west/c have: Flink there does not tell it"


async def test_i6_home_is_asked_only_where_it_answers() -> None:
    asked: list[str] = []
    slots: Mapping[str, SlotMemory | None] = {HOME: LARGE, AWAY: None}

    async def memory_of(cell: str) -> SlotMemory | None:
        asked.append(cell)
        if cell == "west/d":
            raise Unavailable("Flink in west/d: connection refused")
        return slots[cell]

    (line,) = await compare([needs("a", LARGE)], memory_of, ask_home=False)
    assert (asked, line.endswith("Flink there does not tell it")) == ([AWAY], True)
    (line,) = await compare([Needs("a", HOME, "west/d", None)], memory_of, ask_home=True)
    assert asked == [AWAY, HOME, "west/d"]
    assert "connection refused" in line
