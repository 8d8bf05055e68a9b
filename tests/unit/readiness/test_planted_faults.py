"""A fleet with planted faults: each is found by its id, and none is invented on the clean one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from tests.kit.ready_world import BACK, GRAPH, OUT, World, keyed_operator, topic_at
from tests.kit.snapshot_bytes import id_of
from tests.kit.temporal_world_facts import REVIEW
from tidegate.clients.flink_types import JobState
from tidegate.clients.objects import S3Uri
from tidegate.errors import Unavailable
from tidegate.model.drilled import DrillFacts
from tidegate.model.operation import Outcome
from tidegate.model.recovery import FailoverFacts, Strength
from tidegate.model.review import Severity

Fault = Callable[[World], Awaitable[None]]


async def drill_overdue(world: World) -> None:
    await a_lost_drill(world)
    world.drilled = 9.0
    await world.report("failover-ledger-1", days_ago=world.drilled)


async def rto_over(world: World) -> None:
    slow = FailoverFacts(source="east", target="west", planned=False, strength=Strength.STOPPED, rto_s=95.0, rpo_s=1.0)
    await world.report("failover-ledger-2", days_ago=world.drilled - 0.1, failover=slow)


async def not_restorable(world: World) -> None:
    await world.place_points("west", problem="s3://west/f is missing")


async def no_room(world: World) -> None:
    world.flink["west"].submit("other.jar", {"jobId": "c" * 32, "parallelism": 7})
    world.flink["west"].tick()


async def checkpoints_fail(world: World) -> None:
    assert world.job is not None
    world.job.failed_in_a_row = 4


async def broker_timeout(world: World) -> None:
    world.kafka["west"].settings["transaction.max.timeout.ms"] = "60000"


async def mirror_behind(world: World) -> None:
    await world.write(3)


async def mirror_settings(world: World) -> None:
    world.connect["west"].connectors[f"tidegate-{OUT}"].config["exactly.once.support"] = "disabled"


async def generated_uid(world: World) -> None:
    await world.snapshot(keyed_operator("dedupe", named=False))
    assert world.job is not None
    world.job.program.vertices = (*GRAPH, (id_of("dedupe"), "dedupe name<br/>"))


async def older_flink(world: World) -> None:
    world.flink["west"].version = "2.1.0"


async def short_retention(world: World) -> None:
    topic_at(world.kafka["west"], "balances", retention_ms="3600000")


async def login_refused(world: World) -> None:
    world.refused.add(("west", "ledger"))


TWELVE: dict[str, tuple[Fault, Severity]] = {
    "ready/drill-overdue": (drill_overdue, Severity.BREACH),
    "ready/rto-over-objective": (rto_over, Severity.BREACH),
    "ready/not-restorable": (not_restorable, Severity.BREACH),
    "ready/no-room": (no_room, Severity.BREACH),
    "ready/checkpoints-failing": (checkpoints_fail, Severity.BREACH),
    "ready/transaction-timeout-refused": (broker_timeout, Severity.BREACH),
    "ready/mirror-lag": (mirror_behind, Severity.BREACH),
    "ready/mirror-settings-differ": (mirror_settings, Severity.WARNING),
    "ready/uid-not-set": (generated_uid, Severity.WARNING),
    "ready/flink-versions-differ": (older_flink, Severity.BREACH),
    "ready/retention-short": (short_retention, Severity.BREACH),
    "ready/kafka-login-refused": (login_refused, Severity.BREACH),
}


async def test_nothing_is_found_where_all_is_well():
    found = await (await World.made()).review()
    assert [(one.id, one.subject, one.what) for one in found.findings] == []
    assert found.score == 100
    # No check passed in silence.
    assert {one.check for one in found.passed} >= {
        "restorable in east", "restorable in west", "jar", "last drill", "RTO", "RPO", "room", "memory of slots",
        "checkpoints",
        "checkpoint settings", "transaction timeout", f"mirror {OUT}",
        f"mirror {BACK}, the way back", "provenance", "record ids",
        "uids", "state", "Flink's versions", "topics", "retention in west", "retention against recovery points",
        "S3 of west/cell-1", "log-in of ledger in west", "replicas in east", "Flink in west/cell-1",
        "workers on tidegate-control", "control bucket",
    }  # fmt: skip


async def test_twelve_planted_faults_are_found_and_no_other():
    world = await World.made()
    for fault, _ in TWELVE.values():
        await fault(world)
    found = await world.review()
    assert {one.id for one in found.findings} == set(TWELVE)
    assert len(found.findings) == 12
    assert {one.id: one.severity for one in found.findings} == {name: of for name, (_, of) in TWELVE.items()}
    assert found.score == 0


@pytest.mark.parametrize("name", TWELVE)
async def test_each_fault_alone_is_found_alone(name: str):
    world = await World.made()
    await TWELVE[name][0](world)
    found = await world.review()
    assert [one.id for one in found.findings] == [name]
    assert all(one.what and one.why and one.mend for one in found.findings)


async def a_lost_drill(world: World) -> None:
    world.control.objects = {uri: one for uri, one in world.control.objects.items() if "reports/" not in uri.key}


async def drill_left(world: World) -> None:
    """Terminated; its fork stands."""
    await world.fork(hours_ago=4.0)


async def drill_given_up(world: World) -> None:
    """It gave way to a failover."""
    gave_way = DrillFacts(fork="ledger-drill-1a2b3c4d", point="e7-chk-12")
    await world.report(
        "drill-ledger-4", days_ago=1, runbook="DrillRecovery", outcome=Outcome.UNDONE, why="gave way", failover=None,
        verdict=None, drill=gave_way,
    )  # fmt: skip


async def failed_drill(world: World) -> None:
    await world.report("failover-ledger-3", days_ago=1, outcome=Outcome.UNDONE, why="the mirror was not drained")


async def never_kept(world: World) -> None:
    for uri in [uri for uri in world.control.objects if uri.key == "points/ledger/west.json"]:
        del world.control.objects[uri]


async def no_jar(world: World) -> None:
    for uri in [uri for uri in world.control.objects if uri.key.endswith(".jar")]:
        del world.control.objects[uri]


async def silent_keeper(world: World) -> None:
    now, world.now = world.now, world.now - timedelta(minutes=10)
    await world.place_points("west")
    world.now = now


async def old_point(world: World) -> None:
    await world.place_points("west", taken_at=world.now - timedelta(seconds=90))


async def slow_checkpoint(world: World) -> None:
    assert world.job is not None
    world.job.checkpoint_takes_ms = 1_500


async def short_timeout(world: World) -> None:
    ledger = world.fleet.deployment("ledger").model_copy(update={"transaction_timeout_ms": 30_000})
    world.fleet = world.fleet.model_copy(update={"deployments": {"ledger": ledger}})


async def few_retained(world: World) -> None:
    world.flink["east"].retained = 2


async def dead_job(world: World) -> None:
    assert world.job is not None
    world.flink["east"].jobs[world.job.id].state = JobState.FAILED


async def stopped_mirror(world: World) -> None:
    world.connect["west"].connectors[f"tidegate-{OUT}"].target = "STOPPED"


async def mirror_lost_records(world: World) -> None:
    await world.write(5)
    kafka = world.kafka["east"]
    for tp, end in (await kafka.end_offsets(["payments", "balances"])).items():
        kafka.delete_before(tp, end - (1 if tp.topic == "payments" else 0))
    await world.place_points("east", inputs={"payments-source": {"payments/0": 20, "payments/1": 20}})


async def no_way_back(world: World) -> None:
    mirrors = {name: one for name, one in world.fleet.mirrors.items() if name != BACK}
    world.fleet = world.fleet.model_copy(update={"mirrors": mirrors})


async def no_mirror(world: World) -> None:
    out = world.fleet.mirror(OUT).model_copy(update={"topics": ("payments",)})
    world.fleet = world.fleet.model_copy(update={"mirrors": {**world.fleet.mirrors, OUT: out}})


async def native_records(world: World) -> None:
    for partition in (0, 1):
        for _ in range(600):
            world.kafka["west"].write_plain("payments", partition, [b"p-9,1"])


async def no_ids(world: World) -> None:
    world.kafka["east"].write_plain("payments", 0, [b",10"])
    async with world.reach().link(OUT) as link:
        await world.connect["west"].mirror(link)


async def dropped_state(world: World) -> None:
    await world.snapshot(keyed_operator("dedupe"))


async def topic_gone(world: World) -> None:
    world.kafka["west"].delete_topic("balances")


async def more_partitions(world: World) -> None:
    world.kafka["west"].add_partition("balances")


async def producers_time(world: World) -> None:
    topic_at(world.kafka["west"], "balances", message_timestamp_type="CreateTime")


async def retention_ate_it(world: World) -> None:
    kafka = world.kafka["east"]
    for tp, end in (await kafka.end_offsets(["payments"])).items():
        kafka.delete_before(tp, end)


async def one_broker(world: World) -> None:
    world.kafka["west"].brokers = 1


async def one_replica(world: World) -> None:
    world.kafka["west"].replicas = 1


async def one_in_sync(world: World) -> None:
    topic_at(world.kafka["west"], "balances", min_insync_replicas="1")


async def no_ha(world: World) -> None:
    world.flink["west"].ha = False


async def one_taskmanager(world: World) -> None:
    world.flink["west"].taskmanagers.pop()


async def one_worker(world: World) -> None:
    world.workers["tidegate-region-west"] = 1


async def nobody_works(world: World) -> None:
    world.workers["tidegate-region-west"] = 0


async def control_inside(world: World) -> None:
    s3 = world.fleet.control.s3.model_copy(update={"endpoint": "http://s3.east.test:9001"})
    control = world.fleet.control.model_copy(update={"s3": s3})
    world.fleet = world.fleet.model_copy(update={"control": control})


async def no_bucket(world: World) -> None:
    world.stores["west"].buckets = {"another"}


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        (a_lost_drill, {"no-drill", "rto-not-measured", "rpo-not-measured"}),
        (failed_drill, {"drill-failed"}),
        (drill_given_up, {"drill-given-up"}),
        (drill_left, {"drill-left"}),
        (never_kept, {"no-recovery-points"}),
        (no_jar, {"jar-not-kept"}),
        (silent_keeper, {"keeper-silent"}),
        (old_point, {"point-older-than-rpo"}),
        (slow_checkpoint, {"checkpoint-slow"}),
        (short_timeout, {"transaction-timeout-short"}),
        (few_retained, {"checkpoint-settings"}),
        (dead_job, {"not-running"}),
        (stopped_mirror, {"mirror-not-running"}),
        (no_way_back, {"no-mirror-back"}),
        (no_mirror, {"no-mirror"}),
        (native_records, {"no-provenance"}),
        (no_ids, {"record-id-missing"}),
        (dropped_state, {"state-dropped"}),
        (topic_gone, {"topic-missing"}),
        (more_partitions, {"partitions-differ"}),
        (producers_time, {"output-timestamps"}),
        (retention_ate_it, {"retention-below-point"}),
        (one_broker, {"one-broker"}),
        (one_replica, {"one-replica"}),
        (one_in_sync, {"min-isr-1"}),
        (no_ha, {"no-ha"}),
        (one_taskmanager, {"one-taskmanager"}),
        (one_worker, {"one-worker"}),
        (nobody_works, {"no-worker"}),
        (control_inside, {"control-in-region"}),
        (no_bucket, {"s3-refused"}),
    ],
)
async def test_every_other_fault_is_found_by_its_id(fault: Fault, ids: set[str]):
    world = await World.made()
    await fault(world)
    found = await world.review()
    assert {one.id.removeprefix("ready/") for one in found.findings} == ids
    assert found.score < 100


async def test_x7_what_the_mirror_lost_is_a_hole():
    world = await World.made()
    await mirror_lost_records(world)
    found = await world.review()
    assert "ready/mirror-hole" in {one.id for one in found.findings}


async def test_a_region_that_hangs_is_told_once_for_each_part_and_holds_nothing_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tidegate.readiness.reach.ASK_S", 0.3)
    world = await World.made()
    hangs = asyncio.Event()

    async def for_ever(*_: object) -> None:
        await hangs.wait()

    world.stores["west"].before = for_ever
    world.kafka["west"].ping = for_ever  # type: ignore[method-assign]
    world.net["west"].down = True
    found = await asyncio.wait_for(world.review(), 60.0)
    told = {one.subject: one for one in found.findings}
    assert set(told) == {"Kafka in west", "Flink in west/cell-1", "S3 in west"}
    assert {one.id for one in found.findings} == {"ready/not-known"}
    assert {one.severity for one in found.findings} == {Severity.UNKNOWN}
    assert "no answer within 0.3 s" in told["Kafka in west"].what
    for check in ("retention", "log-in of ledger in west", "replicas", "the broker's longest transaction"):
        assert check in told["Kafka in west"].why
    assert "room in west" in told["Flink in west/cell-1"].why


async def test_a_control_bucket_that_is_away_is_not_known_and_nothing_passes_for_it():
    world = await World.made()

    async def away(op: str, uri: object) -> None:
        raise Unavailable(f"the control bucket does not answer ({op} {uri})")

    world.control.before = away
    found = await world.review()
    told = next(one for one in found.findings if one.subject == "the control bucket")
    for check in (
        "restorable in east",
        "restorable in west",
        "last drill",
        "objectives",
        "checkpoints",
        "room in west",
    ):
        assert check in told.why, check
    assert not {one.check for one in found.passed} & {"restorable in west", "last drill", "checkpoints", "room"}


async def test_reviews_by_the_hour_do_not_hide_the_last_drill():
    world = await World.made()
    for number in range(90):
        await world.report(
            f"review-{number}", days_ago=1 - number / 100, runbook="ReviewReadiness", review=REVIEW, failover=None
        )
    found = await world.review()
    assert [one.id for one in found.findings] == []
    assert [one.operation for one in found.trend if one.rto_s is not None] == ["failover-ledger-1"]
    assert len([one for one in found.trend if one.score is not None]) == 40


async def test_a_drill_that_runs_now_takes_no_room_and_has_left_nothing():
    """A failover has its slots; a review in the hour of the drills finds what one an hour later finds."""
    world = await World.made()
    await world.fork(hours_ago=0.5)
    west = world.flink["west"]
    west.taskmanagers[0].held += ["f" * 32] * 4
    west.taskmanagers[1].held += ["f" * 32] * 3
    found = await world.review()
    assert [(one.id, one.what) for one in found.findings if one.id in {"ready/no-room", "ready/drill-left"}] == []
    assert any(one.check == "what drills have left" and "under way" in one.fact for one in found.passed)
    await world.control.delete(S3Uri("tidegate", "own/ledger-drill-1a2b3c4d.json"))
    assert "ready/no-room" in [one.id for one in (await world.review()).findings]
