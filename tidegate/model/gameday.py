"""GameDay: what goes in, its rules, and what its report says. The facts of its steps are in ``gamedaysteps``."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from tidegate.model.inputs import Input
from tidegate.model.operation import MemberResult, Outcome
from tidegate.model.record import Frozen

GAME_DAY = "GameDay"


class Rules(Frozen):
    """When a game day stops and goes back. Seconds and records; None: not looked at.

    A verdict with anything lost, duplicated or wrong always stops it, and so does a job that ends.
    """

    max_gap_s: float | None = None
    max_lag_records: int | None = None
    max_lag_s: float | None = None
    max_restarts: int = 2
    max_failed_checkpoints: int = 3
    max_away_s: float = 60.0


class GameDayInput(Input):
    """GameDay: chosen deployments go on in another region for a while, under rules that send them back."""

    region: str = Field(min_length=1, description="the region where they live, and to which they come back")
    to: str = Field(min_length=1, description="the region where they run for a while")
    deployments: tuple[str, ...] = Field(
        min_length=1, description="which; those that share a mirror link or an input go together, or it is refused"
    )
    stay_s: float = Field(default=900.0, gt=0, le=86_400, description="how long they run there under watch, in seconds")
    max_gap_s: float | None = Field(
        default=300.0, gt=0, le=86_400, description="rule: no output for so long, in seconds, on a way or while there"
    )
    max_lag_records: int | None = Field(
        default=None, ge=0, description="rule: so many input records behind while there; null: not looked at"
    )
    max_lag_s: float | None = Field(
        default=300.0, gt=0, le=86_400, description="rule: so far behind the input while there, in seconds"
    )
    max_restarts: int = Field(default=2, ge=0, description="rule: more restarts of a job there than this")
    max_failed_checkpoints: int = Field(default=3, ge=0, description="rule: more failed checkpoints there than this")
    max_away_s: float = Field(
        default=60.0, gt=0, le=3_600, description="rule: Flink or Kafka there cannot be asked for so long, in seconds"
    )
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="observe and plan both ways, change nothing")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    drain_s: float = Field(
        default=120.0, gt=0, le=3_600, description="how long the mirror may take to bring the rest, in seconds"
    )
    bake_s: float = Field(
        default=60.0, ge=0, le=86_400, description="how long each job must prove healthy after each way, in seconds"
    )
    unattended: bool = Field(
        default=False,
        description="in a schedule only: yes, move production with nobody there; without it it is refused",
    )

    @property
    def deployment(self) -> str:
        """What stands for a deployment's name in its id, its status and the key of its report."""
        return f"region-{self.region}"

    @property
    def rules(self) -> Rules:
        """When it stops and goes back."""
        return Rules(**self.model_dump(include=set(Rules.model_fields)))


class Rule(StrEnum):
    """What stopped a game day."""

    GAP = "gap"
    LAG = "lag"
    RESTARTS = "restarts"
    CHECKPOINTS = "checkpoints"
    JOB = "job"
    """The job there has ended, or Flink does not know it any more."""
    AWAY = "away"
    VERDICT = "verdict"
    FAILOVER = "failover"
    """The failover itself did not come to a good end."""
    TAKEN = "taken"
    """Somebody else moved or restarted it: the game day does nothing more to it."""


class Trip(Frozen):
    """A rule that was broken."""

    rule: Rule
    deployment: str
    at: datetime
    what: str
    """What was seen, and the limit."""

    @property
    def text(self) -> str:
        """``rule restarts: ledger restarted 3 times in west (limit 2)``."""
        return f"rule {self.rule}: {self.what}"


class Sample(Frozen):
    """One look at a deployment in the standby; of a long stay the worst of several looks."""

    at: datetime
    deployment: str
    state: str = ""
    restarts: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    lag: int | None = None
    """Input records that are not processed, by the committed positions; None: there are none yet."""
    lag_s: float | None = None
    """For so long the oldest of them has been there, in seconds; at least, if the watch began later."""
    quiet_s: float = 0.0
    """For so long no output came though input waited, in seconds."""


class Way(Frozen):
    """The failover there, or an attempt at the way back."""

    source: str
    target: str
    operation: str
    began: datetime
    ended: datetime
    outcome: Outcome | None
    """None: it ended without a result."""
    summary: str
    members: tuple[MemberResult, ...] = ()

    @property
    def gap_s(self) -> float | None:
        """The longest of its deployments, in seconds."""
        gaps = [one.verdict.gap_ms for one in self.members if one.verdict and one.verdict.gap_ms is not None]
        return max(gaps) / 1000 if gaps else None

    @property
    def rto_s(self) -> float | None:
        """The longest of its deployments, in seconds."""
        return max((one.rto_s for one in self.members if one.rto_s is not None), default=None)


class GameDayFacts(Frozen):
    """What a game day adds to its report."""

    region: str
    to: str
    deployments: tuple[str, ...]
    rules: Rules
    stay_s: float
    """As asked."""
    stayed_s: float | None = None
    """How long they were watched there, in seconds; None: they were not."""
    there: Way | None = None
    back: tuple[Way, ...] = ()
    """Each attempt; the last one counts."""
    trips: tuple[Trip, ...] = ()
    stopped: str | None = None
    """Why it was cut short; None: it went to its end."""
    samples: tuple[Sample, ...] = ()
    stands: tuple[str, ...] = ()
    """Where each deployment is at the end."""
    notes: tuple[str, ...] = ()
