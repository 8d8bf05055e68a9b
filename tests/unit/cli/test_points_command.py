"""``tidegate points``: the restorability index for a person and for a program."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.kit.objects import MemoryStore
from tidegate.cli.main import run
from tidegate.model.mirror import LinkHealth, Revival
from tidegate.points.model import Outage, OutputCut, Point, Points, TopicSeen
from tidegate.points.store import PointStore, Stored
from tidegate.registry import artifacts

FLEET = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"


class OpenMemoryStore(MemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture
def store(monkeypatch):
    store = OpenMemoryStore()
    monkeypatch.setattr(artifacts, "open_access", lambda *_: store)
    monkeypatch.setenv("TIDEGATE_FLEET", str(FLEET))
    return store


def _keep(store, region, *outages, **changes):
    now = datetime.now(UTC)
    point = Point(
        id="e7-chk-12",
        kind="checkpoint",
        snapshot=f"s3://{region}/x",
        taken_at=now - timedelta(seconds=2),
        inputs={"payments-source": {"payments/0": 5}},
        outputs={"balances/0": OutputCut(upto=20, last=19, first_later=4, later=((4, 7),))},
        outputs_there=True,
        verified_at=now,
    )
    points = Points(
        deployment="ledger",
        region=region,
        home="east",
        updated_at=now,
        points=(point.model_copy(update=changes),),
        outages=outages,
    )
    asyncio.run(PointStore(store, "tidegate").write(Stored(None, None), points))


def test_the_index_says_yes_or_why_not(store, capsys):
    _keep(store, "east")
    assert run(["points"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["DEPLOYMENT", "REGION", "RESTORABLE", "POINT", "AGE", "VERIFIED", "POINTS"]
    assert "ledger" in out[1]
    assert "yes" in out[1]
    assert "NO: no recovery points are kept" in out[2]
    _keep(store, "west")
    assert run(["points", "ledger"]) == 0
    assert "nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"problem": "s3://west/f is missing"}, "e7-chk-12: s3://west/f is missing"),
        ({"outputs": None}, "e7-chk-12: its outputs are not recorded, so none could be told from later ones (X4)"),
        ({"outputs_there": False}, "e7-chk-12: its outputs have not all come through the mirror"),
        ({"outputs_there": None}, "e7-chk-12: no mirror tells"),
        ({"inputs": None}, "e7-chk-12: its positions could not be read"),
    ],
)
def test_x5_what_stands_against_a_point_is_told(store, capsys, changes, why):
    _keep(store, "east")
    _keep(store, "west", **changes)
    assert run(["points", "ledger", "-o", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    west = next(line for line in answer["index"] if line["region"] == "west")
    assert (west["restorable"], west["why_not"]) == (False, why)
    assert answer["points"]["ledger/west"]["points"][0]["id"] == "e7-chk-12"


def test_x5_a_file_that_was_missing_is_told_also_when_it_is_back(store, capsys):
    at = datetime(2026, 1, 2, 14, 5, 12, tzinfo=UTC)
    gone = Outage(point="e7-chk-11", problem="s3://west/f is missing", whole_at=at, since=at)
    back = gone.model_copy(update={"point": "e7-chk-12", "until": at + timedelta(seconds=2)})
    _keep(store, "east")
    _keep(store, "west", gone, back)
    assert run(["points", "ledger"]) == 0
    out = capsys.readouterr().out
    assert "e7-chk-11 is not restorable since 2026-01-02 14:05:12" in out
    assert "e7-chk-12 was not restorable from 2026-01-02 14:05:12" in out
    assert "s3://west/f is missing; since then it is whole again" in out


def test_a_mirror_whose_task_died_is_told_with_the_first_line_of_its_trace(store, capsys):
    at = datetime(2026, 1, 2, 14, 5, 12, tzinfo=UTC)
    again = Revival(at=at, problem="task 0: org.x.Fenced: other epoch", running_at=at + timedelta(seconds=3))
    vain = Revival(at=at, problem="task 1: no", note="failed 4 times")
    health = LinkHealth(link="east-to-west", down="task 1: no; not restarted: it is held by f", revivals=(vain, again))
    _keep(store, "east")
    _keep(store, "west")
    points = PointStore(store, "tidegate")
    west = asyncio.run(points.read("ledger", "west"))
    asyncio.run(points.write(west, west.points.model_copy(update={"mirror": health})))

    assert run(["points", "ledger"]) == 0
    out = capsys.readouterr().out
    assert "mirror east-to-west is down: task 1: no; not restarted: it is held by f" in out
    assert "was down from 2026-01-02 14:05:12" in out
    assert "task 0: org.x.Fenced: other epoch; restarted, all its tasks ran again at 2026-01-02 14:05:15" in out
    assert "task 1: no; restarted, in vain: failed 4 times" in out
    assert run(["points", "ledger", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["points"]["ledger/west"]["mirror"]["link"] == "east-to-west"


def test_x7_topics_are_accepted_by_a_persons_word_only(store, capsys):
    _keep(store, "east")
    _keep(store, "west")
    points = PointStore(store, "tidegate")

    def west():
        return asyncio.run(points.read("ledger", "west"))

    seen = {"east": {"payments": TopicSeen(id="A", partitions=2)}}
    holes = ("topic payments was made anew in east: id A became B",)
    asyncio.run(points.write(west(), west().points.model_copy(update={"topics": seen, "holes": holes})))
    assert run(["points", "ledger"]) == 1
    assert "id A became B" in capsys.readouterr().out
    assert run(["points", "--accept-topics", "--yes"]) == 2
    assert run(["points", "ledger", "--accept-topics"]) == 4
    assert west().points.topics == seen
    assert run(["points", "ledger", "--accept-topics", "--yes"]) == 0
    assert (west().points.topics, west().points.holes) == ({}, ())
    capsys.readouterr()
    assert run(["points", "ledger"]) == 1
    assert "it was taken before the topics were taken for new ones (X7)" in capsys.readouterr().out
