"""A world for workflow tests: every activity, faked by its contract, with switches for what goes wrong.

It keeps a record like the real one (who holds it, what runs), notes each call, and can be told to fail, to block until
the test lets go, or to answer something else, call by call.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import activity

from activities.contracts import CONTRACTS
from tidegate.errors import Held as HeldError
from tidegate.errors import InvalidInput, Superseded
from tidegate.model.appraisal import Appraisal, Crossing, SnapshotPrice
from tidegate.model.failover import (
    Answers,
    CutFact,
    CutInput,
    FailoverStep,
    GateFact,
    HomeFact,
    LookRegionsInput,
    MirrorBackFact,
    OpenFact,
    OpenInput,
    PointChoice,
    RebaseFact,
    RebaseInput,
    RegionsSeen,
    ShutFact,
    ShutInput,
    Topics,
    TranslateInput,
)
from tidegate.model.groups import GroupFact, GroupLook, GroupsFact
from tidegate.model.keep import KeepFact, KeepStep
from tidegate.model.notice import Notice, NotifyFact, NotifyInput
from tidegate.model.operation import ArtifactFacts, JobFacts, Observation, Verdict
from tidegate.model.record import ArtifactRef, DeploymentRecord, Holder, Pinned, RecordState, Writer
from tidegate.model.recovery import Strength
from tidegate.model.returning import QuarantineFact, ReturnStep, TailFact
from tidegate.model.review import BreachFact, BreachNote, Checked, DeploymentReview, Finding, ReviewStep, Severity
from tidegate.model.schedule import NoteFact, RunNote, WeighFact, WeighInput
from tidegate.model.ship import ShipFact, ShipPlan, ShipStep
from tidegate.model.steps import (
    AppraiseInput,
    AuditInput,
    EnsureFact,
    EnsureInput,
    ForkFact,
    ForkInput,
    HaltInput,
    Held,
    Located,
    ObserveInput,
    PrepareFact,
    PrepareInput,
    ProveFact,
    ProveInput,
    ReportFact,
    ReportInput,
    SnapshotFact,
    StartFact,
    StepInput,
    StopFact,
    StopJobInput,
    SwitchFact,
    SwitchInput,
    TakeInput,
    TakeSnapshotInput,
    Timeline,
)
from tidegate.model.sweep import SweepFact, SweepPlan, SweepStep
from tidegate.schedules.decide import by_calendar, by_world

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FLEET = "f" * 64
SAVEPOINT = "s3://east/savepoints/ledger/e00000007-x/savepoint-1"
TOPICS = Topics(turn=("balances", "payments"), links=("east-to-west",), back=("west-to-east",))
REVIEW = DeploymentReview(
    deployment="ledger",
    tier=1,
    home="east/cell-1",
    standby="west",
    score=76,
    findings=(
        Finding(
            id="ready/no-room",
            severity=Severity.BREACH,
            deployment="ledger",
            subject="west",
            what="it would not fit into west: no room in west",
            why="if east is lost, it waits until there are slots",
            mend=("more TaskManagers in west",),
        ),
        Finding(
            id="ready/one-broker",
            severity=Severity.WARNING,
            deployment="ledger",
            subject="west",
            what="Kafka in west is one broker",
            why="its restart stops all that runs there",
            mend=("more brokers in west",),
        ),
    ),
    passed=(Checked(check="restorable in west", subject="west", fact="from e7-chk-12, 2.1 s old"),),
)
"""Of a deployment that has no room in the standby."""
POINT = PointChoice(
    id="e7-chk-12",
    snapshot="s3://west/savepoints/ledger/from-east/e7-chk-12-1a2b3c4d",
    source="s3://east/checkpoints/5bfb/chk-12",
    epoch=7,
    taken_at=AT,
    superseded=4,
)
"""The newest recovery point in the west."""


def artifact(name: str) -> ArtifactRef:
    return ArtifactRef(
        name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), uri=f"s3://east/artifacts/ledger-{name}.jar"
    )


def writer(name: str, epoch: int) -> Writer:
    return Writer(
        region="east",
        cell="cell-1",
        job_id=f"{epoch:032x}",
        epoch=epoch,
        artifact=artifact(name),
        parallelism=2,
        started_from=None,
        since=AT,
    )


def pinned(**changes: Any) -> Pinned:
    """What a stop of epoch 7 left."""
    known: dict[str, Any] = {
        "location": SAVEPOINT, "epoch": 7, "job_id": f"{7:032x}", "artifact": artifact("v1"), "parallelism": 2,
        "output_ends": {"balances/0": 40}, "committed": True, "at": AT,
    }  # fmt: skip
    return Pinned.model_validate(known | changes)


def choice(number: int, **fields: Any) -> SnapshotPrice:
    """A checkpoint of epoch 7, complete so many seconds after ``AT``."""
    told = {
        "location": f"s3://east/checkpoints/{7:032x}/chk-{number}",
        "name": f"e7-chk-{number}",
        "checkpoint_id": number,
        "kind": "checkpoint",
        "epoch": 7,
        "artifact": artifact("v1"),
        "completed_at": AT + timedelta(seconds=number),
        "transactions": {"committed": 2},
    }
    return SnapshotPrice.model_validate({**told, **fields})


class Block:
    """A call that waits until the test releases it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self) -> None:
        self.entered.set()
        await self.released.wait()


