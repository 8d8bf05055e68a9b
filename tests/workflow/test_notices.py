"""What people are told of operations, on a real Temporal server: what, how often, and that nothing waits for it."""

from __future__ import annotations

import time

import pytest
from temporalio.client import Client

from tests.kit.eventually import eventually
from tests.kit.temporal_env import begin, upgrade
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import AT
from tidegate import errors
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput
from tidegate.model.notice import Event, NotifyFact, Severity
from tidegate.model.operation import OperationStatus, Outcome, Phase, Verdict
from workflows import notices


def told(world: World) -> list[tuple[Event, bool]]:
    return [(notice.event, notice.over) for notice in world.notices]


async def test_an_upgrade_that_goes_well_tells_nobody(client: Client, world: World) -> None:
    await (await upgrade(client)).done()
    assert world.notices == []


async def test_a_halt_is_told_with_its_commands_and_its_end_too(client: Client, world: World) -> None:
    world.will("switch", errors.MustHalt("Flink answers nothing"))
    run = await upgrade(client)
    await run.phase(Phase.HALTED)

    async def arrived() -> None:
        assert told(world) == [(Event.HALTED, False)]

    await eventually(arrived)
    (halted,) = world.notices
    assert halted.severity is Severity.CRITICAL
    assert "Flink answers nothing" in halted.detail
    assert halted.commands[0] == f"tidegate ops resume {run.handle.id}"
    assert (halted.operation, halted.deployment, halted.region) == (run.handle.id, "ledger", "east")
    await run.update("resume")
    await run.done()
    assert told(world) == [(Event.HALTED, False), (Event.HALTED, True)]
    assert len({notice.subject for notice in world.notices}) == 1
    assert len({notice.id for notice in world.notices}) == 2


async def test_what_is_undone_is_told_with_its_report(client: Client, world: World) -> None:
    world.will("prove", errors.ProofFailed("3 restarts in 20 s (limit 2)"))
    await (await upgrade(client)).failed("Undone")
    (notice,) = world.notices
    assert (notice.event, notice.severity) == (Event.FAILED, Severity.WARNING)
    assert "3 restarts" in notice.detail
    assert notice.report == f"reports/ledger/{notice.operation}.json"


async def test_a_bad_verdict_is_critical(client: Client, world: World) -> None:
    world.verdict = Verdict(audited=True, lost=1)
    await (await upgrade(client)).failed("BadVerdict")
    (notice,) = world.notices
    assert (notice.event, notice.severity) == (Event.BAD_VERDICT, Severity.CRITICAL)
    assert "lost 1" in notice.detail


async def test_an_approval_is_asked_for_and_over_when_given(client: Client, world: World) -> None:
    run = await upgrade(client, require_approval=True)
    status = await run.phase(Phase.WAITING_FOR_APPROVAL)
    assert status.plan is not None
    await run.update("approve", plan_hash=status.plan.hash)
    await run.done()
    assert told(world) == [(Event.APPROVAL_ASKED, False), (Event.APPROVAL_ASKED, True)]
    assert any("ops approve" in command for command in world.notices[0].commands)


async def test_a_refused_operation_has_changed_nothing_and_tells_nobody(client: Client, world: World) -> None:
    world.will("take", errors.Held("ledger is held by another"))
    await (await upgrade(client)).failed("Held")
    assert world.notices == []


async def test_a_failover_is_told_when_it_begins_and_when_it_is_done(client: Client, world: World) -> None:
    run = await begin(client, FAILOVER_DEPLOYMENT, FailoverInput, requested_by="ana", bake_s=0)
    assert (await run.done()).outcome is Outcome.DONE
    assert told(world) == [(Event.FAILOVER_BEGUN, False), (Event.FAILOVER_DONE, True)]


