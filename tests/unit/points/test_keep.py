"""The keeper's cycle: what is complete is shipped, attributed and published; what goes missing is told (X4 to X7)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.kit.kafka_fake import FakeKafka
from tests.kit.kept_job import Scene
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import EAST, JOB, WEST, Job
from tidegate.clients.kafka_types import TopicDescription, TopicPartition
from tidegate.clients.objects import S3Uri
from tidegate.errors import BasisChanged
from tidegate.model.mirror import LinkHealth, Revival
from tidegate.points.index import STALE_S, against, restorability
from tidegate.points.keep import KEPT, Keeper, Side
from tidegate.points.model import Points
from tidegate.points.store import PointStore, points_key
from tidegate.points.topics import accepted
from tidegate.snapshot.pace import Pace


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.begin()
    return made


async def _line(scene: Scene, region: str):
    found = await PointStore(scene.control, "tidegate").read("ledger", region)
    return restorability(found.points, "ledger", region, scene.now)


async def test_x5_a_point_is_published_for_the_standby_when_its_outputs_are_there(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    assert (await _line(scene, "west")).why_not == "there is no snapshot"
    await scene.checkpoint(0, 1)
    await keeper.cycle()
    assert (await _line(scene, "east")).restorable
    await scene.checkpoint(0, 1)
    kept = await keeper.cycle()
    assert kept.shipped == "e7-chk-2"
    line = await _line(scene, "west")
    assert not line.restorable
    assert "have not all come through the mirror" in (line.why_not or "")
    await scene.all_mirrored()
    await keeper.cycle()
    line = await _line(scene, "west")
    assert (line.restorable, line.point) == (True, "e7-chk-2")
    assert line.snapshot is not None
    assert line.snapshot.startswith("s3://west/savepoints/ledger/from-east/e7-chk-2-")


async def test_x4_the_first_checkpoint_after_the_start_may_have_begun_before_it_and_is_not_attributed(scene: Scene):
    await scene.write(0)
    ended = await scene.barrier()
    await scene.write(1)  # later than the first one, and written before the keeper looks
    keeper = scene.keeper()
    await keeper.cycle()
    await scene.complete(ended)
    await keeper.cycle()
    await scene.all_mirrored()
    found = (await PointStore(scene.control, "tidegate").read("ledger", "west")).points
    assert found is not None
    assert found.points[0].outputs is None
    assert "not recorded" in (against(found, found.points[0]) or "")


async def test_x4_cuts_are_those_of_a_full_reading_also_over_a_restart_of_the_keeper(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    for turn in range(1, 9):
        await scene.write(turn % 2)
        ended = await scene.barrier()
        await scene.write((turn + 1) % 2)  # of the next interval, before this one is committed
        await scene.write(turn % 2)
        await scene.complete(ended)
        if turn == 5:
            keeper = scene.keeper()  # a new process: it reads on where the old one was
        await keeper.cycle()
    found = (await PointStore(scene.control, "tidegate").read("ledger", "east")).points
    assert found is not None
    attributed = [point for point in found.points if point.outputs is not None]
    assert len(attributed) >= 6
    for point in attributed:
        for name, cut in (point.outputs or {}).items():
            tp = TopicPartition("balances", int(name.rpartition("/")[2]))
            assert point.checkpoint_id is not None
            of_it = [at for on, at, n in scene.wrote if on == tp and n <= point.checkpoint_id]
            later = [at for on, at, n in scene.wrote if on == tp and n > point.checkpoint_id and at < max(of_it)]
            assert cut.last == max(of_it)
            assert cut.upto == max(of_it) + 1
            inside = {at for first, last in cut.later for at in range(first, last + 1)}
            assert set(later) <= inside
            assert not inside & set(of_it)


async def test_x3_what_became_of_each_transaction_is_written_down_when_it_is_seen(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    for _ in range(3):
        await scene.checkpoint(0, 1)
        await keeper.cycle()
    found = (await PointStore(scene.control, "tidegate").read("ledger", "east")).points
    assert found is not None
    assert [one.word for one in found.points[0].settlements] == ["committed"]
    scene.kafka.forget(found.points[0].settlements[0].transactional_id)
    kept = await keeper.cycle()
    assert kept.home.points[0].settlements[0].safe, "a broker that forgets does not unmake what was seen"


async def test_x5_a_file_that_goes_missing_flips_the_index_within_a_cycle(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    await scene.checkpoint(0, 1)
    await keeper.cycle()
    await scene.checkpoint(0, 1)
    await scene.all_mirrored()
    await keeper.cycle()
    assert (await _line(scene, "west")).restorable
    shared = next(uri for uri in scene.west.objects if uri.name.startswith("shared-") and "." not in uri.name)
    await scene.west.delete(shared)
    # Nothing of it is left at home, so it cannot be sent again.
    for uri in [uri for uri in scene.east.objects if "chk-" in uri.key]:
        await scene.east.delete(uri)
    await keeper.cycle()
    line = await _line(scene, "west")
    assert not line.restorable
    assert f"{shared} is missing" in (line.why_not or "")


async def test_a_shared_file_that_is_lost_in_the_standby_is_sent_again_while_home_has_it(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    await scene.checkpoint(0, 1)
    await keeper.cycle()
    await scene.west.delete(
        next(uri for uri in scene.west.objects if uri.name.startswith("shared-") and "." not in uri.name)
    )
    written: list[Points] = []

    async def watched(op: str, uri: S3Uri) -> None:
        if op in {"create", "replace"} and uri.key == points_key("ledger", "west"):
            found = (await PointStore(scene.control, "tidegate").read("ledger", "west")).points
            assert found is not None
            written.append(found)

    scene.control.before = watched
    kept = await keeper.cycle()
    assert kept.sent_bytes == 1500
    assert kept.away is not None
    assert kept.away.points[0].problem is None
    assert len(written) == 2, "what was missing is told before it is sent again"
    assert "shared-" in (written[1].points[0].problem or "")
    assert written[1].outages[0].until is None
    outage = kept.away.outages[0]
    assert (outage.point, outage.until) == ("e7-chk-1", scene.now)
    assert "is missing" in outage.problem
    assert (await keeper.cycle()).away == kept.away.model_copy(update={"seq": kept.away.seq + 1})


async def test_x7_a_hole_in_the_mirror_stands_against_every_point(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    for _ in range(2):
        await scene.checkpoint(0, 1)
        await keeper.cycle()
    await scene.all_mirrored()
    scene.mirror.lost = ["balances-0: hole from 4 to 9"]
    await keeper.cycle()
    line = await _line(scene, "west")
    assert line.why_not == "e7-chk-2: the mirror has a hole: balances-0: hole from 4 to 9"


async def test_x7_a_topic_made_anew_or_with_other_partitions_stands_against_every_point(scene: Scene):
    def seen(id_: str | None, partitions: int = 2) -> dict[str, TopicDescription]:
        return {"payments": TopicDescription("payments", id_, partitions)}

    scene.mirror.topics = {"east": seen("A"), "west": {}}
    keeper = scene.keeper()
    await keeper.cycle()
    scene.mirror.topics["west"] = seen("W")  # comes with the first records, and is seen first now
    for _ in range(2):
        await scene.checkpoint(0, 1)
        await keeper.cycle()
    await scene.all_mirrored()
    await keeper.cycle()
    assert (await _line(scene, "west")).restorable

    for topics, why in (
        ({"east": seen("B"), "west": seen("W")}, "topic payments was made anew in east: id A became B"),
        ({"east": seen("A"), "west": seen("X")}, "topic payments was made anew in west: id W became X"),
        ({"east": seen("A", 3), "west": seen("W")}, "topic payments in east has 3 partitions, and had 2"),
        ({"east": {}, "west": seen("W")}, "topic payments is gone in east"),
    ):
        scene.mirror.topics = topics
        for one in (keeper, scene.keeper()):  # the baseline outlives the keeper
            kept = await one.cycle()
            assert f"hole in the mirror (X7): {why}" in kept.notes
            assert (await _line(scene, "west")).why_not == f"e7-chk-2: the mirror has a hole: {why}"

    store = PointStore(scene.control, "tidegate")
    found = await store.read("ledger", "west")
    assert found.points is not None
    scene.mirror.topics = {"east": seen("B"), "west": seen("W")}
    await store.write(found, accepted(found.points, scene.now + timedelta(seconds=1)))
    await keeper.cycle()
    line = await _line(scene, "west")
    assert line.why_not == "e7-chk-2: it was taken before the topics were taken for new ones (X7)"


async def test_x7_a_broker_that_knows_no_topic_ids_raises_no_alarm(scene: Scene):
    scene.mirror.topics = {"east": {"payments": TopicDescription("payments", None, 2)}}
    keeper = scene.keeper()
    await keeper.cycle()
    scene.mirror.topics = {"east": {"payments": TopicDescription("payments", "A", 2)}}
    assert (await keeper.cycle()).notes == []


async def test_x7_the_log_of_an_output_that_was_made_anew_is_read_from_its_beginning(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    for _ in range(2):
        await scene.checkpoint(0, 1)
        await keeper.cycle()
    scene.kafka.delete_topic("balances")
    await scene.kafka.create_topic("balances", 2)
    await scene._next()
    await scene.checkpoint(0)
    kept = await keeper.cycle()
    assert "an output topic was made anew" in kept.notes[0]
    for _ in range(2):
        await scene.checkpoint(0)
        kept = await keeper.cycle()
    assert kept.home.points[0].outputs is None, "the first that completes after the reading began"
    await scene.checkpoint(0)
    kept = await keeper.cycle()
    assert kept.home.points[0].outputs is not None


async def test_o1_a_second_keeper_is_refused(scene: Scene):
    one = scene.keeper()
    await one.cycle()

    async def overtaken(op: str, uri: S3Uri) -> None:
        if op == "replace":
            scene.control.before = MemoryStore().before
            scene.now += timedelta(seconds=1)
            await scene.keeper().cycle()

    scene.control.before = overtaken
    with pytest.raises(BasisChanged, match="was written by somebody else"):
        await one.cycle()


async def test_a_look_reads_no_snapshot_twice_and_asks_for_the_transactions_of_what_it_read(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    asked: list[set[int]] = []
    listing = scene.kafka.list_transactions

    async def list_transactions(prefix: str, producer_ids: set[int]) -> object:
        asked.append(producer_ids)
        return await listing(prefix, producer_ids)

    scene.kafka.list_transactions = list_transactions  # type: ignore[method-assign,assignment]
    for _ in range(6):
        await scene.checkpoint(0, 1)
        await keeper.cycle()
    # Its own, that of the interval before and what is open; not those of all the checkpoints before.
    assert len(asked) == 5
    assert max(map(len, asked)) <= 3

    def read(store: MemoryStore) -> int:
        return sum(op.startswith("get") and uri.name in {"_metadata", "shipped.json"} for op, uri in store.calls)

    before = read(scene.east), read(scene.west)
    for _ in range(3):
        kept = await keeper.cycle()
    assert len(kept.home.points) == 6
    assert (read(scene.east), read(scene.west) - before[1]) == (before[0], 2), "the copy that was made last, once"


async def test_what_nobody_has_looked_at_for_long_is_not_trusted(scene: Scene):
    keeper = scene.keeper()
    await keeper.cycle()
    await scene.checkpoint(0)
    await keeper.cycle()
    assert (await _line(scene, "east")).restorable
    scene.now += timedelta(seconds=STALE_S + 1)
    line = await _line(scene, "east")
    assert (line.restorable, line.why_not) == (False, "nobody has looked for 61 s; its files may be gone")
    assert restorability(None, "ledger", "west", scene.now).why_not == "no recovery points are kept"
    assert S3Uri("tidegate", points_key("ledger", "east")) in scene.control.objects


async def test_a_jar_that_cannot_be_kept_is_told_and_the_points_are_kept_all_the_same(scene):
    keeper = scene.keeper()

    async def no_jar() -> str:
        return "no copy of the jar of v1 outlives its region"

    keeper.keep_jar = no_jar
    kept = await keeper.cycle()
    assert kept.notes[-1:] == ["no copy of the jar of v1 outlives its region"]
    assert kept.away is not None


async def test_x20_after_a_move_nothing_of_the_former_homes_kafka_is_gone_on_with(scene: Scene):
    before = scene.keeper()
    await before.cycle()
    for _ in range(2):
        await scene.checkpoint(0, 1)
        await before.cycle()

    # It goes on in the west, where the log is a short one; the east is its standby now.
    scene.kafka = FakeKafka()
    scene.job = Job(epoch=8, job_id="8" * 32, base="s3://west/checkpoints")
    scene.number = 0
    await scene.begin()

    async def jobs() -> dict[str, int]:
        return {JOB: 7, "8" * 32: 8}

    keeper = Keeper(
        home=Side(WEST, scene.west),
        away=Side(EAST, scene.east),
        kafka=scene.kafka,
        outputs=["balances"],
        points=PointStore(scene.control, "tidegate"),
        jobs=jobs,
        mirror=scene.mirror,
        pace=Pace(part_bytes=1000),
        now=lambda: scene.now,
    )
    kept = await keeper.cycle()
    assert (kept.home.home, kept.home.points, kept.home.read_from) == ("west", (), {})
    scene.east, scene.west = scene.west, scene.east  # where the job's checkpoints go
    for _ in range(2):
        await scene.checkpoint(0)
        kept = await keeper.cycle()
    await scene.all_mirrored()
    kept = await keeper.cycle()
    assert [point.id for point in kept.home.points] == ["e8-chk-2", "e8-chk-1"]
    assert kept.home.points[0].outputs is not None
    assert kept.home.read_after == (8, 2)
    line = await _line(scene, "east")
    assert (line.restorable, line.point) == (True, "e8-chk-2")


async def test_what_the_mirror_was_restarted_for_is_written_for_the_standby_only(scene: Scene):
    revival = Revival(at=scene.now, problem="task 0: org.x.Fenced", running_at=scene.now)
    scene.mirror.health = LinkHealth(link="east-to-west", down="task 1: no", revivals=(revival,))
    await scene.keeper().cycle()
    store = PointStore(scene.control, "tidegate")
    east, west = [(await store.read("ledger", region)).points for region in ("east", "west")]
    assert east is not None
    assert west is not None
    assert (east.mirror, west.mirror) == (None, scene.mirror.health)


async def test_x5_a_mirror_that_is_behind_pushes_the_last_good_point_out_of_the_index_by_no_number_of_others(
    scene: Scene,
):
    keeper = scene.keeper()
    await keeper.cycle()
    for _ in range(2):
        await scene.checkpoint(0, 1)
        await keeper.cycle()
    await scene.all_mirrored()
    await keeper.cycle()
    assert (await _line(scene, "west")).point == "e7-chk-2"
    for _ in range(2 * KEPT):  # the mirror brings no output for so long as so many are shipped
        await scene.checkpoint(0, 1)
        scene.now += timedelta(seconds=2)
        await keeper.cycle()
    line = await _line(scene, "west")
    assert (line.restorable, line.point, line.points) == (True, "e7-chk-2", 1)
    keeper = scene.keeper()  # a new process has only what is written down
    await scene.checkpoint(0, 1)
    await keeper.cycle()
    assert (await _line(scene, "west")).point == "e7-chk-2"
    stored = (await PointStore(scene.control, "tidegate").read("ledger", "west")).points
    assert stored is not None
    assert len(stored.points) == KEPT + 1
    await scene.all_mirrored()
    for _ in range(2):
        await keeper.cycle()
    stored = (await PointStore(scene.control, "tidegate").read("ledger", "west")).points
    assert stored is not None
    assert len(stored.points) == KEPT, "it is needed no more"
    assert (await _line(scene, "west")).point != "e7-chk-2"
