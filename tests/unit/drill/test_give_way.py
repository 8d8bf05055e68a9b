"""A drill's slots are anybody's who needs them: a failover is not refused for them, and the drill has not failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.kit.failover_regions import BUCKET
from tests.kit.failover_world import FailoverWorld
from tests.kit.temporal_world_facts import AT, artifact
from tests.kit.world import DEPLOYMENT, World, ref, world
from tests.unit.drill.drill_world import FORK, Drill
from tidegate import names
from tidegate.clients.flink_types import JobState
from tidegate.clients.objects import S3Uri
from tidegate.drill.watch import GivesWay
from tidegate.errors import BasisChanged, ProofFailed, TidegateError
from tidegate.failover.look import look
from tidegate.failover.plan import refuse_without_room
from tidegate.model.drill import GIVES_WAY
from tidegate.model.record import CancelIntent, DeploymentRecord, Holder, Writer
from tidegate.model.steps import SwitchFact, SwitchInput
from tidegate.operation.forks import cell_of, fork_records, forks_of, make_way
from tidegate.operation.switch import switch

JOB = "f" * 32


def a_fork(runbook: str = "DrillRecovery", *, region: str = "west") -> DeploymentRecord:
    holder = Holder(
        operation="drill-ledger-1", run_id="r", runbook=runbook, cluster_id="c", namespace="n", who="clock", why="",
        since=AT,
    )  # fmt: skip
    runs = Writer(
        region=region, cell="cell-1", job_id=JOB, epoch=1, artifact=artifact("v1"), parallelism=2, started_from=None,
        since=AT,
    )  # fmt: skip
    return DeploymentRecord(deployment=FORK, epoch=1, fence=1, state="HELD", writer=runs, holder=holder)


async def placed(w: FailoverWorld, record: DeploymentRecord, name: str = FORK) -> None:
    body = record.model_copy(update={"deployment": name}).model_dump_json().encode()
    await w.control.put(S3Uri(BUCKET, names.record_key(name)), body)


@pytest.fixture
async def regions(monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
    made = (await FailoverWorld.made()).patch(monkeypatch)
    await made.place_snapshot((3, 3))
    made.driver["west"].slots = (0, 8)
    return made


async def test_a_failover_is_not_refused_for_slots_that_a_drill_holds(regions: FailoverWorld):
    async def seen():
        return await look(regions.site("east"), regions.site("west"), regions.records, (), unplanned=True, wanted=None)

    assert (await seen()).slots_free == 0
    await placed(regions, a_fork())
    regions.driver["west"].jobs[JOB] = JobState.RUNNING
    now = await seen()
    assert now.slots_free == 2
    refuse_without_room("ledger", 2, now, "west")
    told = "2 slots in west/cell-1 are held by a drill (drill-ledger-1); it gives way as soon as they are needed"
    assert told in now.warnings
    regions.driver["west"].waiting.add(JOB)
    assert (await seen()).slots_free == 0, "it waits for slots itself: what it has not got it cannot give"
    assert told not in (await seen()).warnings
    regions.driver["west"].waiting.clear()

    regions.driver["west"].jobs[JOB] = JobState.CANCELED
    assert (await seen()).slots_free == 0, "they are among the free ones by now, or on their way to be"
    regions.driver["west"].jobs[JOB] = JobState.RUNNING
    await placed(regions, a_fork("UpgradeDeployment"))
    assert (await seen()).slots_free == 0, "only what a drill holds is a drill's"


def _full(w: World) -> Drill:
    """A fork beside the live job, in a region that has just the slots of the two."""
    drill = Drill.made(w)
    w.go("drill", lambda: drill.all(until="start"))
    assert sum(len(tm.held) for tm in w.flink.taskmanagers) == 4
    for tm in w.flink.taskmanagers:
        tm.slots = len(tm.held)
    return drill


def _grow(w: World) -> Callable[[], Awaitable[SwitchFact]]:
    op = w.op()
    wanted = SwitchInput(held=op.held, fleet_digest="", n=1, artifact=ref("v2"), parallelism=4)
    return lambda: switch(op.run(), wanted)


def test_who_needs_slots_has_a_drills_at_once_and_the_drill_is_torn_down_after_it():
    with world() as w:
        drill = _full(w)
        fork = next(job for job in w.flink.jobs.values() if job.live and job.id != w.record.writer.job_id)
        w.go("grow", _grow(w))
        assert fork.state is JobState.CANCELED
        assert w.record.writer.parallelism == 4
        w.go("tear", drill.tear_down)
        assert not [name for name in w.kafka._logs if name.startswith(FORK)]


def test_a_drill_takes_no_slots_of_another_drill():
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", lambda: drill.all(until="start"))
        fork = next(job for job in w.flink.jobs.values() if job.live and job.id != w.record.writer.job_id)
        w.go("other", lambda: make_way(replace(drill.run(), site=w.site)))
        assert fork.live
        op = w.op()
        w.go("real", lambda: make_way(op.run()))
        assert fork.state is JobState.CANCELED


def _fails(error: TidegateError) -> Callable[[], Awaitable[None]]:
    async def step() -> None:
        raise error

    return step


def test_a_drill_whose_job_somebody_has_cancelled_gives_way_and_has_not_failed():
    """Whoever needs its slots cancels it; one that fails by itself, or is cancelled by its own drill, has failed."""
    failed = ProofFailed("the fork is CANCELED after 0 restarts")
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", lambda: drill.all(until="start"))
        live = w.record.writer
        fork = next(job for job in w.flink.jobs.values() if job.live and job.id != live.job_id)

        def beside() -> Awaitable[None]:
            return GivesWay(w.records, DEPLOYMENT, live.job_id, drill.run()).beside(_fails(failed)())

        with pytest.raises(ProofFailed):
            w.go("runs", beside)
        op = w.op()
        w.go("real", lambda: make_way(op.run()))
        w.go("release", op.release)
        with pytest.raises(BasisChanged, match="gives way") as told:
            w.go("cancelled", beside)
        assert told.value.details == {GIVES_WAY: True}

        own = CancelIntent(id="c", step="x", n=1, job_id=fork.id, epoch=1)
        tenure = drill.run().tenure
        w.go("own", lambda: tenure.change("x", 1, lambda record: record.model_copy(
            update={"intents": (*record.intents, own)})))  # fmt: skip
        with pytest.raises(ProofFailed):
            w.go("by itself", beside)


def test_a_drill_that_fails_just_as_the_live_deployment_is_taken_gives_way():
    with world() as w:
        drill = Drill.made(w)
        w.go("drill", lambda: drill.all(until="start"))
        job_id = w.record.writer.job_id
        w.op()
        step = GivesWay(w.records, DEPLOYMENT, job_id, drill.run())
        with pytest.raises(BasisChanged, match="was taken by op"):
            w.go("fails", lambda: step.beside(_fails(ProofFailed("lost"))()))


async def test_what_an_earlier_drill_has_left_is_known_by_its_name_and_by_nobody_else(regions: FailoverWorld):
    fleet, ledger = regions.fleet, regions.fleet.deployment("ledger")
    await placed(regions, a_fork())
    await placed(regions, a_fork(), "ledger-2-drill-00000000")
    await placed(regions, a_fork("UpgradeDeployment"), "ledger-drill-00000001")
    known = await fork_records(regions.control, BUCKET, fleet)
    assert set(known) == {FORK, "ledger-2-drill-00000000"}
    assert set(forks_of(known, fleet, "ledger")) == {FORK}
    assert cell_of(known[FORK]) == "west/cell-1"
    assert cell_of(known[FORK].model_copy(update={"writer": None})) is None
    listed = fleet.model_copy(update={"deployments": {**fleet.deployments, FORK: ledger}})
    assert set(await fork_records(regions.control, BUCKET, listed)) == {"ledger-2-drill-00000000"}, "it is a deployment"
    # Names are cut in a fork's: whose it is would be a guess.
    one, other = (f"ledger-of-the-payments-team-{n}" for n in (1, 2))
    alike = fleet.model_copy(update={"deployments": {one: ledger, other: ledger}})
    cut = {names.drill_fork(one, "op", "run"): a_fork()}
    assert forks_of(cut, alike, one) == {}