async def test_an_operation_waits_for_no_target(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers the notice of a halt: the operation is resumed, done and over all the same."""
    blocks = [world.block("notify"), world.block("notify")]
    world.will("switch", errors.MustHalt("Flink answers nothing"))
    run = await upgrade(client)
    await run.phase(Phase.HALTED)
    await run.update("resume")
    began = time.monotonic()
    assert (await run.done()).outcome is Outcome.DONE
    assert world.names()[-1] == "release"
    assert time.monotonic() - began < notices.SETTLE.total_seconds() + 15
    for block in blocks:
        block.released.set()


async def test_who_was_not_reached_stands_in_the_report(client: Client, world: World) -> None:
    async def unreached() -> NotifyFact:
        return NotifyFact(notice=world.notices[-1] if world.notices else _some(), note="oncall (slack): answered 410")

    world.will("notify", unreached)
    world.will("switch", errors.MustHalt("Flink answers nothing"))
    run = await upgrade(client)
    await run.phase(Phase.HALTED)
    await run.update("resume")
    await run.done()
    (line,) = world.reports[0].undelivered
    assert "stands halted" in line
    assert "oncall (slack): answered 410" in line


async def test_a_notice_that_fails_by_a_bug_of_ours_fails_nothing(client: Client, world: World) -> None:
    world.always["notify"] = RuntimeError("a bug")
    world.will("prove", errors.ProofFailed("3 restarts"))
    result = await (await upgrade(client)).failed("Undone")
    assert result.report


def standing(runbook: str, phase: Phase, outcome: Outcome | None = None, **changes: object) -> OperationStatus:
    known: dict[str, object] = {
        "operation": "o", "runbook": runbook, "deployment": "ledger", "region": "west", "cell": "cell-1",
        "phase": phase, "requested_by": "ana", "started": AT, "steps": (), "outcome": outcome,
    }  # fmt: skip
    return OperationStatus.model_validate(known | changes)


@pytest.mark.parametrize(
    ("before", "status", "group", "said"),
    [
        # Of a region's failover the region tells the beginning and the end, its members what needs a person.
        (Phase.OBSERVING, standing("FailoverRegion", Phase.RUNNING), None, [("failover-begun", False)]),
        (Phase.RUNNING, standing("FailoverRegion", Phase.DONE, Outcome.DONE), None, [("failover-done", True)]),
        (Phase.OBSERVING, standing("FailoverDeployment", Phase.RUNNING), "g", []),
        (Phase.RUNNING, standing("FailoverDeployment", Phase.DONE, Outcome.DONE), "g", []),
        (Phase.RUNNING, standing("FailoverDeployment", Phase.UNDONE, Outcome.UNDONE), "g", []),
        (Phase.RUNNING, standing("FailoverDeployment", Phase.HALTED), "g", [("halted", False)]),
        (Phase.RUNNING, standing("FailoverDeployment", Phase.DONE, Outcome.BAD_VERDICT), "g", [("bad-verdict", False)]),
        # A drill that fails says that it is a drill.
        (Phase.RUNNING, standing("DrillRecovery", Phase.UNDONE, Outcome.UNDONE), None, [("drill-failed", False)]),
        (Phase.RUNNING, standing("DrillRecovery", Phase.DONE, Outcome.BAD_VERDICT), None, [("drill-failed", False)]),
        (Phase.RUNNING, standing("DrillRecovery", Phase.DONE, Outcome.DONE), None, []),
        # What is over is said, but not where it ends badly: then the alert stays, as one of the operation.
        (Phase.HALTED, standing("UpgradeDeployment", Phase.UNDOING), None, [("halted", True)]),
        (Phase.HALTED, standing("UpgradeDeployment", Phase.UNDONE, Outcome.UNDONE), None, [("failed", False)]),
        (Phase.HALTED, standing("UpgradeDeployment", Phase.SUPERSEDED, Outcome.SUPERSEDED), None, [("halted", True)]),
        (
            Phase.WAITING_FOR_APPROVAL,
            standing("UpgradeDeployment", Phase.REFUSED, Outcome.REFUSED),
            None,
            [("approval-asked", True)],
        ),
        # It stands halted because its report cannot be written: it has an outcome, and has not ended.
        (Phase.RUNNING, standing("UpgradeDeployment", Phase.HALTED, Outcome.UNDONE), None, [("halted", False)]),
    ],
)
def test_what_a_phase_means_to_people(
    before: Phase, status: OperationStatus, group: str | None, said: list[tuple[str, bool]]
) -> None:
    told = notices.due(before, status, group=group, begun=False)
    assert [(event.value, over) for event, _, over in told] == said


def test_a_failover_that_goes_on_after_a_halt_has_not_begun_again() -> None:
    told = notices.due(Phase.HALTED, standing("FailoverRegion", Phase.RUNNING), group=None, begun=True)
    assert [(event, over) for event, _, over in told] == [(Event.HALTED, True)]


def test_what_a_person_aborted_calls_nobody_out_of_bed() -> None:
    status = standing("UpgradeDeployment", Phase.UNDONE, Outcome.UNDONE, abort_requested="aborted by ana")
    assert [severity for _, severity, _ in notices.due(Phase.UNDOING, status, group=None, begun=False)] == [
        Severity.INFO
    ]


def _some():
    from tests.unit.notices.samples import notice  # noqa: PLC0415 (only to fill a required field)

    return notice()