class World:
    """The record and what runs; ``plans[activity]`` holds what the next calls shall do instead of the good thing."""

    def __init__(self) -> None:
        self.record = DeploymentRecord(deployment="ledger", fence=3, epoch=7, writer=writer("v1", 7))
        self.job_state: str | None = "RUNNING"
        self.approval_required = False
        self.switch_timeout_s = 600.0
        self.standby: str | None = "west"
        self.shipped: list[str] = []
        self.incidents: list[str] = []
        self.noted: list[RunNote] = []
        self.swept = 0
        self.found = REVIEW
        """What a readiness review finds."""
        self.readable_by = {"v2": ("v1",)}
        self.calls: list[tuple[str, str, Any]] = []
        self.notices: list[Notice] = []
        """What people were told. No step waits for it, so it is not among the calls."""
        self.breaches: list[BreachNote] = []
        """What reviews have found for people to be told of; not among the calls either."""
        self.plans: dict[str, deque[Any]] = defaultdict(deque)
        self.always: dict[str, Any] = {}
        self.reports: list[ReportInput] = []
        self.halts: list[HaltInput] = []
        self.verdict = Verdict(audited=True, input=100, output=100)
        self.crossing = Crossing(location="", original=SAVEPOINT)
        self.choices = (
            choice(12, newest=True),
            choice(11, replayed=40),
            choice(10, replayed=90),
        )
        self.silent: dict[str, str] = {}
        self.left_planned: str | None = None
        """Parts of the region that is left which do not answer, with why."""
        self.points: tuple[PointChoice, ...] = (POINT,)
        self.slots_free = 4
        self.lives_in = {"payments": "east", "balances": "east"}
        """By topic, where it is written; what nobody may write is in ``closed``."""
        self.closed: set[str] = set()
        self.first_output_at: datetime | None = AT + timedelta(seconds=20)
        self.groups: tuple[GroupLook, ...] = ()
        """Consumer groups that the fleet file names, and what becomes of them."""
        self.moved: tuple[GroupFact, ...] = ()
        self.waiting: tuple[str, ...] = ()
        self.at_large: tuple[str, ...] = ()
        self.gate_notes: tuple[str, ...] = ()
        """Links of the other direction that cannot be started."""

    # -- for tests

    def will(self, name: str, *things: Any) -> None:
        """The next calls of this activity: an exception is raised, a callable is awaited and its result answered."""
        self.plans[name].extend(things)

    def block(self, name: str) -> Block:
        block = Block()
        self.will(name, block)
        return block

    def names(self, *without: str) -> list[str]:
        return [name for name, _, _ in self.calls if name not in without]

    def requests(self, name: str) -> list[Any]:
        return [request for called, _, request in self.calls if called == name]

    def activities(self) -> list[Callable[..., Any]]:
        known = [name for name in CONTRACTS if hasattr(self, f"_{name}")]  # a region's are in temporal_world_region
        return [self._activity(name, getattr(self, f"_{name}")) for name in known]

    def _activity(self, name: str, act: Callable[[Any], Any]) -> Callable[..., Any]:
        async def run(request: Any) -> Any:
            if name not in {"notify", "note_breaches"}:
                self.calls.append((name, activity.info().task_queue, request))
            thing = self.plans[name].popleft() if self.plans[name] else self.always.get(name)
            if isinstance(thing, BaseException):
                raise thing
            if thing is not None:
                answer = await thing()
                if answer is not None:
                    return answer
            return act(request)

        hints = CONTRACTS[name].__annotations__
        contract_types = activity._Definition.must_from_callable(CONTRACTS[name])
        assert contract_types.arg_types
        run.__annotations__ = {"request": contract_types.arg_types[0], "return": contract_types.ret_type}
        assert hints
        return activity.defn(name=name)(run)

    # -- the good things

    def _check(self, held: Held) -> None:
        if self.record.fence != held.fence or self.record.holder is None:
            raise Superseded(f"fence {held.fence} has become {self.record.fence}")

    def _change(self, **update: Any) -> None:
        self.record = self.record.model_copy(update=update)

    def _locate(self, request: ObserveInput) -> Located:
        if request.deployment != "ledger":
            raise InvalidInput(f"deployment: {request.deployment} is not in the fleet file; known: ledger")
        return Located(
            fleet_digest=FLEET,
            region=request.region or self._lives(by_record=request.by_record),
            cell="cell-1",
            tier=1,
            approval_required=self.approval_required,
            switch_timeout_s=self.switch_timeout_s,
            standby=self.standby,
        )

    def _lives(self, *, by_record: bool) -> str:
        """Where the deployment lives: by its record, or by the fleet file."""
        return self.record.writer.region if by_record and self.record.writer is not None else "east"

    def _observe(self, request: ObserveInput) -> Observation:
        known = tuple(
            ArtifactFacts(ref=artifact(name), size_bytes=1_000, readable_by=self.readable_by.get(name, ()))
            for name in ("v1", "v2")
        )
        writes = self.record.writer
        job = JobFacts(job_id=writes.job_id, state=self.job_state) if writes and self.job_state else None
        return Observation(
            at=AT,
            fleet_digest=FLEET,
            deployment="ledger",
            region=(request.at or "east/cell-1").partition("/")[0],
            cell="cell-1",
            tier=1,
            parallelism=2,
            approval_required=self.approval_required,
            record=self.record,
            job=job,
            lag=12,
            target=next((facts for facts in known if facts.ref.name == request.target), None),
            artifacts=known,
            slots_free=self.slots_free,
            slots_total=8,
        )

    def _appraise(self, request: AppraiseInput) -> Appraisal:
        return Appraisal(choices=self.choices)

    def _look_across(self, request: AppraiseInput) -> Crossing:
        return self.crossing.model_copy(update={"location": request.source})

    def _take(self, request: TakeInput) -> Held:
        holder = Holder(
            operation=request.operation,
            run_id=request.run_id,
            runbook=request.runbook,
            cluster_id="c",
            namespace="default",
            who=request.who,
            why=request.why,
            since=AT,
        )
        if self.record.holder and not self.record.holder.is_same(holder) and request.take_over is None:
            raise HeldError(f"ledger is held by {self.record.holder.operation}")
        if not (self.record.holder and self.record.holder.is_same(holder)):
            self._change(fence=self.record.fence + 1, holder=holder, state=RecordState.HELD)
        return Held(deployment="ledger", holder=holder, fence=self.record.fence)

    def _prepare(self, request: PrepareInput) -> PrepareFact:
        self._check(request.held)
        return PrepareFact(jar="jar", uploaded=True, slots_free=4, slots_total=8)

    def _start(self, which: ArtifactRef, at: str | None = None) -> StartFact:
        epoch = self.record.epoch + 1
        region = (at or "east/cell-1").partition("/")[0]
        self._change(epoch=epoch, writer=writer(which.name, epoch).model_copy(update={"region": region}), intents=())
        self.job_state = "RUNNING"
        return StartFact(
            job_id=f"{epoch:032x}", epoch=epoch, artifact=which, snapshot="s3://sp/1", submitted_at=AT, running_at=AT
        )

    def _switch(self, request: SwitchInput) -> SwitchFact:
        self._check(request.held)
        assert self.record.writer is not None
        stop = StopFact(
            job_id=self.record.writer.job_id,
            epoch=self.record.epoch,
            location="s3://sp/1",
            files=3,
            size_bytes=41_000,
            asked_at=AT,
            completed_at=AT,
        )
        return SwitchFact(stop=stop, start=self._start(request.artifact), timeline=Timeline())

    def _ensure_running(self, request: EnsureInput) -> EnsureFact:
        self._check(request.held)
        runs = self.record.writer
        old = request.restore is not None and runs is not None and runs.epoch <= request.restore.until_epoch
        if runs and runs.artifact.sha256 == request.artifact.sha256 and self.job_state == "RUNNING" and not old:
            start = StartFact(
                job_id=runs.job_id,
                epoch=runs.epoch,
                artifact=runs.artifact,
                snapshot=None,
                submitted_at=AT,
                running_at=AT,
            )
            return EnsureFact(start=start, was_running=True)
        return EnsureFact(start=self._start(request.artifact, request.at), was_running=False)

    def _ensure_stopped(self, request: EnsureInput) -> None:
        self._check(request.held)
        self._change(intents=())
        self.job_state = "CANCELED"

    def _stop_deployment(self, request: StopJobInput) -> StopFact:
        self._check(request.held)
        assert self.record.writer is not None
        self.job_state = "FINISHED"
        return StopFact(
            job_id=self.record.writer.job_id,
            epoch=self.record.epoch,
            location="s3://east/savepoints/ledger/e00000007-x/savepoint-1",
            files=3,
            size_bytes=41_000,
            asked_at=AT,
            completed_at=AT,
        )

    def _take_snapshot(self, request: TakeSnapshotInput) -> SnapshotFact | None:
        self._check(request.held)
        assert self.record.writer is not None
        if request.give_up:
            return None
        return SnapshotFact(
            location="s3://east/savepoints/ledger/t00000007-x/savepoint-1",
            name="e7-savepoint-1",
            job_id=self.record.writer.job_id,
            epoch=7,
            checkpoint_id=13,
            canonical=request.canonical,
            files=3,
            size_bytes=41_000,
            transactions=2,
            positions={"payments/0": 1_234},
            partitions=1,
            asked_at=AT,
            recovery_point_at=AT,
        )

    def _prove(self, request: ProveInput) -> ProveFact:
        return ProveFact(
            job_id=request.job_id,
            watched_s=request.bake_s,
            checkpoints=3,
            restarts=0,
            lag_start=1,
            lag_end=1,
            output_records=9,
            under_traffic=True,
        )

    def _audit(self, _: AuditInput) -> Verdict:
        return self.verdict

    def _write_report(self, request: ReportInput) -> ReportFact:
        self.reports.append(request)
        key = f"reports/ledger/{request.operation}.json"
        return ReportFact(key=key, html_key=key.replace(".json", ".html"), sha256="0" * 64)

    def _release(self, request: StepInput) -> None:
        self._check(request.held)
        self._change(holder=None, state=RecordState.IDLE)

    def _halt(self, request: HaltInput) -> None:
        self._check(request.held)
        self.halts.append(request)
        self._change(state=RecordState.HALTED)

    def _unhalt(self, request: StepInput) -> None:
        self._check(request.held)
        self._change(state=RecordState.HELD)

    def _look_at_snapshot(self, request: ShipStep) -> ShipPlan:
        return ShipPlan(
            id=request.snapshot or "e7-chk-12",
            location="s3://east/checkpoints/5bfb/chk-12",
            taken_at=AT,
            files=10,
            bytes=5_000_000,
            new_files=3,
            new_bytes=2_000_000,
        )

    def _make_fork(self, request: ForkInput) -> ForkFact:
        self._check(request.held)
        return ForkFact(source=SAVEPOINT, location="s3://east/savepoints/fork/copy-1", dropped=4)

    def _ship_snapshot(self, request: ShipStep) -> ShipFact:
        name = request.snapshot or "e7-chk-12"
        self.shipped.append(name)
        return ShipFact(
            id=name,
            source="s3://east/checkpoints/5bfb/chk-12",
            target=f"s3://{request.to}/savepoints/ledger/from-east/{name}-1a2b3c4d",
            taken_at=AT,
            shipped_at=AT,
            files=10,
            bytes=5_000_000,
            sent_files=3,
            sent_bytes=2_000_000,
        )

    def _look_at_sweep(self, request: SweepStep) -> SweepPlan:
        return SweepPlan(
            going=3, staying=7, files=20, bytes=2_000_000, leftovers=1, uploads=1, first=("e6-chk-1", "e6-chk-2")
        )

    def _note_breaches(self, request: BreachNote) -> BreachFact:
        self.breaches.append(request)
        return BreachFact()

    def _review_readiness(self, request: ReviewStep) -> DeploymentReview:
        return self.found.model_copy(update={"deployment": request.deployment})

    def _sweep_snapshots(self, request: SweepStep) -> SweepFact:
        self.swept += 1
        return SweepFact(
            snapshots=2, files=15, bytes=1_500_000, leftovers=1, uploads=1, kept=("e6-chk-2: pinned by ana: x",)
        )

    # -- the good things of a failover

    def _look_regions(self, request: LookRegionsInput) -> RegionsSeen:
        home, away = request.home.partition("/")[0], request.at.partition("/")[0]
        return RegionsSeen(
            at=AT + timedelta(seconds=2),
            home=Answers(region=home, **self.silent),
            standby=Answers(region=away),
            topics=self._topics(home, away),
            parallelism=2,
            slots_free=self.slots_free,
            slots_total=8,
            points=self.points if request.unplanned else (),
            newest="e7-chk-13",
            mirror_lag={f"{home}-to-{away}": None if self.silent else 3},
            groups=self.groups,
            left_planned=self.left_planned if request.returning else None,
        )

    @staticmethod
    def _topics(home: str, away: str) -> Topics:
        return TOPICS.model_copy(update={"links": (f"{home}-to-{away}",), "back": (f"{away}-to-{home}",)})

    def _close_producers(self, request: FailoverStep) -> ShutFact:
        self._check(request.held)
        self.closed |= set(request.topics.turn)
        ends = {} if request.unplanned else {"payments/0": 100}
        return ShutFact(ends=ends, principals=("producer",))

    def _shut_home(self, request: ShutInput) -> HomeFact:
        self._check(request.held)
        strength = Strength.SUPERSEDED if len(self.silent) == 3 else Strength.SHUT_OUT
        chosen = self.points[0]
        self.job_state = None
        return HomeFact(strength=strength, point=chosen.id, snapshot=chosen.snapshot, taken_at=chosen.taken_at)

    def _cut_over(self, request: CutInput) -> CutFact:
        self._check(request.held)
        assert request.at is not None
        assert set(request.topics.turn) <= self.closed, "topics turn behind a closed gate only (X18)"
        self.lives_in.update(dict.fromkeys(request.topics.turn, request.at.partition("/")[0]))
        shut = dict.fromkeys(request.topics.links, "STOPPED")
        return CutFact(partitions=2, shut=shut, drained=not request.unplanned, input_until=AT + timedelta(seconds=1))

    def _rebase_copy(self, request: RebaseInput) -> RebaseFact:
        self._check(request.held)
        assert request.at is not None
        location = f"s3://{request.at.partition('/')[0]}/savepoints/ledger/copy-{request.snapshot.rpartition('/')[2]}"
        return RebaseFact(location=location, original=request.snapshot, replays=0, positions=2)

    def _translate_groups(self, request: TranslateInput) -> GroupsFact:
        self._check(request.held)
        assert request.at is not None
        assert set(request.topics.turn) <= self.closed, "nobody writes there before the groups are there (X25)"
        return GroupsFact(groups=self.moved or tuple(GroupFact(group=one.group, put=2) for one in self.groups))

    def _open_producers(self, request: OpenInput) -> OpenFact:
        self._check(request.held)
        self.closed -= set(request.topics.turn)
        return OpenFact(topics=request.topics.turn, turn=1, first_output_at=self.first_output_at)

    def _mirror_back(self, request: FailoverStep) -> MirrorBackFact:
        self._check(request.held)
        started = () if self.waiting else request.topics.back
        return MirrorBackFact(started=started, waiting=self.waiting, at_large=self.at_large)

    def _hold_gate(self, request: FailoverStep) -> GateFact:
        self._check(request.held)
        return GateFact(notes=self.gate_notes)

    def _reopen_home(self, request: FailoverStep) -> None:
        self._check(request.held)
        self.lives_in.update(dict.fromkeys(request.topics.turn, request.home.partition("/")[0]))
        self.closed -= set(request.topics.turn)

    def _quarantine(self, request: ReturnStep) -> QuarantineFact:
        self._check(request.held)
        return QuarantineFact(denied=(7,), cancelled=(f"{7:032x}",), ended=2, shut={"east-to-west": "STOPPED"})

    def _set_apart(self, request: ReturnStep) -> TailFact:
        self._check(request.held)
        return TailFact(inputs=12, outputs=3, zombies=2, fed=9, known=2, ahead=1)

    def _keep_points(self, request: KeepStep) -> KeepFact:
        return KeepFact(cycles=3, shipped=1, sent_bytes=1_000, newest=f"{request.deployment}-12")

    def _weigh_schedule(self, request: WeighInput) -> WeighFact:
        entry = request.request.entry
        return WeighFact(skip=by_calendar(entry, request.at) or by_world(entry, self.incidents, [self.record]))

    def _note_run(self, request: RunNote) -> NoteFact:
        self.noted.append(request)
        return NoteFact()

    def _notify(self, request: NotifyInput) -> NotifyFact:
        self.notices.append(request.notice)
        return NotifyFact(notice=request.notice)

    def supersede(self) -> None:
        """Somebody else takes the deployment over."""
        other = Holder(
            operation="other",
            run_id="r",
            runbook="X",
            cluster_id="c",
            namespace="default",
            who="eve",
            why="faster",
            since=AT,
        )
        self._change(fence=self.record.fence + 1, holder=other)


def as_json(model: BaseModel) -> str:
    return model.model_dump_json()
