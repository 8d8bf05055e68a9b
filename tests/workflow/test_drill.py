"""DrillRecovery: whatever comes, the live deployment is not touched and nothing of the fork is left."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowFailureError

from tests.kit.scheduled import asked
from tests.kit.temporal_env import Run, begin, workers
from tests.kit.temporal_world_drill import GOOD, DrillWorld
from tidegate import errors
from tidegate.model.drill import GIVES_WAY, DrillInput
from tidegate.model.drilled import Difference, Place
from tidegate.model.notice import Event, Severity
from tidegate.model.operation import Outcome, StepState
from tidegate.model.schedule import RunOutcome, ScheduledResult, SkipReason
from tidegate.names import CONTROL_QUEUE, is_drill_of, region_queue

ACTS = ["take", "copy_for_drill", "start_drill", "catch_up_drill", "watch_drill", "compare_drill"]


@pytest_asyncio.fixture(loop_scope="session")
async def world(client: Client) -> AsyncIterator[DrillWorld]:
    made = DrillWorld()
    before = made.record
    async with workers(client, made, regions=("east", "west")):
        yield made
    assert made.record == before, "the live deployment's record is only read"
    assert not made.things, "something of the fork is left"


async def _drill(client: Client, **fields: Any) -> Run:
    return await begin(client, "DrillRecovery", DrillInput, **{"requested_by": "ana", **fields})


async def test_x12_a_drill_proves_and_is_torn_down(client: Client, world: DrillWorld) -> None:
    run = await _drill(client, window_s=30)
    result = await run.done()
    assert result.outcome is Outcome.DONE
    assert result.summary.startswith(
        "ledger can be restored in west/cell-1: RTO 20.0 s (objective 60 s); RPO 0.4 s (objective 5 s); 10,000 records "
        "compared by record id: 0 missing, 0 extra, 0 differing; nothing of it is left"
    )
    assert world.steps() == [*ACTS, "tear_down_drill"]
    assert {queue for name, queue, _ in world.calls if "drill" in name} == {region_queue("west")}
    (report,) = world.reports
    assert report.drill is not None
    assert is_drill_of(report.drill.fork, "ledger")
    assert (report.drill.rto_s, report.drill.rpo_s, report.drill.compared) == (20.0, 0.4, GOOD)
    (watch,) = world.requests("watch_drill")
    assert (watch.seconds, watch.held.deployment) == (30, report.drill.fork)
    status = await run.status()
    assert [row.state for row in status.steps] == [StepState.OK] * 9


async def test_two_drills_of_one_request_have_two_forks(client: Client, world: DrillWorld) -> None:
    forks = set()
    for _ in range(2):
        await (await _drill(client)).done()
        forks.add(world.requests("tear_down_drill")[-1].fork)
    assert len(forks) == 2


async def test_a_dry_run_says_from_what_and_starts_nothing(client: Client, world: DrillWorld) -> None:
    result = await (await _drill(client, dry_run=True, point="e7-chk-12")).done()
    assert result.outcome is Outcome.PLANNED
    assert "would restore ledger from e7-chk-12 (1.5 s old, RPO 0.4 s) in west/cell-1, 4/8 slots free" in result.summary
    assert world.steps() == []
    assert world.requests("look_at_drill")[0].point == "e7-chk-12"


MISSING = errors.SnapshotIncomplete("the snapshot at s3://west/x is incomplete, 1 of 9 files: s3://west/f is missing")
DROPPED = errors.ProofFailed("the restore dropped state: the keyed state of balance (4,096 bytes) is gone")


@pytest.mark.parametrize(
    ("step", "error", "said"),
    [
        ("copy_for_drill", MISSING, "1 of 9 files: s3://west/f is missing"),
        ("catch_up_drill", DROPPED, "the restore dropped state: the keyed state of balance"),
        ("start_drill", errors.StartRejected("no such class"), "no such class"),
        ("watch_drill", errors.ProofFailed("output has not moved"), "output has not moved"),
    ],
)
async def test_what_fails_a_drill_is_its_reason_and_it_is_torn_down(
    client: Client, world: DrillWorld, step: str, error: Exception, said: str
) -> None:
    world.will(step, error)
    result = await (await _drill(client)).failed("BadVerdict")
    assert result.outcome is Outcome.BAD_VERDICT
    assert said in result.why
    assert result.summary == "the drill of ledger failed; nothing of it is left"
    assert world.steps() == [*ACTS[: ACTS.index(step) + 1], "tear_down_drill"]
    assert world.reports[0].drill.failures  # type: ignore[union-attr]


async def test_no_recovery_point_fails_a_drill_before_anything_is_made(client: Client, world: DrillWorld) -> None:
    world.will("look_at_drill", errors.SnapshotIncomplete("ledger cannot be restored in west: e7-chk-12: a is missing"))
    result = await (await _drill(client)).failed("BadVerdict")
    assert result.summary == "the drill of ledger failed; nothing was started"
    assert "a is missing" in result.why
    assert world.steps() == []


async def test_one_record_in_ten_thousand_that_differs_fails_a_drill_and_is_shown(
    client: Client, world: DrillWorld
) -> None:
    world.compared = GOOD.model_copy(
        update={
            "differing": 1,
            "examples": (
                Difference(
                    kind="differing", key="p-77", what="value from byte 12 on",
                    live=Place(topic="balances", partition=1, offset=1077),
                    drill=Place(topic="x.balances", partition=1, offset=41),
                ),
            ),
        }
    )  # fmt: skip
    result = await (await _drill(client)).failed("BadVerdict")
    assert "10,000 records compared by record id: 0 missing, 0 extra, 1 differing" in result.why
    assert "differing p-77: live balances/1@1,077 and drill x.balances/1@41, value from byte 12 on" in result.why
    assert world.steps()[-1] == "tear_down_drill"


async def test_an_objective_that_is_missed_fails_a_drill(client: Client, world: DrillWorld) -> None:
    world.took_s, world.rpo_s = 61.5, 9.0
    result = await (await _drill(client)).failed("BadVerdict")
    assert "RTO missed: 61.5 s, objective 60 s; RPO missed: 9.0 s, objective 5 s" in result.why
    assert world.steps() == [*ACTS, "tear_down_drill"]


async def test_output_that_is_not_there_to_compare_is_no_proof(client: Client, world: DrillWorld) -> None:
    world.compared = GOOD.model_copy(update={"compared": 0})
    result = await (await _drill(client)).failed("BadVerdict")
    assert "no output was there to compare" in result.why


@pytest.mark.parametrize("step", ACTS[1:])
async def test_i7_aborted_or_cancelled_at_any_step_it_is_torn_down(
    client: Client, world: DrillWorld, step: str
) -> None:
    for cancel in (False, True):
        block = world.block(step)
        run = await _drill(client)
        await block.entered.wait()
        if cancel:
            await run.handle.cancel(reason="typo")
        else:
            assert "torn down" in await run.update("abort", why="wrong night")
        result = await run.failed("Undone")
        assert result.summary == "the drill of ledger was given up; nothing of it is left"
        assert ("typo" if cancel else "wrong night") in result.why
        assert world.steps()[-1] == "tear_down_drill"


async def test_it_gives_way_to_an_operation_on_the_live_deployment(client: Client, world: DrillWorld) -> None:
    world.will("watch_drill", _gives_way())
    result = await (await _drill(client)).failed("Undone")
    assert "gives way" in result.why
    assert result.gave_way
    assert world.steps()[-1] == "tear_down_drill"
    assert [(one.event, one.severity) for one in world.notices] == [(Event.FAILED, Severity.INFO)], "nobody is called"
    world.will("watch_drill", errors.BasisChanged("recovery point x is not kept in west any more"))
    assert not (await (await _drill(client)).failed("Undone")).gave_way


def _gives_way() -> errors.BasisChanged:
    return errors.BasisChanged("ledger was taken by failover-1: the drill gives way to it", details={GIVES_WAY: True})


async def test_a_schedule_whose_drill_gave_way_is_skipped_and_neither_failed_nor_paused(
    client: Client, world: DrillWorld
) -> None:
    """The night of a failover must not be the last one that is drilled."""
    by_clock = asked("drill-ledger", runbook="DrillRecovery", input={"deployment": "ledger"}, pause_after_failure=True)

    async def runs() -> ScheduledResult:
        run = f"tidegate-drill-ledger-{uuid.uuid4().hex[:6]}"
        told = await client.execute_workflow("ScheduledRun", by_clock, id=run, task_queue=CONTROL_QUEUE)
        return ScheduledResult.model_validate(told)

    world.will("watch_drill", _gives_way())
    result = await runs()
    assert (result.outcome, result.skip) == (RunOutcome.SKIPPED, SkipReason.GAVE_WAY)
    assert "taken by failover-1" in result.why
    assert result.operation is not None

    world.rpo_s = 30.0  # missed, before it gives way: that has failed
    world.will("watch_drill", _gives_way())
    with pytest.raises(WorkflowFailureError):
        await runs()


async def test_held_or_without_room_it_is_refused_and_nothing_is_made(client: Client, world: DrillWorld) -> None:
    for error, type_ in ((errors.Held("ledger is held by x"), "Held"), (errors.Refused("no room in west"), "Refused")):
        world.will("look_at_drill", error)
        result = await (await _drill(client)).failed(type_)
        assert result.outcome is Outcome.REFUSED
    world.standby = None
    assert "no standby region" in (await (await _drill(client)).failed("InvalidInput")).why
    assert world.steps() == []


async def test_what_is_not_torn_down_is_named_with_the_command(client: Client, world: DrillWorld) -> None:
    world.will("tear_down_drill", errors.NoProgress("of the fork x there is still topic x.balances"))
    result = await (await _drill(client)).failed("BadVerdict")
    assert "there is still topic x.balances" in result.summary
    (torn,) = world.requests("tear_down_drill")
    assert result.next_commands == (f"tidegate drill recovery ledger --clean {torn.fork}",)

    result = await (await _drill(client, clean=torn.fork)).done()
    assert result.summary.startswith(f"{torn.fork} is torn down; nothing of it is left")
    again = world.requests("tear_down_drill")[-1]
    assert (again.fork, again.clean, again.at) == (torn.fork, True, "west/cell-1")


async def test_what_an_earlier_drill_has_left_goes_before_the_next_one_begins(
    client: Client, world: DrillWorld
) -> None:
    """Terminated, or with a part away until its end: it holds slots, and no other drill would ever begin."""
    world.left, world.slots_free = ("ledger-drill-0a0a0a0a",), 0
    planned = await (await _drill(client, dry_run=True)).done()
    assert "would take away ledger-drill-0a0a0a0a" in planned.summary
    assert world.steps() == []
    result = await (await _drill(client)).done()
    assert result.outcome is Outcome.DONE
    assert world.steps() == ["tear_down_drill", *ACTS, "tear_down_drill"]
    first, own = world.requests("tear_down_drill")
    assert (first.fork, first.clean, own.clean) == ("ledger-drill-0a0a0a0a", True, False)
    assert any("which an earlier drill had left, was taken away" in note for note in world.reports[-1].drill.notes)


async def test_what_cannot_be_taken_away_and_holds_the_slots_is_named_with_its_command(
    client: Client, world: DrillWorld
) -> None:
    world.left, world.slots_free = ("ledger-drill-0a0a0a0a",), 0
    world.will("tear_down_drill", errors.NoProgress("topic x is still there"))
    result = await (await _drill(client)).failed("Refused")
    assert "could not be taken away" in result.why
    assert "topic x is still there" in result.why
    assert "tidegate drill recovery ledger --clean ledger-drill-0a0a0a0a" in result.why
    world.left, world.slots_free = (), 8


async def test_clean_touches_what_a_drill_made_and_nothing_else(client: Client, world: DrillWorld) -> None:
    for name in ("ledger", "other-drill-1a2b3c4d", "ledger-drill-x"):
        result = await (await _drill(client, clean=name)).failed("InvalidInput")
        assert "is not what a drill of ledger is called" in result.why
    assert world.steps() == []


async def test_a_part_that_is_away_is_tried_again_also_by_the_tear_down(client: Client, world: DrillWorld) -> None:
    for name in ("copy_for_drill", "tear_down_drill"):
        world.will(name, errors.Unavailable("west does not answer"), errors.Unavailable("nor now"))
    assert (await (await _drill(client)).done()).outcome is Outcome.DONE
    assert world.steps().count("tear_down_drill") == 3
