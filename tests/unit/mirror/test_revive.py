"""A task that died is restarted by the keeper, where the link shall run and nobody else is at it (X17, O4, I6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.kit.mirror_world import MirrorWorld, holder
from tidegate.errors import Held, Unavailable
from tidegate.mirror import control
from tidegate.mirror.control import fresh_record, start, stop
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.revive import PAUSES_S, LinkRevival
from tidegate.model.mirror import LinkRecord, LinkState
from tidegate.model.record import RecordState
from tidegate.registry.links import take_link

NAME = "tidegate-east-to-west"
PROBLEM = "task 0: org.x.ConnectException: no — org.x.Fenced: other epoch"


class Clock:
    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Scene:
    """A link that runs and is held by nobody; its task dies when it is told to."""

    def __init__(self, world: MirrorWorld) -> None:
        self.world, self.clock, self.link = world, Clock(), world.link()

    async def begin(self) -> None:
        tenure = await self.world.take(self.link)
        await start(self.link, tenure)
        await tenure.release()

    @property
    def connector(self):
        return self.world.connect["west"].connectors[NAME]

    @property
    def restarts(self) -> int:
        return sum(call.endswith("/restart") for call in self.world.connect["west"].calls)

    def keeper(self, link: MirrorLink | None = None) -> LinkRevival:
        return LinkRevival(link or self.link, self.world.links, "ledger", now=self.clock)

    async def record(self) -> LinkRecord:
        record = await self.world.links.read(self.link.name)
        assert record is not None
        return record


@pytest.fixture
async def scene() -> Scene:
    made = Scene(await MirrorWorld.made())
    await made.begin()
    return made


async def test_x17_a_task_that_died_is_restarted_and_told_with_its_trace(scene):
    keeper = scene.keeper()
    assert (await keeper.look()).revivals == ()
    scene.connector.task = "FAILED"

    health = await keeper.look()

    assert scene.connector.task == "RUNNING"
    assert (health.link, health.down) == ("east-to-west", None)
    (told,) = health.revivals
    assert (told.problem, told.at, told.running_at) == (PROBLEM, scene.clock.at, scene.clock.at)
    record = await scene.record()
    assert (record.holder, record.state, record.intents) == (None, RecordState.IDLE, ())
    assert (record.mirror, record.revivals) == (LinkState.RUNNING, (told,))


async def test_nothing_is_taken_or_written_while_all_runs(scene):
    before = await scene.record()
    await scene.keeper().look()
    assert await scene.record() == before


@pytest.mark.parametrize("state", [LinkState.STOPPED, LinkState.SHUT_OUT, LinkState.NEVER])
async def test_x17_what_shall_not_run_is_never_restarted(scene, state):
    tenure = await scene.world.take(scene.link, "b")
    denied = "mirror" if state is LinkState.SHUT_OUT else None
    await tenure.change("x", 1, lambda known: known.model_copy(update={"mirror": state, "denied": denied}))
    before = await tenure.release()
    scene.connector.task = "FAILED"

    health = await scene.keeper().look()

    assert (scene.connector.task, scene.restarts) == ("FAILED", 0)
    assert PROBLEM in (health.down or "")
    assert str(state) in (health.down or "")
    assert await scene.record() == before


@pytest.mark.parametrize("runbook", ["FailoverDeployment", "by hand"])
async def test_o4_a_link_that_somebody_holds_is_left_to_him(scene, runbook):
    await scene.world.take(scene.link, "somebody", runbook)
    scene.connector.task = "FAILED"

    health = await scene.keeper().look()

    assert scene.restarts == 0
    assert "held by somebody" in (health.down or "")
    record = await scene.record()
    assert record.holder is not None
    assert (record.holder.operation, record.revivals) == ("somebody", ())


async def test_o4_one_who_takes_it_between_the_look_and_the_take_keeps_it(scene, monkeypatch):
    keeper = scene.keeper()
    scene.connector.task = "FAILED"
    read = type(scene.world.links).read

    async def read_then_taken(self, link):
        record = await read(self, link)
        await scene.world.take(scene.link, "mirror-stop-by-hand")
        return record

    monkeypatch.setattr(type(scene.world.links), "read", read_then_taken)
    assert "held by mirror-stop-by-hand" in ((await keeper.look()).down or "")
    assert scene.restarts == 0


async def test_o4_an_operation_takes_the_link_from_a_keeper_that_restarts(scene, monkeypatch):
    scene.connector.task = "FAILED"
    taken = []

    async def taken_over(link, tenure, **_):
        failover = await take_link(scene.world.links, fresh_record(link), holder("f", "FailoverDeployment"))
        taken.append(await stop(link, failover))
        return await restart(link, tenure)

    restart = control.restart
    monkeypatch.setattr(control, "restart", taken_over)

    health = await scene.keeper().look()

    assert taken
    assert "no longer holds" in (health.down or "")
    record = await scene.record()
    assert record.holder is not None
    assert (record.holder.operation, record.mirror) == ("f", LinkState.STOPPED)
    assert (scene.connector.target, scene.restarts) == ("STOPPED", 0)


async def test_x17_a_restart_that_comes_late_does_not_bring_a_stopped_link_back(scene):
    scene.connector.task = "FAILED"
    await stop(scene.link, await scene.world.take(scene.link, "f", "FailoverDeployment"))
    await scene.link.connect.restart(NAME, only_failed=True)
    status = await scene.link.connect.status(NAME)
    assert status is not None
    assert status.stopped


async def test_i6_it_is_restarted_so_often_in_an_hour_and_no_more(scene):
    keeper = scene.keeper()
    for number, pause_s in enumerate(PAUSES_S):
        scene.connector.task = "FAILED"
        if pause_s:
            scene.clock.later(pause_s - 1)
            assert "again in 1 s" in ((await keeper.look()).down or "")
            scene.clock.later(1)
        assert (await keeper.look()).down is None
        assert scene.restarts == number + 1

    scene.connector.task = "FAILED"
    scene.clock.later(900)
    health = await scene.keeper().look()  # in another process: the record counts
    assert scene.restarts == len(PAUSES_S)
    assert f"restarted {len(PAUSES_S)} times in the last hour" in (health.down or "")
    assert "tidegate mirror start east-to-west" in (health.down or "")
    scene.clock.later(3_600)
    assert (await keeper.look()).down is None


async def test_i6_one_that_fails_again_is_told_and_the_link_given_back(scene, monkeypatch):
    monkeypatch.setattr(control, "RESTART_SHOWN_S", 0.05)
    scene.connector.task, scene.connector.failed = "FAILED", 99

    health = await scene.keeper().look()

    assert "failed 4 times" in (health.down or "")
    (told,) = health.revivals
    assert told.running_at is None
    assert "Fenced: other epoch" in told.note
    record = await scene.record()
    assert (record.holder, record.intents, record.mirror) == (None, (), LinkState.RUNNING)


async def test_i4_a_keeper_that_died_at_it_is_followed_by_the_next_that_gives_the_link_back(scene, monkeypatch):
    scene.connector.task = "FAILED"

    class Died(BaseException):
        pass

    async def dies(link, tenure, **_):
        await restart(link, tenure, step="revive", n=99)
        raise Died

    restart = control.restart
    monkeypatch.setattr(control, "restart", dies)
    with pytest.raises(Died):
        await scene.keeper().look()
    assert (await scene.record()).holder is not None

    monkeypatch.setattr(control, "restart", restart)
    health = await scene.keeper().look()
    assert (health.down, len(health.revivals)) == (None, 1)
    assert health.revivals[0].running_at is not None
    assert (await scene.record()).holder is None


async def test_i4_two_keepers_of_one_link_restart_it_once(scene, monkeypatch):
    scene.connector.task = "FAILED"
    other = scene.keeper()
    healths = []

    async def doubled(link, tenure, **kw):
        monkeypatch.setattr(control, "restart", restart)
        healths.append(await other.look())
        return await restart(link, tenure, **kw)

    restart = control.restart
    monkeypatch.setattr(control, "restart", doubled)
    assert (await scene.keeper().look()).down is None
    assert "again in 10 s" in (healths[0].down or "")
    assert scene.restarts == 1
    assert len((await scene.record()).revivals) == 1


async def test_a_connect_that_is_away_is_told_and_what_was_is_kept(scene):
    keeper = scene.keeper()
    scene.connector.task = "FAILED"
    await keeper.look()
    scene.world.connect["west"].down = True
    health = await keeper.look()
    assert "did not answer" in (health.down or "")
    assert len(health.revivals) == 1


async def test_a_control_bucket_that_is_away_is_no_end_of_the_watch(scene, monkeypatch):
    async def away(*_):
        raise Unavailable("no control bucket")

    monkeypatch.setattr(type(scene.world.links), "read", away)
    assert "no control bucket" in ((await scene.keeper().look()).down or "")


async def test_a_connector_that_somebody_paused_is_not_run(scene):
    scene.connector.task, scene.connector.target = "FAILED", "PAUSED"
    await scene.keeper().look()
    assert scene.restarts == 0


async def test_only_free_refuses_a_link_that_a_person_holds(scene):
    await scene.world.take(scene.link, "a")
    with pytest.raises(Held):
        await take_link(scene.world.links, fresh_record(scene.link), holder("b"), only_free=True)
