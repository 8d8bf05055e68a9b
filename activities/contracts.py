"""The activities as workflows see them: names and types, no client behind them.

Workflows import this module and no other of ``activities``. A worker registers the implementations under the same
names; a test compares the two. On which queue each runs is the workflows' business (OWNERSHIP.md O17).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from temporalio import activity

from tidegate.model.appraisal import Appraisal, Crossing
from tidegate.model.drill import (
    DrillCaughtUp,
    DrillCopied,
    DrillLook,
    DrillSeen,
    DrillStarted,
    DrillStartStep,
    DrillStep,
    DrillWatched,
    DrillWatchStep,
    TearDownStep,
)
from tidegate.model.drilled import DrillCompared, TornDown
from tidegate.model.failover import (
    CutFact,
    CutInput,
    FailoverStep,
    GateFact,
    HomeFact,
    LookRegionsInput,
    MirrorBackFact,
    OpenFact,
    OpenInput,
    RebaseFact,
    RebaseInput,
    RegionsSeen,
    ShutFact,
    ShutInput,
    TranslateInput,
)
from tidegate.model.gamedaysteps import GameDayLook, GameDaySeen, GameDayWatched, GameDayWatchStep, Stands, WhereInput
from tidegate.model.groups import GroupsFact
from tidegate.model.keep import KeepFact, KeepStep
from tidegate.model.notice import NotifyFact, NotifyInput
from tidegate.model.operation import Observation, Verdict
from tidegate.model.region import (
    GaveWayNow,
    GroupCutFact,
    GroupCutInput,
    GroupOpenInput,
    GroupSeen,
    GroupStep,
    LookGaveWayInput,
    LookGroupInput,
)
from tidegate.model.regiondrill import DrillsSeen, GiveWayFact, GiveWayInput, LookDrillsInput
from tidegate.model.returning import QuarantineFact, ReturnStep, TailFact
from tidegate.model.review import BreachFact, BreachNote, DeploymentReview, ReviewStep
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
    StepInput,
    StopFact,
    StopJobInput,
    SwitchFact,
    SwitchInput,
    TakeInput,
    TakeSnapshotInput,
)
from tidegate.model.sweep import SweepFact, SweepPlan, SweepStep


def _contract(name: str) -> NoReturn:
    raise RuntimeError(f"{name} is a contract; a worker registers its implementation under this name")


@activity.defn(name="locate")
async def locate(request: ObserveInput) -> Located:
    """Where the deployment lives, from the fleet file alone; pins the fleet's digest."""
    _contract(f"locate({request.deployment})")


@activity.defn(name="observe")
async def observe(request: ObserveInput) -> Observation:
    """Read record, Flink, Kafka and S3. Changes nothing."""
    _contract(f"observe({request.deployment})")


@activity.defn(name="appraise")
async def appraise(request: AppraiseInput) -> Appraisal:
    """What going on from each snapshot would cost (X3). Changes nothing."""
    _contract(f"appraise({request.deployment})")


@activity.defn(name="look_across")
async def look_across(request: AppraiseInput) -> Crossing:
    """Whether a deployment may go on in this other region from a copy that lies there (X5, X19). Changes nothing."""
    _contract(f"look_across({request.deployment})")


@activity.defn(name="look_regions")
async def look_regions(request: LookRegionsInput) -> RegionsSeen:
    """What both regions of a failover say (X14). Changes nothing. Raises Refused, Unavailable."""
    _contract(f"look_regions({request.deployment})")


@activity.defn(name="close_producers")
async def close_producers(request: FailoverStep) -> ShutFact:
    """Nobody writes the topics any more (X18). Raises Held, NoProgress."""
    _contract(f"close_producers({request.held.deployment})")


@activity.defn(name="shut_home")
async def shut_home(request: ShutInput) -> HomeFact:
    """Give the other region up: its job, its mirror; choose what is gone on from (X14, X15). Raises Refused, Held."""
    _contract(f"shut_home({request.held.deployment})")


@activity.defn(name="cut_over")
async def cut_over(request: CutInput) -> CutFact:
    """Drain and shut the links, write the cut (X18 to X20). Raises Held, NoProgress."""
    _contract(f"cut_over({request.held.deployment})")


@activity.defn(name="rebase_copy")
async def rebase_copy(request: RebaseInput) -> RebaseFact:
    """Make the copy that starts in the other region (X20). Raises Refused."""
    _contract(f"rebase_copy({request.snapshot})")


