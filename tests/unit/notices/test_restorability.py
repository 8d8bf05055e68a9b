"""A region in which a deployment cannot be restored any more is told once, and once more when it can again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidegate.model.notice import Event, Severity
from tidegate.notices.restorability import Flips
from tidegate.points.model import OutputCut, Point, Points

AT = datetime(2026, 3, 1, 3, 14, tzinfo=UTC)


def points(second: int, *, problem: str | None = None, home: str = "east", region: str = "west") -> Points:
    now = AT + timedelta(seconds=second)
    point = Point(
        id="e7-chk-12",
        kind="checkpoint",
        snapshot="s3://west/x",
        taken_at=AT,
        inputs={"payments-source": {"payments/0": 5}},
        outputs={"balances/0": OutputCut(upto=20, last=19, first_later=4, later=((4, 7),))},
        outputs_there=True,
        verified_at=AT,
        problem=problem,
    )
    return Points(deployment="ledger", region=region, home=home, updated_at=now, points=(point,))


def test_a_loss_is_told_once_and_its_end_under_the_same_subject() -> None:
    flips = Flips()
    looks = [points(0), points(1, problem="s3://west/f is missing"), points(2, problem="still"), points(3), points(4)]
    told = [notice for look in looks if (notice := flips.look(look)) is not None]
    assert [(one.event, one.over, one.severity) for one in told] == [
        (Event.NOT_RESTORABLE, False, Severity.ERROR),
        (Event.NOT_RESTORABLE, True, Severity.ERROR),
    ]
    assert "s3://west/f is missing" in told[0].detail
    assert "NOT be restored any more in west" in told[0].title
    assert len({one.subject for one in told}) == 1
    assert len({one.id for one in told}) == 2


def test_what_was_never_restorable_is_no_loss_and_a_move_is_none() -> None:
    flips = Flips()
    assert flips.look(None) is None
    assert flips.look(points(0, problem="never yet")) is None
    assert flips.look(points(1)) is not None
    assert flips.look(points(2, problem="made anew", home="west")) is None


def test_regions_are_told_apart() -> None:
    flips = Flips()
    assert flips.look(points(0)) is None
    assert flips.look(points(1, region="east", problem="x")) is None
    lost = flips.look(points(2, problem="x"))
    assert lost is not None
    assert lost.region == "west"


def test_two_attempts_of_one_look_are_one_notice() -> None:
    """The watch died after it had told: the next attempt finds the same, and derives the same id."""
    ids = set()
    for _ in range(2):
        flips = Flips()
        flips.look(points(0))
        notice = flips.look(points(1, problem="x"))
        assert notice is not None
        ids.add(notice.id)
    assert len(ids) == 1
