"""Who gave way to a region's failover, and whether it can come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.fleet import fleet_text
from tests.kit.temporal_world_facts import AT, pinned, writer
from tests.unit.failover.test_room import HOLDER
from tidegate.errors import Unavailable
from tidegate.failover.comeback import fitting, free_slots, gave_way, look_gave_way, would_come_back
from tidegate.model.failover import Topics
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import ArtifactRef, DeploymentRecord, MadeWay, StopIntent
from tidegate.model.region import Family, GaveWay, Member

WAY = MadeWay(operation="failover-region-east-1", came_from="east")
SAVEPOINT = "s3://west/savepoints/ledger-4/e00000007-x/savepoint-1a2b"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet_text(21_000, 4, apart=True))
    return load_fleet(path).fleet


def record(**changes: Any) -> DeploymentRecord:
    """``ledger-4`` ran in the west, and was stopped there to make way."""
    runs = writer("v1", 7).model_copy(update={"region": "west"})
    known: dict[str, Any] = {
        "deployment": "ledger-4",
        "epoch": 7,
        "writer": runs,
        "pinned": pinned(location=SAVEPOINT, made_way=WAY),
    }
    return DeploymentRecord.model_validate(known | changes)


def waits(name: str, tier: int = 3, slots: int = 2, **changes: Any) -> GaveWay:
    known: dict[str, Any] = {
        "deployment": name, "tier": tier, "at": "west/c", "slots": slots, "snapshot": SAVEPOINT, "name": "e7-sp",
        "made_way": WAY, "since": AT,
    }  # fmt: skip
    return GaveWay.model_validate(known | changes)


def member(name: str, slots: int, runs_with: int | None = None) -> Member:
    return Member(deployment=name, tier=0, parallelism=slots, home="west/c", at="east/c", runs_with=runs_with)


def problems(found: tuple[GaveWay, ...]) -> dict[str, str]:
    return {one.deployment: one.problem for one in found}


def test_it_is_told_with_its_savepoint_and_what_it_needs_as_the_fleet_file_says(fleet: Fleet) -> None:
    found = gave_way(fleet, "ledger-4", record())
    assert found is not None
    assert (found.at, found.region, found.made_way, found.problem) == ("west/cell-1", "west", WAY, "")
    assert found.slots == fleet.deployment("ledger-4").parallelism
    assert found.text == f"ledger-4, from its savepoint e7-savepoint-1a2b, {found.slots} slots"


@pytest.mark.parametrize(
    "changes",
    [
        {"pinned": pinned(location=SAVEPOINT)},
        {"pinned": None},
        {"writer": None},
        {"epoch": 8, "writer": writer("v1", 8)},
    ],
    ids=["wanted stopped", "never stopped", "never ran", "started since"],
)
def test_one_that_runs_or_is_wanted_stopped_does_not_come_back(fleet: Fleet, changes: dict[str, Any]) -> None:
    assert gave_way(fleet, "ledger-4", record(**changes)) is None
    assert gave_way(fleet, "ledger-4", None) is None


def test_one_that_somebody_holds_or_has_begun_to_start_is_his(fleet: Fleet) -> None:
    held = gave_way(fleet, "ledger-4", record(holder=HOLDER))
    assert held is not None
    assert "ledger-4 is held by failover-region-east-1" in held.problem
    begun = StopIntent(
        id="t", step="stop", n=1, job_id="7", epoch=7, trigger_id="t", directory="d", parallelism=2,
        artifact=ArtifactRef(name="v1", sha256="1" * 64, uri="s3://x"),
    )  # fmt: skip
    left = gave_way(fleet, "ledger-4", record(intents=(begun,)))
    assert left is not None
    assert "has begun something and not finished it" in left.problem


def test_x2_one_whose_output_is_not_seen_committed_needs_a_person(fleet: Fleet) -> None:
    found = gave_way(fleet, "ledger-4", record(pinned=pinned(location=SAVEPOINT, made_way=WAY, committed=False)))
    assert found is not None
    assert "not seen committed" in found.problem


def test_slots_go_by_tier_and_nobody_overtakes_a_higher_one_for_which_there_is_no_room() -> None:
    found = fitting([waits("c", 4, 1), waits("b", 3, 3), waits("a", 2, 2)], {"west/c": 4})
    assert [one.deployment for one in found] == ["a", "b", "c"]
    assert problems(found) == {
        "a": "",
        "b": "3 slots are needed in west/c, 2 are free",
        "c": "the slots that are free in west/c are kept for a higher tier",
    }


def test_each_cell_has_slots_of_its_own() -> None:
    found = fitting([waits("a", 2, 2), waits("b", 3, 2, at="west/d")], {"west/c": 1, "west/d": 2})
    assert problems(found) == {"a": "2 slots are needed in west/c, 1 are free", "b": ""}


def test_what_nobody_can_say_is_no_room() -> None:
    found = fitting([waits("a"), waits("b", at="west/d")], {"west/c": "Flink does not answer"})
    assert problems(found) == {
        "a": "nobody can say whether slots are free in west/c: Flink does not answer",
        "b": "nobody can say whether slots are free in west/d: Flink there was not asked",
    }


def test_the_slots_that_those_who_go_home_run_with_now_will_be_free() -> None:
    """Not those that they need as the fleet file says: here they may run smaller."""
    moving = [member("x", 4, 1), member("y", 2)]
    found = would_come_back([waits("a", slots=4)], moving, (), {"west/c": 0}, to="east", unplanned=False)
    assert problems(found) == {"a": "4 slots are needed in west/c, 3 are free"}
    found = would_come_back([waits("a", slots=3)], moving, (), {"west/c": 0}, to="east", unplanned=False)
    assert problems(found) == {"a": ""}


def test_one_whose_topics_turn_along_or_whose_region_is_given_up_does_not_come_back_there() -> None:
    family = Family(members=("x",), topics=Topics(turn=("t",)), idle=("a",))
    found = would_come_back([waits("a")], [member("x", 4)], [family], {"west/c": 0}, to="east", unplanned=False)
    assert problems(found)["a"].startswith("its topics turn to east")
    found = would_come_back([waits("a")], [member("x", 4)], [], {}, to="east", unplanned=True)
    assert problems(found) == {"a": "west is given up"}


async def test_it_is_looked_at_anew_by_the_record_and_by_flinks_word(fleet: Fleet) -> None:
    asked: list[str] = []

    async def slots_of(cell: str) -> int:
        asked.append(cell)
        return 8

    records = {"ledger-4": record(), "ledger-3": record(deployment="ledger-3", epoch=8, writer=writer("v1", 8))}
    now = await look_gave_way(fleet, records, slots_of)
    assert [(one.deployment, one.problem) for one in now.gave_way] == [("ledger-4", "")]
    assert now.others["ledger-3"].startswith("it has been started since: epoch 8")
    assert asked == ["west/cell-1"]
    stopped = await look_gave_way(fleet, {"ledger-4": record(pinned=pinned(location=SAVEPOINT))}, slots_of)
    assert stopped.others == {"ledger-4": "somebody has stopped it since"}


async def test_i6_a_flink_that_does_not_answer_is_told_in_its_place() -> None:
    async def silent(cell: str) -> int:
        raise Unavailable(f"Flink in {cell} does not answer")

    assert await free_slots({"west/c"}, silent) == {"west/c": "Flink in west/c does not answer"}
