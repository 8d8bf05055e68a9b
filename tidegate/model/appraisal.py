"""What a start from a snapshot would cost, in records: the choices that a restore is decided by (X3, X26)."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tidegate.model.record import ArtifactRef, Frozen
from tidegate.model.timers import TimersFound


class SnapshotPrice(Frozen):
    """One snapshot of a deployment, and the price of going on from it."""

    location: str
    name: str
    """``e7-chk-212``, as ``tidegate snapshot list`` says: what a person accepts a price by."""
    checkpoint_id: int
    kind: str
    """``checkpoint`` or ``savepoint``."""
    epoch: int
    """Of the job that wrote it; 0: it cannot be told."""
    artifact: ArtifactRef | None = None
    """What wrote it, if the record still knows."""
    completed_at: datetime
    problem: str = ""
    """Why it cannot be used at all; empty: it can."""
    newest: bool = False
    """The newest of what the deployment goes on from by itself."""
    transactions: dict[str, int] = Field(default_factory=dict)
    """How many transactions it lists, by the broker's word on each (X3)."""
    lost: int = 0
    """Output records of aborted transactions: no start from here brings them back."""
    lost_uncounted: int = 0
    """Transactions that the broker and the log no longer tell anything of: as good as lost, in unknown number."""
    lost_ids: tuple[str, ...] = ()
    """Transactional ids of the lost ones, the first few."""
    replayed: int = 0
    """Committed output records after it: they come again, and a manifest names them."""
    inputs_again: int = 0
    """Input positions from its own to the ends of the inputs: what the job reads from here on."""
    timers: TimersFound | None = None
    """Only of the one that is gone on from."""

    @property
    def exact(self) -> bool:
        """Nothing is lost and nothing comes again."""
        return not self.loses and not self.replayed

    @property
    def loses(self) -> bool:
        """Whether output is lost if one starts from here."""
        return bool(self.lost or self.lost_uncounted)

    @property
    def price(self) -> str:
        """In words: ``lost 12, replayed 0``."""
        more = f" and {self.lost_uncounted} transactions nobody can count any more" if self.lost_uncounted else ""
        return f"lost {self.lost:,}{more}, replayed {self.replayed:,}"


class Appraisal(Frozen):
    """The snapshots that a deployment can go on from, newest first, each with its price."""

    choices: tuple[SnapshotPrice, ...] = ()


class Crossing(Frozen):
    """A copy of a stop's savepoint, rebased for another region's Kafka, as what a deployment goes on from there."""

    location: str
    original: str = ""
    """The savepoint at home that it was made of."""
    replays: int = 0
    """Input records that are read a second time, as was accepted when the copy was made; 0: positions are exact."""
    problem: str = ""
    """Why nothing may be started from it; empty: it may."""
    timers: TimersFound | None = None