@activity.defn(name="translate_groups")
async def translate_groups(request: TranslateInput) -> GroupsFact:
    """Consumer groups go on in the other region where they were (X25). What goes wrong with one is in the fact."""
    _contract(f"translate_groups({request.held.deployment})")


@activity.defn(name="open_producers")
async def open_producers(request: OpenInput) -> OpenFact:
    """Writers go on in the other region (X18, X24)."""
    _contract(f"open_producers({request.held.deployment})")


@activity.defn(name="mirror_back")
async def mirror_back(request: FailoverStep) -> MirrorBackFact:
    """Start the links of the other direction from the cut on (X20). Raises Held."""
    _contract(f"mirror_back({request.held.deployment})")


@activity.defn(name="quarantine")
async def quarantine(request: ReturnStep) -> QuarantineFact:
    """Nothing of a returned region can write any more (X23). Raises Held, NoProgress."""
    _contract(f"quarantine({request.held.deployment})")


@activity.defn(name="set_apart")
async def set_apart(request: ReturnStep) -> TailFact:
    """What a returned region took beyond the cut is fed or held, and said not to count there (X23)."""
    _contract(f"set_apart({request.held.deployment})")


@activity.defn(name="reopen_home")
async def reopen_home(request: FailoverStep) -> None:
    """The way back: topics, producers and mirror as they were (X24)."""
    _contract(f"reopen_home({request.held.deployment})")


@activity.defn(name="hold_gate")
async def hold_gate(request: FailoverStep) -> GateFact:
    """Who may write where is read back, and put right if a call that came late has changed it (X18)."""
    _contract(f"hold_gate({request.held.deployment})")


@activity.defn(name="take")
async def take(request: TakeInput) -> Held:
    """Make the deployment this operation's. Raises Held, BasisChanged."""
    _contract(f"take({request.deployment})")


@activity.defn(name="prepare")
async def prepare(request: PrepareInput) -> PrepareFact:
    """Do before the stop what can be done before it."""
    _contract(f"prepare({request.artifact.name})")


@activity.defn(name="make_fork")
async def make_fork(request: ForkInput) -> ForkFact:
    """Copy another deployment's snapshot without its sinks' state (X12). Raises InvalidInput, Refused."""
    _contract(f"make_fork({request.of})")


@activity.defn(name="switch")
async def switch(request: SwitchInput) -> SwitchFact:
    """From the stop of the running job to RUNNING of the new one (O15). Raises SavepointFailed, StartRejected."""
    _contract(f"switch({request.artifact.name})")


@activity.defn(name="ensure_running")
async def ensure_running(request: EnsureInput) -> EnsureFact:
    """Make this artifact run, from wherever things stand (O8). Raises StartRejected, MustHalt."""
    _contract(f"ensure_running({request.artifact.name})")


@activity.defn(name="ensure_stopped")
async def ensure_stopped(request: EnsureInput) -> None:
    """Make sure that nothing runs: the way back of a first start. Raises MustHalt."""
    _contract(f"ensure_stopped({request.artifact.name})")


@activity.defn(name="stop_deployment")
async def stop_deployment(request: StopJobInput) -> StopFact:
    """Stop the job with a savepoint that stays pinned; nothing is started after it."""
    _contract(f"stop_deployment({request.held.deployment})")


@activity.defn(name="take_snapshot")
async def take_snapshot(request: TakeSnapshotInput) -> SnapshotFact | None:
    """A savepoint of the running job, until it is a recovery point (X2). Raises SavepointFailed, JobLost."""
    _contract(f"take_snapshot({request.held.deployment})")


@activity.defn(name="prove")
async def prove(request: ProveInput) -> ProveFact:
    """Watch the job for the bake time. Raises ProofFailed, NoProgress, JobLost."""
    _contract(f"prove({request.job_id})")


@activity.defn(name="audit")
async def audit(request: AuditInput) -> Verdict:
    """The verdict by the fleet file's command (I2)."""
    _contract(f"audit({request.held.deployment})")


@activity.defn(name="write_report")
async def write_report(request: ReportInput) -> ReportFact:
    """Write the evidence in all its forms (I8). Done again, it writes the same."""
    _contract(f"write_report({request.operation})")


@activity.defn(name="release")
async def release(request: StepInput) -> None:
    """Give the deployment back. Refused while an intent is open."""
    _contract(f"release({request.held.deployment})")


@activity.defn(name="halt")
async def halt(request: HaltInput) -> None:
    """Mark the record HALTED and tell people (O9)."""
    _contract(f"halt({request.held.deployment})")


