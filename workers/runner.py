"""What every worker of ours is built with: workflows, sandbox, interceptors, shutdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

from tidegate.names import CONTROL_QUEUE, region_queue
from tidegate.temporal.interceptor import TidegateInterceptor
from workflows.drill_recovery import DrillRecovery
from workflows.drill_region import DrillRegion
from workflows.failover_deployment import FailoverDeployment
from workflows.failover_member import FailoverMember
from workflows.failover_region import FailoverRegion
from workflows.game_day import GameDay
from workflows.keep_recovery_points import KeepRecoveryPoints
from workflows.restore_deployment import RestoreDeployment
from workflows.return_region import ReturnRegion
from workflows.review_readiness import ReviewReadiness
from workflows.scheduled_run import ScheduledRun
from workflows.ship_snapshots import ShipSnapshots
from workflows.start_deployment import StartDeployment
from workflows.stop_deployment import StopDeployment
from workflows.sweep_snapshots import SweepSnapshots
from workflows.take_snapshot import TakeSnapshot
from workflows.upgrade_deployment import UpgradeDeployment

WORKFLOWS: tuple[type, ...] = (
    UpgradeDeployment,
    StartDeployment,
    RestoreDeployment,
    StopDeployment,
    TakeSnapshot,
    ShipSnapshots,
    KeepRecoveryPoints,
    SweepSnapshots,
    ReviewReadiness,
    FailoverDeployment,
    ReturnRegion,
    FailoverMember,
    FailoverRegion,
    DrillRecovery,
    GameDay,
    DrillRegion,
    ScheduledRun,
)

Activity = Callable[..., Any]

GRACE = timedelta(seconds=10)
"""How long a stopping worker lets its activities finish; they are cancelled then, and go on elsewhere."""

STICKY = timedelta(seconds=1)
"""After a worker was killed its workflows wait for so long before another one takes them; the default is 10 s (O17)."""

THROTTLE = timedelta(seconds=1)
"""A cancellation reaches an activity with the answer to a heartbeat; the worker sends at most one in this time."""


def control_worker(client: Client, activities: Sequence[Activity], *, strict_imports: bool = False) -> Worker:
    """Polls the control queue: workflows, and every activity, also those of regions whose workers are away."""
    return _worker(client, CONTROL_QUEUE, activities, WORKFLOWS, strict_imports=strict_imports)


def region_worker(client: Client, region: str, activities: Sequence[Activity]) -> Worker:
    """Polls a region's queue: activities only."""
    return _worker(client, region_queue(region), activities, ())


def _worker(
    client: Client,
    queue: str,
    activities: Sequence[Activity],
    workflows: Sequence[type],
    *,
    strict_imports: bool = False,
) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows,
        activities=activities,
        workflow_runner=sandboxed_runner(strict_imports=strict_imports),
        interceptors=[TidegateInterceptor()],
        graceful_shutdown_timeout=GRACE,
        sticky_queue_schedule_to_start_timeout=STICKY,
        max_heartbeat_throttle_interval=THROTTLE,
        default_heartbeat_throttle_interval=THROTTLE,
    )


def sandboxed_runner(*, strict_imports: bool) -> SandboxedWorkflowRunner:
    """Temporal's sandbox. ``strict_imports``: what a workflow imports without saying so is an error (for tests)."""
    restrictions = SandboxRestrictions.default
    if strict_imports:
        policy = SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
        restrictions = restrictions.with_import_notification_policy(policy)
    return SandboxedWorkflowRunner(restrictions=restrictions)
