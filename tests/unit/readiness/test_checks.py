"""The checks as functions of facts: what a missing fact does, and where a border lies. No server."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.kit.ready_world import BUCKET, World
from tests.kit.temporal_world_facts import pinned
from tidegate.clients.kafka_types import LogRecord
from tidegate.incidents.model import FollowUp, Incident
from tidegate.incidents.store import IncidentStore
from tidegate.model.drilled import DrillFacts, TornDown
from tidegate.model.fleet import RecordId, Secret
from tidegate.model.operation import Outcome
from tidegate.model.record import DeploymentRecord, MadeWay, SlotMemory, utc_now
from tidegate.model.review import PENALTY, Finding, Severity, score_of
from tidegate.readiness import drills, follow_ups, health, mirrors, restorable, single, standby, state, topics
from tidegate.readiness.facts import Facts, NotKnown
from tidegate.readiness.gather_links import differences, has_id
from tidegate.readiness.review import CHECKS, review
from tidegate.readiness.sheet import Unasked

SILENT = NotKnown("it", "no answer within 12 s")


@pytest.fixture
async def facts() -> Facts:
    world = await World.made()
    return await world.facts()


def _ids(said: object) -> list[str]:
    return [one.id for one in said if isinstance(one, Finding)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "field",
    [
        "record",
        "reports",
        "follow_ups",
        "jar_kept",
        "job",
        "state",
        "record_ids",
        "room",
        "queues",
        "cell_away",
        "scheduled",
        "forks",
    ],
)
async def test_each_fact_that_is_missing_is_told_and_passes_for_nothing(facts: Facts, field: str):
    found = review(replace(facts, **{field: SILENT}))
    assert [(one.id, one.subject) for one in found.findings] == [("ready/not-known", "it")]
    assert "no answer within 12 s" in found.findings[0].what
    before = {one.check for one in review(facts).passed}
    lost = before - {one.check for one in found.passed}
    assert lost, "a check went on without its fact"


async def test_points_links_and_regions_that_are_missing_are_told_too(facts: Facts):
    west = facts.regions["west"]
    silent = replace(west, kafka=SILENT, starts=SILENT, cells={"cell-1": SILENT}, s3={"cell-1": SILENT})
    away = replace(
        facts,
        points={"east": SILENT, "west": SILENT},
        forward={"east-to-west": SILENT},
        back={"west-to-east": SILENT},
        logins={("west", "ledger"): SILENT},
        regions={**facts.regions, "west": silent},
    )
    (one,) = review(away).findings
    checks = (
        "restorable in west", "mirror east-to-west", "the way back", "log-in of ledger in west", "room in west",
        "topics", "retention", "replicas", "S3 of west/cell-1", "Flink's versions",
    )  # fmt: skip
    for check in checks:
        assert check in one.why, check


async def test_a_group_of_checks_says_something_of_every_deployment(facts: Facts):
    """No check ends without a word, whatever is there."""
    for check in CHECKS:
        assert list(check(facts)), check


async def test_what_an_incident_has_left_to_be_done_is_told_until_it_is_done():
    world = await World.made()
    today = utc_now().date()

    def incident(name: str, due: date, deployments: tuple[str, ...]) -> Incident:
        to_do = FollowUp(number=1, text="name the principals", owner="ana", due=due, added_at=utc_now(), added_by="ana")
        return Incident(
            id=name, title=name, severity="sev2", deployments=deployments, began_at=utc_now(), opened_at=utc_now(),
            opened_by="ana", follow_ups=(to_do,),
        )  # fmt: skip

    store = IncidentStore(world.control, BUCKET)
    await store.open(incident("late", today - timedelta(days=3), ("ledger",)))
    await store.open(incident("early", today + timedelta(days=3), ()))
    await store.open(incident("of-another", today, ("other",)))
    facts = await world.facts()
    found = [one for one in follow_ups.check(facts) if isinstance(one, Finding)]
    assert [(one.id, one.subject) for one in found] == [
        ("ready/follow-up-overdue", "late"),
        ("ready/follow-up-open", "early"),
    ]
    assert "overdue by 3 days" in found[0].what
    assert found[0].mend == ("tidegate incident follow-up late --done 1",)


async def test_the_age_of_a_drill_counts_from_the_last_that_ended_well(facts: Facts):
    assert not isinstance(facts.reports, NotKnown)
    (drill,) = facts.reports
    for days, ids in ((6.9, []), (7.1, ["ready/drill-overdue"])):
        old = drill.model_copy(update={"ended": facts.now - timedelta(days=days)})
        assert _ids(drills.check_drills(replace(facts, reports=(old,)))) == ids
    dry = drill.model_copy(update={"runbook": "SweepSnapshots"})
    assert _ids(drills.check_drills(replace(facts, reports=(dry,)))) == ["ready/no-drill"]


async def test_to_take_away_what_a_drill_has_left_is_no_proof_that_it_can_be_restored(facts: Facts):
    assert not isinstance(facts.reports, NotKnown)
    (drill,) = facts.reports
    tidied = drill.model_copy(
        update={
            "operation": "drill-ledger-clean", "runbook": "DrillRecovery", "failover": None, "ended": facts.now,
            "drill": DrillFacts(fork="ledger-drill-1a2b3c4d", torn_down=TornDown(topics=1)),
        }
    )  # fmt: skip
    assert not drills.proves(tidied)
    assert _ids(drills.check_drills(replace(facts, reports=(tidied,)))) == ["ready/no-drill"]
    assert _ids(drills.check_drills(replace(facts, reports=(tidied, drill)))) == []
    left = tidied.model_copy(
        update={"outcome": Outcome.BAD_VERDICT, "drill": DrillFacts(fork="ledger-drill-1a2b3c4d", left="topic x")}
    )
    assert _ids(drills.check_drills(replace(facts, reports=(left, drill)))) == [], "nothing has failed to be restored"


async def test_a_drill_that_was_given_up_shows_nothing_and_is_not_called_a_failure(facts: Facts):
    """It gave way to a failover, or somebody has aborted it: that is no breach, and it renews no proof."""
    assert not isinstance(facts.reports, NotKnown)
    (good,) = facts.reports
    given_up = good.model_copy(
        update={
            "operation": "drill-ledger-2", "runbook": "DrillRecovery", "failover": None, "ended": facts.now,
            "outcome": Outcome.UNDONE, "why": "ledger was taken by failover-1", "drill": DrillFacts(fork="f"),
        }
    )  # fmt: skip
    found = [one for one in drills.check_drills(replace(facts, reports=(given_up, good))) if isinstance(one, Finding)]
    assert [(one.id, one.severity) for one in found] == [("ready/drill-given-up", Severity.WARNING)]
    assert "taken by failover-1" in found[0].what
    old = good.model_copy(update={"ended": facts.now - timedelta(days=8)})
    assert _ids(drills.check_drills(replace(facts, reports=(given_up, old)))) == [
        "ready/drill-given-up",
        "ready/drill-overdue",
    ]
    failed = old.model_copy(update={"ended": facts.now - timedelta(days=1), "outcome": Outcome.BAD_VERDICT})
    ids = _ids(drills.check_drills(replace(facts, reports=(given_up, failed, good))))
    assert "ready/drill-failed" in ids, "it hides none that has failed before it"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((59.0,), None),
        ((20.0, 21.0, 19.0), None),
        ((10.0, 12.0, 14.0), None),  # at 18 after as many more: far from 60
        ((20.0, 30.0, 41.0), "rises from one to the next"),
        ((20.0, 41.0, 30.0), None),
        ((90.0, 30.0), "was over the objective in 1 of the last 2"),
        ((30.0, 61.0, 20.0), "was over the objective in 1 of the last 3"),
    ],
)
async def test_an_objective_is_held_against_the_trend_not_only_the_newest(
    facts: Facts, values: tuple[float, ...], said: str | None
):
    """The objective is 60 s. One drill that went well does not hide two that did not."""
    assert not isinstance(facts.reports, NotKnown)
    (one,) = facts.reports
    assert one.failover is not None
    reports = tuple(
        one.model_copy(
            update={
                "ended": facts.now - timedelta(days=len(values) - number),
                "failover": one.failover.model_copy(update={"rto_s": value}),
            }
        )
        for number, value in enumerate(values)
    )
    found = [told for told in drills.check_objectives(replace(facts, reports=reports)) if isinstance(told, Finding)]
    assert [(told.id, told.severity) for told in found] == ([("ready/rto-trend", Severity.WARNING)] if said else [])
    assert said is None or said in found[0].what


async def test_x3_the_transaction_timeout_covers_interval_checkpoint_and_rto(facts: Facts):
    """Interval 1 s, checkpoint 0 s, RTO 60 s."""
    for timeout_ms, ids in ((61_000, []), (60_999, ["ready/transaction-timeout-short"])):
        spec = facts.spec.model_copy(update={"transaction_timeout_ms": timeout_ms})
        assert _ids(health.check_transactions(replace(facts, spec=spec))) == ids


async def test_without_a_standby_that_is_the_breach_and_nothing_is_asked_of_one(facts: Facts):
    alone = replace(
        facts, standby=None, cell_away=None, room=None, forward={}, back={}, uncovered=(), uncovered_back=()
    )
    assert _ids(restorable.check(alone)) == ["ready/no-standby"]
    assert list(standby.check_room(alone)) == []
    assert list(mirrors.check_mirrors(alone)) == []


async def test_without_a_snapshot_uids_are_not_known_instead_of_well(facts: Facts):
    (said,) = state.check(replace(facts, state=None))
    assert isinstance(said, Unasked)


async def test_one_broker_says_it_all_where_there_is_one(facts: Facts):
    west = facts.regions["west"]
    assert not isinstance(west.kafka, NotKnown)
    lonely = replace(west, kafka=replace(west.kafka, brokers=1))
    assert _ids(single.check(replace(facts, regions={**facts.regions, "west": lonely}))) == ["ready/one-broker"]


async def test_a_topic_without_limit_outlives_every_outage(facts: Facts):
    assert topics.retention_s({"retention.ms": "-1"}) is None
    assert topics.retention_s({"retention.ms": "1500"}) == 1.5
    assert _ids(topics.check_retention(replace(facts, outage_s=604_801.0))).count("ready/retention-short") == 4


def _finding(severity: Severity) -> Finding:
    return Finding(id="ready/x", severity=severity, deployment="a", subject="", what="x", why="y", mend=("z",))


def test_the_same_fault_costs_more_where_more_depends_on_it():
    breach = [_finding(Severity.BREACH)]
    assert [score_of(breach, tier) for tier in (0, 1, 2, 9)] == [70, 80, 85, 85]
    assert score_of([], 0) == 100
    assert score_of(breach * 9, 1) == 0
    assert PENALTY[Severity.BREACH] > PENALTY[Severity.UNKNOWN] > PENALTY[Severity.WARNING]


def test_settings_that_differ_are_named_and_their_values_are_not():
    wanted = {"a": "1", "source.cluster.sasl.jaas.config": "password=secret"}
    known = {"a": "1", "source.cluster.sasl.jaas.config": "password=other", "extra": "x"}
    assert differences(wanted, known) == ("extra", "source.cluster.sasl.jaas.config")
    assert differences(wanted, dict(wanted)) == ()
    assert differences(wanted, None) == ()


@pytest.mark.parametrize(
    ("rule", "value", "headers", "there"),
    [
        (RecordId(column=0), b"p-1,10", (), True),
        (RecordId(column=2), b"p-1,10", (), False),
        (RecordId(column=0), b" ,10", (), False),
        (RecordId(column=0), None, (), False),
        (RecordId(column=0), b"\xff\xfe", (), False),
        (RecordId(column=1, separator=";"), b"a;b", (), True),
        (RecordId(header="id"), b"", (("id", b"7"),), True),
        (RecordId(header="id"), b"", (("id", b""),), False),
        (RecordId(header="id"), b"", (("other", b"7"),), False),
    ],
)
def test_x23_where_a_record_carries_its_id(rule: RecordId, value: bytes | None, headers: tuple, there: bool):
    assert has_id(rule)(LogRecord(0, 0, None, value, headers)) is there


async def test_a_secret_that_is_not_here_is_not_known_and_no_refusal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    world = await World.made()
    ledger = world.fleet.deployment("ledger").model_copy(update={"principal_password": Secret(env="NOT_SET_HERE")})
    west = world.fleet.region("west")
    s3 = west.s3.model_copy(update={"secret_key": Secret(env="NOT_SET_HERE")})
    regions = {**world.fleet.regions, "west": west.model_copy(update={"s3": s3})}
    world.fleet = world.fleet.model_copy(update={"deployments": {"ledger": ledger}, "regions": regions})
    found = await world.review()
    assert {one.id for one in found.findings} == {"ready/not-known"}
    assert {one.subject for one in found.findings} == {"log-in of ledger", "S3 in west"}
    assert all("NOT_SET_HERE" in one.what for one in found.findings)


def _smaller(facts: Facts, region: str, memory: SlotMemory | None) -> Facts:
    there = facts.regions[region]
    cell = there.cells["cell-1"]
    assert not isinstance(cell, NotKnown)
    cells = {"cell-1": replace(cell, slot_memory=memory)}
    return replace(facts, regions={**facts.regions, region: replace(there, cells=cells)})


async def test_slots_with_less_memory_in_the_standby_are_told_with_both_figures(facts: Facts):
    less = _smaller(facts, "west", SlotMemory(managed_mib=8.0, heap_mib=32.0))
    (found,) = standby.check_memory(less)
    assert isinstance(found, Finding)
    assert (found.id, found.severity, found.subject) == ("ready/less-memory", Severity.WARNING, "west/cell-1")
    assert found.what == (
        "a slot in west/cell-1 has less than those in east/cell-1, where it runs: managed memory 8 MiB instead of 16 "
        "MiB"
    )
    assert "taskmanager.memory.managed.size" in found.mend[0]
    more = _smaller(facts, "west", SlotMemory(managed_mib=64.0, heap_mib=64.0))
    assert _ids(standby.check_memory(more)) == []


async def test_without_home_the_record_says_what_its_slots_had(facts: Facts):
    assert isinstance(facts.record, DeploymentRecord)
    assert facts.record.writer is not None
    runs = facts.record.writer.model_copy(update={"slot_memory": SlotMemory(managed_mib=16.0, heap_mib=64.0)})
    record = facts.record.model_copy(update={"writer": runs})
    east = replace(facts.regions["east"], cells={"cell-1": SILENT})
    gone = replace(facts, record=record, regions={**facts.regions, "east": east})
    (found,) = standby.check_memory(gone)
    assert isinstance(found, Finding)
    assert "than those that it was started in, in east/cell-1: task heap 32 MiB instead of 64 MiB" in found.what
    (unknown,) = standby.check_memory(replace(gone, record=facts.record))
    assert isinstance(unknown, Unasked)
    assert unknown.of == SILENT


async def test_a_flink_that_does_not_tell_its_memory_passes_for_nothing(facts: Facts):
    (said,) = standby.check_memory(_smaller(facts, "west", None))
    assert isinstance(said, Unasked)
    assert "memory of slots in west/cell-1" in said.of.of


async def test_one_that_made_way_is_told_for_whom_since_when_and_what_starts_it(facts: Facts):
    assert isinstance(facts.record, DeploymentRecord)
    way = MadeWay(operation="failover-region-west-1", came_from="west")
    made = facts.record.model_copy(update={"pinned": pinned(made_way=way)})
    (found,) = health.check_checkpoints(replace(facts, record=made, job=None))
    assert isinstance(found, Finding)
    assert (found.id, found.severity) == ("ready/made-way", Severity.WARNING)
    assert found.what.startswith(
        "it stands stopped since 2026-01-02 03:04:05 UTC to make way for failover-region-west-1"
    )
    assert found.mend == ("tidegate failover region east --to west --dry-run", "tidegate restore ledger")
    wanted = facts.record.model_copy(update={"pinned": pinned()})
    assert _ids(health.check_checkpoints(replace(facts, record=wanted, job=None))) == ["ready/stopped"]