@activity.defn(name="unhalt")
async def unhalt(request: StepInput) -> None:
    """Go on after a halt, if the fence still stands. Raises Superseded."""
    _contract(f"unhalt({request.held.deployment})")


@activity.defn(name="look_at_snapshot")
async def look_at_snapshot(request: ShipStep) -> ShipPlan:
    """What would be sent to ship a snapshot. Changes nothing. Raises InvalidInput, SnapshotIncomplete."""
    _contract(f"look_at_snapshot({request.deployment})")


@activity.defn(name="ship_snapshot")
async def ship_snapshot(request: ShipStep) -> ShipFact:
    """Copy a snapshot to another region, _metadata last. Raises SnapshotIncomplete, Refused."""
    _contract(f"ship_snapshot({request.deployment})")


@activity.defn(name="keep_points")
async def keep_points(request: KeepStep) -> KeepFact:
    """Ship, attribute and publish recovery points, again and again. Raises BasisChanged if another one keeps them."""
    _contract(f"keep_points({request.deployment})")


@activity.defn(name="look_at_sweep")
async def look_at_sweep(request: SweepStep) -> SweepPlan:
    """What would go in a sweep. Changes nothing. Raises Refused."""
    _contract(f"look_at_sweep({request.deployment})")


@activity.defn(name="sweep_snapshots")
async def sweep_snapshots(request: SweepStep) -> SweepFact:
    """Remove old snapshots, _metadata first. Raises Held, Refused."""
    _contract(f"sweep_snapshots({request.deployment})")


@activity.defn(name="review_readiness")
async def review_readiness(request: ReviewStep) -> DeploymentReview:
    """Ask everything about one deployment, in bounded time. Changes nothing that lasts."""
    _contract(f"review_readiness({request.deployment})")


@activity.defn(name="note_breaches")
async def note_breaches(request: BreachNote) -> BreachFact:
    """Tell people of drills that were missed or are too old, once for each. Raises Unavailable."""
    _contract(f"note_breaches({request.operation})")


@activity.defn(name="look_group")
async def look_group(request: LookGroupInput) -> GroupSeen:
    """What lives in a region, and what the other one has room for. Changes nothing. Raises Refused, InvalidInput."""
    _contract(f"look_group({request.region})")


@activity.defn(name="close_group")
async def close_group(request: GroupStep) -> ShutFact:
    """Nobody writes the topics of a family any more. Raises Held, NoProgress."""
    _contract(f"close_group({request.holder})")


@activity.defn(name="cut_group")
async def cut_group(request: GroupCutInput) -> GroupCutFact:
    """Drain and shut the links of a family once, and turn topics. Raises Held, NoProgress."""
    _contract(f"cut_group({request.holder})")


@activity.defn(name="open_group")
async def open_group(request: GroupOpenInput) -> OpenFact:
    """Writers go on there, on some topics of a family."""
    _contract(f"open_group({request.holder})")


@activity.defn(name="mirror_group")
async def mirror_group(request: GroupStep) -> MirrorBackFact:
    """The links of the other direction run, from the cut on. Raises Held."""
    _contract(f"mirror_group({request.holder})")


@activity.defn(name="look_gave_way")
async def look_gave_way(request: LookGaveWayInput) -> GaveWayNow:
    """How it stands now with deployments that gave way: who could come back. Changes nothing."""
    _contract(f"look_gave_way({request.deployments})")


@activity.defn(name="reopen_group")
async def reopen_group(request: GroupStep) -> None:
    """The way back of a family: its topics live at home, the links run, producers write there. Raises Refused."""
    _contract(f"reopen_group({request.holder})")


@activity.defn(name="see_open")
async def see_open(request: FailoverStep) -> OpenFact:
    """A member looks at what its group has opened. Changes nothing."""
    _contract(f"see_open({request.held.deployment})")


@activity.defn(name="look_at_drill")
async def look_at_drill(request: DrillLook) -> DrillSeen:
    """Which recovery point a drill would start from, and is there room. Changes nothing. Raises Refused, Held."""
    _contract(f"look_at_drill({request.deployment})")


@activity.defn(name="copy_for_drill")
async def copy_for_drill(request: DrillStep) -> DrillCopied:
    """The fork's scratch topics, and the copy that it starts from (X12, X20). Raises SnapshotIncomplete, NoProgress."""
    _contract(f"copy_for_drill({request.held.deployment})")


