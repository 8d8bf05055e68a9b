"""The session cluster driver against a fake Flink that keeps to what was seen on Flink 2.2.0."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_model import FakeTaskManager, Hooks, Program
from tests.kit.flink_fake_net import FlinkNet
from tidegate.clients.flink import FlinkClient, jar_name
from tidegate.clients.flink_types import JobState
from tidegate.driver.base import (
    ArtifactFile,
    BurnKind,
    DeploymentDriver,
    Prepared,
    StartKind,
    StartOutcome,
    StartRequest,
    StopPhase,
    no_heartbeat,
)
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import InvalidInput, NoProgress, OperationFailed, Refused, StartRejected, Unavailable
from tidegate.model.record import SlotMemory
from tidegate.names import derive_id

WAIT = {"deadline_s": 5.0, "heartbeat": no_heartbeat, "poll_ms": 1}


@dataclass
class World:
    flink: FakeFlink
    net: FlinkNet
    driver: SessionClusterDriver
    artifact: ArtifactFile
    events: list[str]
    programs: dict[str, Program]

    async def prepared(self) -> Prepared:
        return await self.driver.prepare(self.artifact, entry_class="Job", args=[], parallelism=2)

    async def started(self, n: int = 1, *, snapshot: str | None = None, args: tuple[str, ...] = ()) -> StartOutcome:
        request = StartRequest(
            job_id=job(n), prepared=await self.prepared(), args=list(args), parallelism=2, snapshot=snapshot
        )
        return await self.driver.start(request)


def job(n: int) -> str:
    return derive_id("job", n)


TRIGGER = derive_id("trigger")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path = tmp_path / "ledger.jar"
    path.write_bytes(b"PK ledger")
    events: list[str] = []
    programs: dict[str, Program] = {}
    hooks = Hooks(
        on_start=lambda j, args, snapshot: events.append(f"start from {snapshot}"),
        on_checkpoint_completed=lambda j, n: events.append(f"checkpoint {n}"),
        on_stop=lambda j: events.append(f"stopped as {j.state}"),
        write_snapshot=lambda j, snapshot, n: events.append(f"wrote {snapshot.rsplit('/', 1)[-1][:9]}"),
    )
    flink = FakeFlink(
        checkpoint_interval_ms=None,
        slots=4,
        hooks=hooks,
        program=lambda jar, args: programs.get(args[0] if args else "", Program()),
    )
    net = FlinkNet(flink)
    artifact = ArtifactFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), name="ledger")
    async with net.client() as client:
        driver: DeploymentDriver = SessionClusterDriver(client)  # the protocol is kept
        assert isinstance(driver, SessionClusterDriver)
        yield World(flink, net, driver, artifact, events, programs)


async def test_prepare_uploads_once_and_finds_a_leftover_by_its_hash(world: World):
    first = await world.prepared()
    assert await world.prepared() == first
    assert [name for name, _, _ in world.flink.jars.values()] == [jar_name(world.artifact.sha256, "ledger")]
    assert [content for _, content, _ in world.flink.jars.values()] == [b"PK ledger"]


async def test_prepare_refuses_what_cannot_run(world: World):
    with pytest.raises(Refused, match=r"5 slots are needed .*, 4 of 4 are free"):
        await world.driver.prepare(world.artifact, entry_class="Job", args=[], parallelism=5)
    await world.started()
    with pytest.raises(Refused, match="2 of 4"):
        await world.driver.prepare(world.artifact, entry_class="Job", args=[], parallelism=4)
    ready = await world.driver.prepare(world.artifact, entry_class="Job", args=[], parallelism=4, replaces=job(1))
    assert ready.slots_needed == 4
    world.programs["bad"] = Program(main_throws="java.lang.IllegalStateException: main says no")
    with pytest.raises(InvalidInput, match="main says no"):
        await world.driver.prepare(world.artifact, entry_class="Job", args=["bad"], parallelism=2)


async def test_stop_and_start_from_its_snapshot(world: World):
    assert (await world.started()).kind is StartKind.ACCEPTED
    running = await world.driver.wait_running(job(1), **WAIT)
    assert running.running_ms == world.flink.jobs[job(1)].tasks_running_ms
    await world.driver.begin_stop(job(1), trigger_id=TRIGGER, directory="s3://b/sp")
    stop = await world.driver.wait_stop(job(1), TRIGGER, **WAIT)
    assert stop.phase is StopPhase.COMPLETED
    assert stop.location is not None
    assert await world.driver.state(job(1)) is JobState.FINISHED
    assert (await world.started(2, snapshot=stop.location)).kind is StartKind.ACCEPTED
    view = await world.driver.observe(job(2))
    assert (view.restored_from, view.all_running, view.parallelism) == (stop.location, True, 2)
    # Its savepoint was written before its sinks committed, and all of that before the tasks ended.
    assert world.events == [
        "start from None",
        "wrote savepoint",
        "checkpoint 1",
        "stopped as FINISHED",
        f"start from {stop.location}",
    ]


async def test_a_stop_whose_answer_was_lost_is_the_same_stop_when_sent_again(world: World):
    """O6: one trigger id, one savepoint, however often it is posted; also after the job has finished."""
    await world.started()
    world.net.lose_answer(r"POST /jobs/\w+/stop")
    with pytest.raises(Unavailable) as caught:
        await world.driver.begin_stop(job(1), trigger_id=TRIGGER, directory="s3://b/sp")
    assert caught.value.details["sent"] is True
    first = await world.driver.wait_stop(job(1), TRIGGER, **WAIT)
    await world.driver.begin_stop(job(1), trigger_id=TRIGGER, directory="s3://b/sp")
    assert await world.driver.wait_stop(job(1), TRIGGER, **WAIT) == first
    assert world.events.count("wrote savepoint") == 1


async def test_what_a_failed_stop_leaves(world: World):
    """X2: a stopping exception leaves a whole snapshot, any other failure a running job."""
    await world.started()
    world.flink.fail_next_stop = "java.io.IOException: S3 says no"
    await world.driver.begin_stop(job(1), trigger_id=TRIGGER, directory="s3://b/sp")
    stop = await world.driver.wait_stop(job(1), TRIGGER, **WAIT)
    assert (stop.phase, stop.location, stop.job_state) == (StopPhase.FAILED, None, JobState.RUNNING)
    assert "S3 says no" in stop.message
    world.flink.break_next_stop = True
    again = derive_id("again")
    await world.driver.begin_stop(job(1), trigger_id=again, directory="s3://b/sp")
    stop = await world.driver.wait_stop(job(1), again, **WAIT)
    assert (stop.phase, stop.job_state) == (StopPhase.NOT_COMMITTED, JobState.FAILED)
    assert stop.location in world.flink.snapshots
    assert "checkpoint 1" not in world.events  # nothing was committed


async def test_a_stop_of_a_job_that_is_not_there(world: World):
    await world.driver.begin_stop(job(9), trigger_id=TRIGGER, directory="s3://b/sp")
    stop = await world.driver.wait_stop(job(9), TRIGGER, **WAIT)
    assert (stop.phase, stop.job_state) == (StopPhase.JOB_UNKNOWN, None)
    assert (await world.driver.poll_stop(job(9), derive_id("never"))).phase is StopPhase.UNKNOWN


async def test_a_start_whose_answer_was_lost_is_a_duplicate_of_itself(world: World):
    """I4: the same start again starts nothing twice."""
    await world.prepared()
    world.net.lose_answer(r"POST /jars/.*/run")
    with pytest.raises(Unavailable):
        await world.started()
    again = await world.started()
    assert (again.kind, again.state, again.burned) == (StartKind.DUPLICATE, JobState.RUNNING, True)
    assert world.events == ["start from None"]


async def test_a_rejected_start_says_whether_its_id_is_used_up(world: World):
    """O6: a failed initialization uses the id up, a main method that throws does not."""
    refused = await world.started(snapshot="s3://b/none")
    assert (refused.kind, refused.burned, refused.state) == (StartKind.REJECTED, True, JobState.FAILED)
    assert "Cannot find checkpoint or savepoint" in refused.message
    world.programs["throws"] = Program(main_throws="java.lang.IllegalStateException: main says no")
    refused = await world.started(2, args=("throws",))
    assert (refused.kind, refused.burned, refused.state) == (StartKind.REJECTED, False, None)
    assert (await world.started(2)).kind is StartKind.ACCEPTED


async def test_a_jar_that_was_swept_is_put_there_again(world: World):
    prepared = await world.prepared()
    world.flink.jars.clear()
    started = await world.driver.start(StartRequest(job_id=job(1), prepared=prepared, parallelism=2, snapshot=None))
    assert started.kind is StartKind.ACCEPTED


async def test_a_burn_makes_a_late_submit_harmless(world: World):
    """O6, O10: the proxy holds a submit until the new owner has burned its id, then delivers it."""
    prepared = await world.prepared()
    held = world.net.hold(r"POST /jars/.*/run")
    with pytest.raises(Unavailable):
        await world.started()
    burn = await world.driver.burn(job(1), prepared, args=[])
    assert (burn.kind, burn.state) == (BurnKind.BURNED, JobState.FAILED)
    status, answer = held.deliver()
    assert status == 400
    assert "DuplicateJobSubmissionException" in str(answer)
    assert world.events == []


async def test_a_burn_of_what_runs_disturbs_nothing(world: World):
    await world.started()
    burn = await world.driver.burn(job(1), await world.prepared(), args=[])
    assert (burn.kind, burn.state) == (BurnKind.EXISTS, JobState.RUNNING)
    assert world.events == ["start from None"]


async def test_a_burn_that_did_not_take_is_an_error(world: World):
    """O6: a failure before there is a job graph burns nothing."""
    world.programs["throws"] = Program(main_throws="java.lang.IllegalStateException: main says no")
    with pytest.raises(OperationFailed, match="did not take"):
        await world.driver.burn(job(1), await world.prepared(), args=["throws"])
    assert (await world.started()).kind is StartKind.ACCEPTED


async def test_a_burn_whose_answer_was_lost_is_seen_when_sent_again(world: World):
    prepared = await world.prepared()
    world.net.lose_answer(r"POST /jars/.*/run")
    with pytest.raises(Unavailable):
        await world.driver.burn(job(1), prepared, args=[])
    burn = await world.driver.burn(job(1), prepared, args=[])
    assert (burn.kind, burn.state) == (BurnKind.EXISTS, JobState.FAILED)


async def test_a_burn_holds_for_one_incarnation_only(world: World):
    """O6: a JobManager without high availability forgets ids, triggers and jobs."""
    await world.started()
    await world.driver.begin_stop(job(1), trigger_id=TRIGGER, directory="s3://b/sp")
    await world.driver.burn(job(2), await world.prepared(), args=[])
    world.flink.restart_jobmanager(forget_jars=True)
    assert await world.driver.list_jobs() == {}
    assert (await world.driver.poll_stop(job(1), TRIGGER)).phase is StopPhase.UNKNOWN
    assert (await world.driver.observe(job(1))).state is None
    assert (await world.started(2)).kind is StartKind.ACCEPTED


async def test_waits_end(world: World):
    """I6: a job that ends, one that is forgotten, one that never runs."""
    world.programs["crash"] = Program(crash_after_checkpoints=0)
    await world.started(args=("crash",))
    with pytest.raises(StartRejected, match=r"FAILED before all of its tasks ran: java\.lang.IllegalStateException"):
        await world.driver.wait_running(job(1), **WAIT)
    assert await world.driver.wait_terminal(job(1), **WAIT) is JobState.FAILED
    view = await world.driver.observe(job(1))
    assert view.restarts == 2
    assert view.first_error == "java.lang.IllegalStateException: broken on purpose"
    world.programs["slow"] = Program(start_takes_s=60)
    await world.started(2, args=("slow",))
    beats: list[dict[str, object]] = []
    with pytest.raises(NoProgress, match=r"waited 0\.05 s for job .* to run; last seen: .*tasks_running 0"):
        await world.driver.wait_running(job(2), deadline_s=0.05, heartbeat=beats.append, poll_ms=5)
    assert beats
    assert beats[-1]["tasks"] == 4
    world.flink.restart_jobmanager()
    with pytest.raises(StartRejected, match="not known"):
        await world.driver.wait_running(job(2), **WAIT)
    assert await world.driver.wait_terminal(job(2), **WAIT) is None


async def test_a_wait_outlives_an_outage(world: World):
    await world.started()
    world.net.down = True

    def back(figures: dict[str, object]) -> None:
        assert "did not answer" in str(figures["unavailable"])
        world.net.down = False

    await world.driver.wait_running(job(1), deadline_s=5, heartbeat=back, poll_ms=1)


async def test_a_cancelled_watcher_ends_the_wait(world: World):
    world.programs["slow"] = Program(start_takes_s=60)
    await world.started(args=("slow",))

    def cancelled(_figures: dict[str, object]) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await world.driver.wait_running(job(1), deadline_s=5, heartbeat=cancelled)


async def test_cancel(world: World):
    await world.started()
    world.flink.complete_checkpoint(job(1))
    assert await world.driver.cancel(job(1)) is JobState.CANCELED
    assert await world.driver.cancel(job(1)) is JobState.CANCELED
    assert await world.driver.cancel(job(9)) is None
    view = await world.driver.observe(job(1))
    assert view.last_checkpoint is not None
    assert view.last_checkpoint.path == f"s3://flink/checkpoints/{job(1)}/chk-1"
    assert view.last_checkpoint.path in world.flink.snapshots  # retained on cancellation


async def test_checkpoint_settings_are_judged(world: World):
    """X11."""
    await world.started()
    settings = await world.driver.checkpoint_settings(job(1))
    assert settings.problems(min_retained=5) == []
    assert settings.problems(min_retained=11) == ["Flink retains 10 checkpoints, 11 are needed"]
    assert settings.directory == "s3://flink/checkpoints"
    world.programs["loose"] = Program(mode="at_least_once", retained=False)
    await world.started(2, args=("loose",))
    assert len((await world.driver.checkpoint_settings(job(2))).problems(min_retained=5)) == 2
    with pytest.raises(OperationFailed, match="knows no checkpoints"):
        await world.driver.checkpoint_settings(job(9))


async def test_neighbours_and_capacity(world: World):
    """X14: the plan names who goes down with the TaskManager."""
    await world.started(1)
    await world.started(2)
    (neighbour,) = await world.driver.neighbours(job(1))
    assert neighbour.job_id == job(2)
    assert (await world.driver.capacity()).slots_free == 0
    assert await world.driver.find_jobs([job(1), job(9)]) == {job(1): JobState.RUNNING}
    world.flink.kill_taskmanager()
    assert (await world.driver.observe(job(2))).restarts == 1
    assert "TaskManagerLostException" in (await world.driver.logs(job(1))).exceptions[0]


async def test_the_memory_of_a_slot_is_that_of_the_smallest_whichever_taskmanager_it_is_on(world: World):
    first = world.flink.taskmanagers[0]
    first.slots, first.managed_mib, first.heap_mib = 4, 512, 1_000
    assert await world.driver.slot_memory() == SlotMemory(managed_mib=128.0, heap_mib=250.0)
    world.flink.taskmanagers.append(FakeTaskManager("127.0.0.1:4999-fake", 3, managed_mib=1_000, heap_mib=500))
    assert await world.driver.slot_memory() == SlotMemory(managed_mib=128.0, heap_mib=166.7)
    world.flink.taskmanagers.clear()
    assert await world.driver.slot_memory() is None, "nobody knows what the next TaskManager will have"


async def test_the_fake_answers_stale_details_and_fresh_states(world: World):
    """The fake has the trap that the driver must not step into."""
    await world.started()
    await world.driver.observe(job(1))
    await world.driver.cancel(job(1))
    details = await world.driver.client.job(job(1))
    assert details is not None
    assert details.state is JobState.RUNNING  # a copy from before
    assert await world.driver.state(job(1)) is JobState.CANCELED
    assert not (await world.driver.observe(job(1))).all_running


async def test_high_availability_brings_jobs_back(world: World):
    world.flink.ha = True
    await world.started()
    done = world.flink.complete_checkpoint(job(1))
    world.flink.restart_jobmanager()
    assert await world.driver.state(job(1)) is JobState.RUNNING
    assert world.events[-1] == f"start from {done.path}"


async def test_over_a_real_port(world: World):
    world.flink.checkpoint_interval_ms = 10
    with world.net.serve(tick_s=0.01) as url:
        async with FlinkClient(url) as client:
            driver = SessionClusterDriver(client)
            prepared = await driver.prepare(world.artifact, entry_class="Job", args=[], parallelism=2)
            request = StartRequest(job_id=job(1), prepared=prepared, parallelism=2, snapshot=None)
            assert (await driver.start(request)).kind is StartKind.ACCEPTED
            await driver.wait_running(job(1), **WAIT)
            await driver.begin_stop(job(1), trigger_id=TRIGGER, directory="s3://b/sp")
            assert (await driver.wait_stop(job(1), TRIGGER, **WAIT)).phase is StopPhase.COMPLETED
            world.net.lose_answer("GET /overview")
            with pytest.raises(Unavailable) as caught:
                await driver.capacity()
            assert caught.value.details["sent"] is True
    with pytest.raises(Unavailable) as caught:
        async with FlinkClient(url) as client:
            await client.overview()
    assert caught.value.details["sent"] is False
