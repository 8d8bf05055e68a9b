"""When a deployment cannot be restored in a region any more, and when it can again: what the keeper tells people."""

from __future__ import annotations

from tidegate import names
from tidegate.model.notice import Event, Notice, Severity
from tidegate.points.index import restorability
from tidegate.points.model import Points


class Flips:
    """Whether each region of a deployment could be restored in at the last look."""

    def __init__(self) -> None:
        self._was: dict[str, tuple[str, bool]] = {}
        """By region: the home of that time, and the answer. Another home begins anew: nothing is lost by a move."""

    def look(self, points: Points | None) -> Notice | None:
        """What is to be told after a look; None: nothing has changed, or it is the first look at this region."""
        if points is None:
            return None
        line = restorability(points, points.deployment, points.region, points.updated_at)
        home, before = self._was.get(points.region, ("", line.restorable))
        self._was[points.region] = (points.home, line.restorable)
        if home != points.home or before == line.restorable:
            return None
        what = "can be restored again" if line.restorable else "can NOT be restored any more"
        since = points.updated_at
        return Notice(
            id=names.derive_id("restorability", points.deployment, points.region, since.isoformat(), line.restorable),
            event=Event.NOT_RESTORABLE,
            over=line.restorable,
            severity=Severity.ERROR,
            title=f"{points.deployment} {what} in {points.region}",
            detail=line.why_not or "",
            subject=f"restorability/{points.deployment}/{points.region}",
            deployment=points.deployment,
            region=points.region,
            at=since,
            commands=(f"tidegate points {points.deployment}",),
        )