@activity.defn(name="start_drill")
async def start_drill(request: DrillStartStep) -> DrillStarted:
    """Start the fork. Raises StartRejected."""
    _contract(f"start_drill({request.held.deployment})")


@activity.defn(name="catch_up_drill")
async def catch_up_drill(request: DrillWatchStep) -> DrillCaughtUp:
    """Wait until the fork has caught up and its state is whole. Raises ProofFailed, NoProgress, BasisChanged."""
    _contract(f"catch_up_drill({request.held.deployment})")


@activity.defn(name="watch_drill")
async def watch_drill(request: DrillWatchStep) -> DrillWatched:
    """Watch the fork for a while. Raises ProofFailed, JobLost, BasisChanged."""
    _contract(f"watch_drill({request.held.deployment})")


@activity.defn(name="compare_drill")
async def compare_drill(request: DrillStep) -> DrillCompared:
    """Stop the fork and hold its output against the live one's. Raises NoProgress, BasisChanged."""
    _contract(f"compare_drill({request.held.deployment})")


@activity.defn(name="tear_down_drill")
async def tear_down_drill(request: TearDownStep) -> TornDown:
    """Take all of the fork away, and look again. Raises NoProgress, MustHalt."""
    _contract(f"tear_down_drill({request.fork})")


@activity.defn(name="look_at_game_day")
async def look_at_game_day(request: GameDayLook) -> GameDaySeen:
    """May these go to the other region, and could they come back? Changes nothing. Raises Refused, Held."""
    _contract(f"look_at_game_day({request.region})")


@activity.defn(name="where_game_day")
async def where_game_day(request: WhereInput) -> Stands:
    """Where each deployment of a game day lives now, its topics, and which links run. Changes nothing."""
    _contract(f"where_game_day({request.fleet_digest})")


@activity.defn(name="watch_game_day")
async def watch_game_day(request: GameDayWatchStep) -> GameDayWatched:
    """Hold the deployments of a game day against its rules until one is broken or the time is up. Changes nothing."""
    _contract(f"watch_game_day({request.fleet_digest})")


@activity.defn(name="look_at_drills")
async def look_at_drills(request: LookDrillsInput) -> DrillsSeen:
    """What of a region can be drilled, in which order, and how much room is there. Raises InvalidInput, Held."""
    _contract(f"look_at_drills({request.region})")


@activity.defn(name="see_failover")
async def see_failover(request: GiveWayInput) -> GiveWayFact:
    """Does an operation need the slots that drills use? Changes nothing."""
    _contract(f"see_failover({request.standbys})")


@activity.defn(name="weigh_schedule")
async def weigh_schedule(request: WeighInput) -> WeighFact:
    """Shall a scheduled run begin now? Changes nothing. Raises Unavailable."""
    _contract(f"weigh_schedule({request.request})")


@activity.defn(name="note_run")
async def note_run(request: RunNote) -> NoteFact:
    """Keep what became of a scheduled run, and tell whom it concerns if it failed."""
    _contract(f"note_run({request.result})")


@activity.defn(name="notify")
async def notify(request: NotifyInput) -> NotifyFact:
    """Tell people. It is bounded, and no failure of it is an error."""
    _contract(f"notify({request.notice})")


CONTRACTS: dict[str, Callable[..., Any]] = {
    contract.__name__: contract
    for contract in (
        locate,
        observe,
        appraise,
        look_across,
        look_regions,
        close_producers,
        shut_home,
        cut_over,
        rebase_copy,
        translate_groups,
        open_producers,
        mirror_back,
        reopen_home,
        hold_gate,
        quarantine,
        set_apart,
        look_group,
        close_group,
        cut_group,
        open_group,
        mirror_group,
        reopen_group,
        look_gave_way,
        see_open,
        take,
        prepare,
        make_fork,
        switch,
        ensure_running,
        ensure_stopped,
        stop_deployment,
        take_snapshot,
        prove,
        audit,
        write_report,
        release,
        halt,
        unhalt,
        look_at_snapshot,
        ship_snapshot,
        keep_points,
        look_at_sweep,
        sweep_snapshots,
        look_at_drill,
        copy_for_drill,
        start_drill,
        catch_up_drill,
        watch_drill,
        compare_drill,
        tear_down_drill,
        look_at_game_day,
        where_game_day,
        watch_game_day,
        look_at_drills,
        see_failover,
        review_readiness,
        note_breaches,
        weigh_schedule,
        note_run,
        notify,
    )
}
"""Every activity by its name."""
