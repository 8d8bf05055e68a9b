"""Report requests of failovers: planned, unplanned, undone."""

from __future__ import annotations

from typing import Any

from tests.unit.report.samples import BACK_JOB, NEW_JOB, OLD_JOB, V1, at, done, ms, observation, rate, start_fact, step
from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.model.operation import Outcome, Plan, PlanBasis, PlanStep, ReplayRange, StepState, Verdict
from tidegate.model.recovery import FailoverFacts, Strength
from tidegate.model.steps import EnsureFact, ReportInput

COPY = "s3://west/savepoints/ledger/copy-e7-savepoint-5b5b5b-0a1b2c3d4e5f-1a2b3c4d"
PLANNED = ("observe", "ship", "close", "stop", "cut", "start v1", "open", "prove", "mirror", "conclude")
UNPLANNED = ("observe", "close", "shut", "cut", "start v1", "open", "prove", "mirror", "conclude")
NO_RETURN = {"open", "shut", "prove", "mirror", "conclude"}


def plan(names):
    basis = PlanBasis(
        runbook=FAILOVER_DEPLOYMENT,
        deployment="ledger",
        from_sha256=V1.sha256,
        to_sha256=V1.sha256,
        job_id=OLD_JOB,
        epoch=7,
        region="west",
        cell="cell-1",
        parallelism=2,
        fleet_digest="fe" * 32,
        steps=names,
    )
    steps = tuple(
        PlanStep(
            number=n, name=name, what=f"what {name} does", undo="v1 runs in east again", no_return=name in NO_RETURN
        )
        for n, name in enumerate(names, start=1)
    )
    return Plan(
        runbook=FAILOVER_DEPLOYMENT,
        deployment="ledger",
        basis=basis,
        hash=basis.digest(),
        steps=steps,
        from_artifact=V1,
        to_artifact=V1,
        expected_gap_s=None,
        notes=("mirror link east-to-west: 12 records to come",),
    )


def _request(names, steps, **changes) -> ReportInput:
    """An operation of 40 s in which nothing came for 6 s; it runs in the west."""
    base: ReportInput = done(
        operation="failover-ledger-7c1f",
        runbook=FAILOVER_DEPLOYMENT,
        reason="east is worked on tonight",
        ended=at(40),
        summary="v1 runs in west/cell-1 since 03:14:15.320 UTC, epoch 8",
        observation=observation(region="west"),
        plan=plan(names),
        approval=None,
        steps=steps,
        switch=None,
        ensure=EnsureFact(start=start_fact(V1, NEW_JOB, 8, COPY, 11.9, 13.2), was_running=False),
        verdict=Verdict(
            audited=True,
            input=184_233,
            output=184_233,
            gap_ms=6_040,
            gap_from_ms=ms(8.1),
            gap_to_ms=ms(14.14),
            rate=rate(-30, 40, 8.1, 14.14),
            checked_to={"balances/0": 60_991},
        ),
        commands=("tidegate failover deployment ledger --to east",),
    )
    return base.model_copy(update=changes)


def planned(**changes: Any) -> ReportInput:
    steps = (
        step(1, "observe", 0, 0.8, "v1 in east/cell-1, all of it answers; 4 of 4 slots free in west"),
        step(0, "take", 0.8, 0.9, "fence 13"),
        step(2, "ship", 0.9, 6.9, "chk-212: sent 9 of 9 files, 41 KiB"),
        step(3, "close", 6.9, 7.6, "producers denied: producer, 4 partitions stand still"),
        step(
            4,
            "stop",
            7.6,
            8.6,
            "savepoint s3://east/savepoints/ledger/e00000007-7c1f/savepoint-5b5b5b (3 files, 41 KiB)",
        ),
        step(5, "cut", 8.6, 11.2, "east-to-west STOPPED, drained; 8 partitions turned, input until 03:14:09.602 UTC"),
        step(6, "start v1", 11.2, 13.2, f"job 9a9a9a9a…, epoch 8, from {COPY}"),
        step(7, "open", 13.2, 13.9, "balances, payments live here, turn 1"),
        step(8, "prove", 13.9, 33.9, "watched 20 s · 18 checkpoints · restarts 0 · lag 9 · output 20,180"),
        step(9, "mirror", 33.9, 36.2, "west-to-east from the cut on"),
        step(10, "conclude", 36.2, None, state=StepState.RUNNING),
    )
    facts = FailoverFacts(
        source="east",
        target="west",
        planned=True,
        strength=Strength.STOPPED,
        input_until=at(7.482),
        rto_s=14.14,
        lineage_turn=1,
        rto_objective_s=60,
        rpo_objective_s=5,
    )
    return _request(PLANNED, steps, failover=facts, **changes)


