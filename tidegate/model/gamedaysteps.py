"""GameDay: what its steps are given, and what they find. None of them changes anything; the failovers do."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import Field

from tidegate.model.gameday import Rules, Sample, Trip
from tidegate.model.record import Frozen
from tidegate.model.region import Member

CLOSED: Final = "closed"
"""In place of a region: nobody may write the topic."""

RUNNING: Final = "RUNNING"
DEPLOYING: Final = "DEPLOYING"
"""In place of RUNNING: Flink says that the job runs, and not all of its tasks do."""
SILENT: Final = "not known"
"""What the state begins with when Flink does not answer."""


class GameDayLook(Frozen):
    """look_at_game_day: may these go there, and could they come back?"""

    operation: str
    run_id: str
    region: str
    to: str
    deployments: tuple[str, ...]
    fleet_digest: str | None = None
    who: str = "unknown"
    why: str = ""


class GameDaySeen(Frozen):
    """Both ways, as they would go now."""

    at: datetime
    fleet_digest: str
    members: tuple[Member, ...]
    """By tier, then by name; ``home`` and ``at`` are the cells."""
    topics: tuple[str, ...]
    """What turns with them."""
    links: tuple[str, ...]
    """That bring it there, and run now."""
    back: tuple[str, ...]
    """That bring it home again."""
    points: dict[str, str] = Field(default_factory=dict)
    """By deployment: its newest recovery point there, with its age."""
    slots_needed: int
    slots_free: int
    slots_total: int
    mirror_lag: dict[str, int | None] = Field(default_factory=dict)
    approvals: tuple[str, ...] = ()
    """Deployments whose failover waits for an approval."""
    notes: tuple[str, ...] = ()


class WhereInput(Frozen):
    """where_game_day: where does each of them live now, and its topics, and which links run?"""

    fleet_digest: str
    members: tuple[Member, ...]
    topics: tuple[str, ...]
    links: tuple[str, ...]


class Stand(Frozen):
    """Where a deployment is, by its record and its Flink."""

    deployment: str
    at: str
    """``region/cell`` of its job that ran last."""
    job_id: str
    epoch: int
    state: str
    """Flink's word, or why there is none."""
    holder: str | None = None
    """The operation that holds it."""

    @property
    def region(self) -> str:
        """Where it lives."""
        return self.at.partition("/")[0]

    @property
    def text(self) -> str:
        """``ledger runs in west/cell-1``."""
        runs = "runs" if self.state == RUNNING else f"is {self.state}"
        held = f", held by {self.holder}" if self.holder else ""
        return f"{self.deployment} {runs} in {self.at}, epoch {self.epoch}{held}"


class Stands(Frozen):
    """where_game_day."""

    at: datetime
    stands: tuple[Stand, ...]
    topics: dict[str, str]
    """By topic: the region where it is written; ``CLOSED`` if nobody may. One that never turned may not be here."""
    links: dict[str, str]
    """By link: RUNNING or what else its record says."""

    def of(self, region: str) -> tuple[Stand, ...]:
        """Those that live there."""
        return tuple(one for one in self.stands if one.region == region)


class GameDayWatchStep(Frozen):
    """watch_game_day: look at them until a rule is broken or the time is up."""

    fleet_digest: str
    members: tuple[Member, ...]
    rules: Rules
    began: datetime
    until: datetime
    jobs: dict[str, str] | None = None
    """By deployment: the job that runs in the standby. None: they are on their way there, and only the gap counts."""


class GameDayWatched(Frozen):
    """watch_game_day."""

    samples: tuple[Sample, ...]
    trip: Trip | None = None
    watched_s: float = 0.0
