"""The restorability index: whether a deployment can be restored in a region, and how old it would be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tidegate.points.model import Outage, Point, Points, Restorability

OUTAGES_KEPT = 20
"""So many outages of a region are written down, the newest."""

STALE_S = 60.0
"""After so long without a look nobody knows whether the files are still there."""


def against(points: Points, point: Point) -> str | None:
    """What stands against a restore from a point in that region; None: it is a recovery point (X5)."""
    if point.problem is not None:
        return point.problem
    if point.verified_at is None:
        return "its files were never seen"
    if points.region == points.home:
        return None
    if points.holes:
        return f"the mirror has a hole: {points.holes[0]}"
    if points.topics_since is not None and point.taken_at <= points.topics_since:
        return "it was taken before the topics were taken for new ones (X7)"
    if point.inputs is None:
        return "its positions could not be read"
    if point.outputs is None:
        return "its outputs are not recorded, so none could be told from later ones (X4)"
    unsafe = [one for one in point.settlements if not one.safe]
    if unsafe:
        return f"its outputs are not all committed: {unsafe[0].transactional_id} is {unsafe[0].word}"
    if not point.outputs_there:
        return "its outputs have not all come through the mirror" if point.outputs_there is False else "no mirror tells"
    return None


def newest_good(points: Points) -> Point | None:
    """The newest that the region can be restored from; None: there is none."""
    good = [point for point in points.points if against(points, point) is None]
    return max(good, key=lambda point: (point.taken_at, point.checkpoint_id or 0), default=None)


def outages(before: Points | None, points: Sequence[Point], now: datetime) -> tuple[Outage, ...]:
    """The outages of a region after one more look: new ones begin, and end where all files are there again."""
    known = before.outages if before is not None else ()
    lasting = {one.point for one in known if one.until is None}
    whole = {point.id for point in points if point.problem is None}
    begun = [
        Outage(point=point.id, problem=point.problem, whole_at=point.verified_at, since=now)
        for point in points
        if point.problem is not None and point.id not in lasting
    ]
    ended = [
        one.model_copy(update={"until": now}) if one.until is None and one.point in whole else one for one in known
    ]
    return (*begun, *ended)[:OUTAGES_KEPT]


def restorability(points: Points | None, deployment: str, region: str, now: datetime) -> Restorability:
    """The line of the index for a region. ``points`` None: nothing was ever kept there."""
    if points is None:
        return Restorability(
            deployment=deployment, region=region, restorable=False, why_not="no recovery points are kept"
        )
    best = newest_good(points)
    if best is None:
        newest = points.points[0] if points.points else None
        why = f"{newest.id}: {against(points, newest)}" if newest else "there is no snapshot"
        return Restorability(deployment=deployment, region=region, restorable=False, why_not=why)
    looked_s = (now - points.updated_at).total_seconds()
    stale = looked_s > STALE_S
    return Restorability(
        deployment=deployment,
        region=region,
        restorable=not stale,
        why_not=f"nobody has looked for {looked_s:,.0f} s; its files may be gone" if stale else None,
        point=best.id,
        snapshot=best.snapshot,
        age_s=max(0.0, (now - best.taken_at).total_seconds()),
        verified_age_s=max(0.0, (now - best.verified_at).total_seconds()) if best.verified_at else None,
        points=sum(against(points, point) is None for point in points.points),
    )