def unplanned(**changes: Any) -> ReportInput:
    """East is gone: from a recovery point, with 1,204 outputs that no longer count, and the mirror back waits."""
    steps = (
        step(1, "observe", 0, 5.8, "v1 in east/cell-1, no answer from 3 of 3 parts there; 4 of 4 slots free in west"),
        step(0, "take", 5.8, 5.9, "fence 13"),
        step(2, "close", 5.9, 6.4, "producers denied: producer; the producers in east could not be closed"),
        step(3, "shut", 6.4, 22.0, "old job superseded; chk-212, taken 03:13:58.100 UTC"),
        step(4, "cut", 22.0, 23.1, "east-to-west SHUT OUT, as far as it came; 8 partitions turned"),
        step(5, "start v1", 23.1, 27.2, f"job 9a9a9a9a…, epoch 8, from {COPY}"),
        step(6, "open", 27.2, 27.9, "balances, payments live here, turn 1"),
        step(7, "prove", 27.9, 33.9, "watched 5 s · 4 checkpoints · restarts 0 · lag 9 · output 5,180"),
        step(8, "mirror", 33.9, 36.2, "no link started; waits: west-to-east: Connect does not answer"),
        step(9, "conclude", 36.2, None, state=StepState.RUNNING),
    )
    ranges = (
        ReplayRange(topic="balances", partition=0, first=45_991, last=46_610, records=602),
        ReplayRange(topic="balances", partition=1, first=46_120, last=46_740, records=602),
    )
    facts = FailoverFacts(
        source="east",
        target="west",
        planned=False,
        strength=Strength.SUPERSEDED,
        point="e7-chk-212",
        state_as_of=at(-4.02),
        input_until=at(-0.8),
        rto_s=28.4,
        rto_detected_s=71.2,
        rpo_s=0.8,
        superseded=1_204,
        lineage_turn=1,
        waiting=("west-to-east: Connect in east does not answer (connection refused)",),
        rto_objective_s=60,
        rpo_objective_s=5,
        notes=("Kafka in east: no answer within 5 s", "Flink in east: connection refused"),
    )
    ensure = EnsureFact(
        start=start_fact(V1, NEW_JOB, 8, COPY, 24.2, 27.2),
        was_running=False,
        replay=ranges,
        manifest="manifests/ledger/9a9a.json",
    )
    verdict = Verdict(
        audited=True,
        replayed=1_180,
        superseded=1_204,
        input=184_233,
        output=184_233,
        gap_ms=29_200,
        gap_from_ms=ms(-0.8),
        gap_to_ms=ms(28.4),
        rate=rate(-30, 40, -0.8, 28.4),
    )
    return _request(
        UNPLANNED,
        steps,
        reason="east does not answer",
        failover=facts,
        ensure=ensure,
        verdict=verdict,
        commands=("tidegate return region east",),
        **changes,
    )


def undone(**changes):
    """The mirror was not drained in time, and a person aborted: v1 runs in the east again."""
    good = planned()
    steps = (
        *good.steps[:5],
        step(5, "cut", 8.6, 20.0, "east-to-west is not drained: payments/2 lacks 812", StepState.FAILED),
        step(6, "reopen", 20.0, 21.4, "producers write in east again, and the mirror brings it"),
        step(7, "start v1", 21.4, 24.4, "job c3c3c3c3…, epoch 8, from the savepoint of the stop"),
        step(8, "prove", 24.4, 34.4, "watched 10 s · 9 checkpoints · restarts 0"),
        step(9, "conclude", 34.4, None, state=StepState.RUNNING),
    )
    return good.model_copy(
        update={
            "outcome": Outcome.UNDONE,
            "steps": steps,
            "summary": "v1 runs again since 03:14:26.520 UTC, from the savepoint of the stop in east/cell-1, epoch 8",
            "why": "aborted by ana (after: east-to-west is not drained: payments/2 lacks 812)",
            "failover": None,
            "commands": (),
            "ensure": EnsureFact(
                start=start_fact(V1, BACK_JOB, 8, "s3://east/savepoints/ledger/e7/savepoint-5b5b5b", 22.0, 24.4),
                was_running=False,
            ),
        }
        | changes
    )
