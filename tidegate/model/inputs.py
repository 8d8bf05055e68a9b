"""What a person asks of the runbooks on one deployment, and tells an operation while it runs."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tidegate.model.record import MadeWay

UPGRADE_DEPLOYMENT = "UpgradeDeployment"
START_DEPLOYMENT = "StartDeployment"
RESTORE_DEPLOYMENT = "RestoreDeployment"
TAKE_SNAPSHOT = "TakeSnapshot"
STOP_DEPLOYMENT = "StopDeployment"


class Input(BaseModel):
    """Base of what a person sends: an unknown field is refused, so that a typing error is no silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TakeOver(Input):
    """A person's word that a deployment shall change hands; stands in the report."""

    why: str = Field(min_length=3, description="why the operation that holds it is given up")


class RunbookInput(Input):
    """What every runbook on one deployment takes."""

    deployment: str = Field(min_length=1, description="name in the fleet file")
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="observe and plan, change nothing")
    take_over: TakeOver | None = Field(default=None, description="take the deployment from the operation that holds it")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    bake_s: float = Field(default=60.0, ge=0, le=86_400, description="how long the job must prove healthy, in seconds")
    approval_timeout_s: float = Field(
        default=3_600.0, gt=0, le=7 * 86_400, description="how long to wait for an approval"
    )
    require_approval: bool = Field(default=False, description="ask for approval even if the fleet file does not")
    break_glass: str | None = Field(default=None, description="go on without the approval that is required; say why")


class UpgradeInput(RunbookInput):
    """UpgradeDeployment: stop the job with a savepoint and start another artifact from it."""

    to: str = Field(min_length=1, description="name of the artifact to run, as in the fleet file")
    on_unreadable_state: Literal["replay", "halt"] = Field(
        default="replay",
        description="if the new job has committed output and the old artifact cannot read its state: "
        "replay from the savepoint, with a manifest of what comes twice, or halt and ask",
    )


class StartInput(RunbookInput):
    """StartDeployment: make a deployment that does not run, run."""

    artifact: str = Field(min_length=1, description="name of the artifact to run, as in the fleet file")
    from_empty: bool = Field(default=False, description="start with empty state (I3: only if asked in so many words)")
    snapshot: str | None = Field(
        default=None, description="location of the snapshot to start from; default: the newest"
    )
    fork_of: str | None = Field(
        default=None,
        description="start it as a fork of this deployment: from a copy of its snapshot (its id or location; default: "
        "the newest that lasts) without its sinks' state",
    )


class RestoreInput(RunbookInput):
    """RestoreDeployment: make a deployment go on from a snapshot: the newest, a named one, or one as of a time."""

    source: str = Field(
        default="newest",
        min_length=1,
        description="the snapshot: newest, its name (e7-chk-212), its checkpoint number or its whole location",
    )
    as_of: AwareDatetime | None = Field(
        default=None,
        description="instead of source: the newest snapshot that was complete at this time (with its zone)",
    )
    artifact: str | None = Field(
        default=None,
        description="name of the artifact to run; default: the one that wrote the deployment's output last",
    )
    region: str | None = Field(
        default=None,
        description="the region where it shall go on; default: where it ran last. In another one: from a copy of its "
        "stop's savepoint that was rebased for that region",
    )
    accept_loss: str | None = Field(
        default=None, description="name of the snapshot from which a start is wanted though it loses output"
    )
    accept_replay: str | None = Field(
        default=None,
        description="name of the snapshot from which a start is wanted though committed output comes again",
    )
    made_way_for: str | None = Field(
        default=None,
        description="only if it still stands stopped to make way for this operation; else refused",
    )


class SnapshotInput(RunbookInput):
    """TakeSnapshot: a savepoint of a job that goes on."""

    format: Literal["native", "canonical"] = Field(
        default="native",
        description="native: the state backend's own files, fast; canonical: what every state backend reads",
    )


class StopInput(RunbookInput):
    """StopDeployment: stop the job with a savepoint, and leave the deployment stopped."""

    makes_way: MadeWay | None = Field(
        default=None,
        description="the failover of a region that needs its slots: it comes back when they are free again",
    )


class ApproveInput(Input):
    """Update ``approve``: for the plan with this hash (its first 8 digits will do)."""

    by: str = Field(min_length=1)
    plan_hash: str = Field(min_length=8)
    comment: str = ""


class RejectInput(Input):
    """Update ``reject``."""

    by: str = Field(min_length=1)
    comment: str = ""


class ControlInput(Input):
    """Updates ``pause``, ``resume`` and ``abort``."""

    by: str = Field(min_length=1)
    why: str = ""
