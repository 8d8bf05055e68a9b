"""Report requests of operations that ended in each way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidegate.model.inputs import TakeOver
from tidegate.model.operation import (
    Approval,
    JobFacts,
    Observation,
    Outcome,
    Plan,
    PlanBasis,
    PlanStep,
    ReplayRange,
    StepState,
    StepStatus,
    Verdict,
)
from tidegate.model.record import ArtifactRef, DeploymentRecord, Holder, RecordState, Writer
from tidegate.model.steps import (
    EnsureFact,
    ProveFact,
    ReportInput,
    StartFact,
    StopFact,
    SwitchFact,
    Timeline,
)

START = datetime(2026, 3, 1, 3, 14, 2, 120_000, tzinfo=UTC)
V1 = ArtifactRef(name="v1", sha256="11" * 32, uri="s3://east/artifacts/ledger-v1.jar")
V2 = ArtifactRef(name="v2", sha256="22" * 32, uri="s3://east/artifacts/ledger-v2.jar")
OLD_JOB, NEW_JOB, BACK_JOB = "5b" * 16, "9a" * 16, "c3" * 16
SAVEPOINT = "s3://east/savepoints/ledger/e00000007-7c1f7c1f7c1f7c1f7c1f7c1f7c1f7c1f/savepoint-5b5b5b-0a1b2c3d4e5f"
FLEET = "fe" * 32


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def ms(seconds: float) -> int:
    return int(at(seconds).timestamp() * 1000)


def step(number, name, first, last, fact="", state=StepState.OK):
    ended = at(last) if last is not None else None
    return StepStatus(number=number, name=name, state=state, started=at(first), ended=ended, fact=fact)


def holder(operation="upgrade-ledger-7c1f", who="ana"):
    return Holder(
        operation=operation,
        run_id="0199-run",
        runbook="UpgradeDeployment",
        cluster_id="c",
        namespace="default",
        who=who,
        why="new balances",
        since=at(-900),
    )


def record(**changes):
    writer = Writer(
        region="east",
        cell="cell-1",
        job_id=OLD_JOB,
        epoch=7,
        artifact=V1,
        parallelism=2,
        started_from="s3://east/savepoints/ledger/e00000006-aa/savepoint-1",
        since=at(-86_400),
    )
    return DeploymentRecord(deployment="ledger", seq=31, fence=12, epoch=7, writer=writer).model_copy(update=changes)


def observation(**changes):
    seen = Observation(
        at=at(0.4),
        fleet_digest=FLEET,
        deployment="ledger",
        region="east",
        cell="cell-1",
        tier=1,
        parallelism=2,
        approval_required=True,
        record=record(),
        job=JobFacts(job_id=OLD_JOB, state="RUNNING", parallelism=2, checkpoints_completed=900),
        lag=12,
        flink_version="2.2.0",
        expected_gap_s=2.1,
    )
    return seen.model_copy(update=changes)


def plan():
    names = ("observe", "stop", "start", "prove", "conclude")
    basis = PlanBasis(
        runbook="UpgradeDeployment",
        deployment="ledger",
        from_sha256=V1.sha256,
        to_sha256=V2.sha256,
        job_id=OLD_JOB,
        epoch=7,
        region="east",
        cell="cell-1",
        parallelism=2,
        fleet_digest=FLEET,
        steps=names,
    )
    what = {
        "observe": ("read record, Flink, Kafka, S3", "nothing to undo"),
        "stop": ("stop job 5b5b5b5b with a native savepoint", "restart v1 from the savepoint of this step"),
        "start": (
            "start v2 as epoch 8 from that savepoint",
            "restart v1 from the newest snapshot that it can read",
        ),
        "prove": ("watch 60 s: checkpoints, restarts, lag, output", "restart v1"),
        "conclude": ("verdict, report, release", "none: a bad verdict leaves the new job and says how to go back"),
    }
    steps = tuple(
        PlanStep(number=n, name=name, what=what[name][0], undo=what[name][1], no_return=name == "conclude")
        for n, name in enumerate(names, start=1)
    )
    return Plan(
        runbook="UpgradeDeployment",
        deployment="ledger",
        basis=basis,
        hash=basis.digest(),
        steps=steps,
        from_artifact=V1,
        to_artifact=V2,
        expected_gap_s=2.1,
    )


def start_fact(artifact, job_id, epoch, snapshot, submitted, running):
    return StartFact(
        job_id=job_id,
        epoch=epoch,
        artifact=artifact,
        snapshot=snapshot,
        submitted_at=at(submitted),
        running_at=at(running),
    )


def switch():
    return SwitchFact(
        stop=StopFact(
            job_id=OLD_JOB,
            epoch=7,
            location=SAVEPOINT,
            files=3,
            size_bytes=41_984,
            asked_at=at(2.1),
            completed_at=at(2.7),
            output_ends={"balances/0": 45_991, "balances/1": 46_120, "balances/2": 46_003, "balances/3": 46_119},
        ),
        start=start_fact(V2, NEW_JOB, 8, SAVEPOINT, 2.74, 4.2),
        timeline=Timeline(stop_ms=602, between_ms=38, submit_ms=120, running_ms=1342),
    )


def rate(first, last, gap_from, gap_to, per_second=1_000):
    """Counts per second, without output from gap_from to gap_to and with what had piled up after it."""
    found = []
    begin = int(START.timestamp())
    for second in range(int(first), int(last)):
        moment = begin + second
        left = min(max(gap_from - second, 0.0), 1.0) + min(max(second + 1 - gap_to, 0.0), 1.0)
        n = int(per_second * min(left, 1.0))
        if gap_to - 1 < second <= gap_to:
            n += int(per_second * (gap_to - gap_from) * 0.8)
        if n:
            found.append((moment, n + second % 7))
    return tuple(found)


def done(**changes):
    request = ReportInput(
        operation="upgrade-ledger-7c1f",
        run_id="0199-run",
        runbook="UpgradeDeployment",
        deployment="ledger",
        fleet_digest=FLEET,
        requested_by="ana",
        reason="balances with currency",
        started=at(0),
        ended=at(72),
        outcome=Outcome.DONE,
        summary="v2 runs since 03:14:06.320 UTC, epoch 8",
        why="",
        break_glass=None,
        take_over=None,
        observation=observation(),
        plan=plan(),
        approval=Approval(by="ben", plan_hash=plan().hash, approved=True, at=at(1.2), comment="go"),
        steps=(
            step(1, "observe", 0, 0.4, "job 5b5b5b5b… RUNNING, v1, last checkpoint 0.6 s ago, lag 12"),
            step(0, "approve", 0.4, 1.2, "approved by ben"),
            step(0, "take", 1.2, 1.3, "fence 13"),
            step(0, "prepare", 1.3, 2.1, "jar there, slots 2/4 free"),
            step(2, "stop", 2.1, 2.7, f"savepoint {SAVEPOINT} (3 files, 41 KiB)"),
            step(3, "start v2", 2.74, 4.2, f"job 9a9a9a9a…, epoch 8, from {SAVEPOINT}"),
            step(4, "prove", 4.2, 64.4, "watched 60 s · 58 checkpoints · restarts 0 · lag 3 · output 60,210"),
            step(5, "conclude", 64.4, None, state=StepState.RUNNING),
        ),
        switch=switch(),
        prove=ProveFact(
            job_id=NEW_JOB,
            watched_s=60.2,
            checkpoints=58,
            restarts=0,
            lag_start=12,
            lag_end=3,
            output_records=60_210,
            under_traffic=True,
            lags=tuple((int(START.timestamp()) + 4 + n, max(3, 2_100 - 300 * n)) for n in range(60)),
        ),
        verdict=Verdict(
            audited=True,
            input=184_233,
            output=184_233,
            gap_ms=2_083,
            gap_from_ms=ms(2.6),
            gap_to_ms=ms(4.683),
            rate=rate(-60, 71, 2.6, 4.683),
            checked_to={"balances/0": 60_991, "balances/1": 61_120, "balances/2": 61_003, "balances/3": 61_119},
        ),
    )
    return request.model_copy(update=changes)


def undone(**changes):
    ranges = (
        ReplayRange(topic="balances", partition=0, first=45_991, last=49_210, records=3_220),
        ReplayRange(topic="balances", partition=1, first=46_120, last=49_377, records=3_258),
        ReplayRange(topic="balances", partition=2, first=46_003, last=49_190, records=3_188),
        ReplayRange(topic="balances", partition=3, first=46_119, last=49_300, records=3_182),
    )
    good = done()
    steps = (
        *good.steps[:6],
        step(4, "prove", 4.2, 17.0, "3 restarts in 12.8 s (limit 2)", StepState.FAILED),
        step(5, "start v1", 17.0, 20.4, "job c3c3c3c3…, epoch 9, from the pinned savepoint, replayed 12,848"),
        step(6, "prove", 20.4, 40.6, "watched 20 s · 19 checkpoints · restarts 0 · lag 9 · output 20,180"),
        step(7, "conclude", 40.6, None, state=StepState.RUNNING),
    )
    update = {
        "outcome": Outcome.UNDONE,
        "ended": at(47),
        "summary": f"v1 runs again since 03:14:22.520 UTC, epoch 9, from {SAVEPOINT}, replayed 12,848",
        "why": "v2 failed its proof: 3 restarts in 12.8 s (limit 2). First error: java.lang.IllegalStateException: "
        "account 4711 <broken> at dev.tidegate.ledger.CrashLateUnreadableFunction",
        "steps": steps,
        "ensure": EnsureFact(
            start=start_fact(V1, BACK_JOB, 9, SAVEPOINT, 18.9, 20.4),
            was_running=False,
            replay=ranges,
            manifest="manifests/ledger/c3c3.json",
            settled_committed=0,
            settled_ended=4,
            notes=("v1 cannot read the state of v2: replay from the pinned savepoint",),
        ),
        "prove": good.prove.model_copy(update={"job_id": BACK_JOB, "watched_s": 20.2, "checkpoints": 19}),
        "verdict": Verdict(
            audited=True,
            replayed=12_848,
            superseded=12_848,
            input=160_400,
            output=160_400,
            gap_ms=5_210,
            gap_from_ms=ms(16.1),
            gap_to_ms=ms(21.31),
            rate=(*rate(-60, 15, 2.6, 4.683), *rate(15, 46, 16.1, 21.31)),
            checked_to={"balances/0": 56_991},
        ),
        "commands": ("tidegate rehearse ledger --to v2",),
    }
    return good.model_copy(update=update | changes)


def bad_verdict(**changes):
    good = done()
    samples = (
        "wrong: payment p-000184 at balances/2 offset 48,112: balance 1,204, expected 1,240",
        "wrong: payment p-000191 at balances/0 offset 48,120: balance 77, expected 7",
    )
    verdict = good.verdict.model_copy(update={"wrong": 1_204, "unexpected": 2, "samples": samples})
    update = {
        "outcome": Outcome.BAD_VERDICT,
        "why": "bad verdict: lost 0 · duplicated 0 · wrong 1,204",
        "verdict": verdict,
        "commands": ("tidegate upgrade ledger --to v1",),
        "break_glass": "approver asleep, payments stand still",
        "approval": None,
    }
    return good.model_copy(update=update | changes)


def halted_then_undone(**changes):
    """Flink was away in the middle of the start; a person aborted after 40 minutes. No audit command."""
    good = done()
    steps = (
        *good.steps[:5],
        step(3, "start v2", 2.74, 63.0, "Flink in east answers no request (connection refused)", StepState.FAILED),
        step(4, "start v1", 2_463, 2_466.2, "job c3c3c3c3…, epoch 9, replayed 0"),
        step(5, "prove", 2_466.2, 2_486.4, "watched 20 s · 19 checkpoints · restarts 0"),
        step(6, "conclude", 2_486.4, None, state=StepState.RUNNING),
    )
    before = holder("upgrade-ledger-11aa", "cem")
    update = {
        "outcome": Outcome.UNDONE,
        "ended": at(2_487),
        "summary": "v1 runs again since 03:55:08.320 UTC, epoch 9, replayed 0",
        "why": "aborted by ana (after: Flink in east answers no request since 03:14:05 UTC)",
        "steps": steps,
        "switch": None,
        "take_over": TakeOver(why="the holder's Temporal is gone"),
        "observation": observation(record=record(holder=before, state=RecordState.HALTED)),
        "ensure": EnsureFact(
            start=start_fact(V1, BACK_JOB, 9, SAVEPOINT, 2_464.7, 2_466.2), was_running=False, settled_committed=4
        ),
        "verdict": Verdict(audited=False, note="values not audited: the fleet file names no audit command"),
        "prove": good.prove.model_copy(update={"under_traffic": False, "output_records": 0}),
    }
    return good.model_copy(update=update | changes)
