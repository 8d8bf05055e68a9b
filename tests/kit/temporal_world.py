"""A world for workflow tests: every activity, faked by its contract, with switches for what goes wrong.

It keeps a record like the real one (who holds it, what runs), notes each call, and can be told to fail, to block until
the test lets go, or to answer something else, call by call.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import activity

from activities.contracts import CONTRACTS
from tests.kit.temporal_world_across import AcrossActs
from tests.kit.temporal_world_facts import (
    AT,
    FLEET,
    POINT,
    REVIEW,
    SAVEPOINT,
    Block,
    artifact,
    choice,
    writer,
)
from tests.kit.temporal_world_unheld import UnheldActs
from tidegate.errors import Held as HeldError
from tidegate.errors import InvalidInput, Superseded
from tidegate.model.appraisal import Appraisal, Crossing
from tidegate.model.failover import (
    PointChoice,
)
from tidegate.model.groups import GroupFact, GroupLook
from tidegate.model.notice import Notice
from tidegate.model.operation import ArtifactFacts, JobFacts, Observation, Verdict
from tidegate.model.record import ArtifactRef, DeploymentRecord, Holder, RecordState
from tidegate.model.review import BreachNote
from tidegate.model.schedule import RunNote
from tidegate.model.steps import (
    AppraiseInput,
    AuditInput,
    EnsureFact,
    EnsureInput,
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
from tidegate.operation.move import lives_at


class World(AcrossActs, UnheldActs):
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
        self.ahead_of_mirror: tuple[str, ...] = ()
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
            unfinished=self.unfinished if request.unfinished else None,
        )

    def _lives(self, *, by_record: bool) -> str:
        """Where the deployment lives: by its record, or by the fleet file."""
        at = lives_at(self.record) if by_record else None
        return at.region if at is not None else "east"

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
