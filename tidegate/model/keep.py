"""KeepRecoveryPoints: what goes in, and the fact of its step."""

from __future__ import annotations

from pydantic import Field

from tidegate.model.inputs import Input
from tidegate.model.record import Frozen

KEEP_RECOVERY_POINTS = "KeepRecoveryPoints"


class KeepInput(Input):
    """KeepRecoveryPoints: ship what Flink completes to the standby, and keep the restorability index."""

    deployment: str = Field(min_length=1, description="name in the fleet file")
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    interval_s: float = Field(default=2.0, ge=0.2, le=600, description="seconds from one look to the next")
    bytes_per_s: float | None = Field(default=None, gt=0, description="send at most so many bytes a second")
    watch_s: float = Field(
        default=6 * 3_600.0, gt=0, le=86_400, description="for so long one step looks; then it begins anew, and so on"
    )


class KeepStep(Frozen):
    """keep_points: look again and again for ``watch_s`` seconds."""

    deployment: str
    fleet_digest: str
    at: str | None = None
    """The cell where it runs, ``region/cell``; None: the fleet file's home."""
    interval_s: float
    watch_s: float
    bytes_per_s: float | None = None


class KeepFact(Frozen):
    """What a watch came to."""

    cycles: int
    shipped: int
    sent_bytes: int
    newest: str | None
    """Id of the newest snapshot that was seen."""
