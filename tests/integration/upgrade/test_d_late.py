"""D: a call is kept on its way, another operation takes over and finishes, then the call is delivered (O10, I5).

The loser ends superseded and does nothing more; one job runs, 0/0/0.
"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from sandbox.proxy import HttpMatch
from tests.integration.upgrade.conftest import NOTES
from tests.kit import faults, late
from tests.kit.stage import Operation, Scene, ended_well, summary
from tidegate.model.operation import Outcome

pytestmark = pytest.mark.matrix

CAUGHT_S = 240.0
TAKE_OVER = {"why": "its call is lost on the way"}


async def finish_over(scene: Scene, to: str) -> Operation:
    """Another operation takes the deployment over and finishes."""
    winner = await scene.upgrade(to, take_over=TAKE_OVER, bake_s=2.0)
    result = await winner.finish()
    NOTES.append(f"  the winner: {summary(result)}")
    ended_well(result)
    return winner


async def lost(scene: Scene, loser: Operation, name: str, allowed: tuple[Outcome, ...] = (Outcome.SUPERSEDED,)) -> None:
    """The loser ends, has changed nothing more, and everything holds."""
    before = await scene.record()
    result = await loser.finish(resume=0)
    NOTES.append(f"{name}: the loser: {summary(result)}")
    assert result.outcome in allowed, summary(result)
    assert await scene.record() == before, "who lost the fence writes nothing"
    await scene.check()


@dataclass(frozen=True)
class FlinkCall:
    name: str
    match: HttpMatch
    to: str = "v2"
    winner: str = "v1"


FLINK_CALLS = [
    FlinkCall("stop", late.STOP),
    FlinkCall("upload", late.UPLOAD),
    FlinkCall("run", late.RUN),
    FlinkCall("cancel", late.CANCEL, to="v2-stuck"),
]


@pytest.mark.parametrize("call", FLINK_CALLS, ids=lambda call: f"flink-{call.name}")
async def test_flink_call_comes_late(scene: Scene, call: FlinkCall):
    if call.match is late.UPLOAD:
        await late.forget_jars(scene)
    async with late.detours(scene) as detours:
        held = detours.flink.hold(call.match, times=None)
        loser = await scene.upgrade(call.to, fleet_digest=detours.flink_digest)
        await held.caught(CAUGHT_S)
        await finish_over(scene, call.winner)
        jobs = await scene.live_jobs()
        more = detours.flink.hold(late.ANY_ACT, times=None)
        held.release()
        answer = await held.delivered(60.0)
        await lost(scene, loser, f"flink-{call.name}, answered {answer}")
        assert await scene.live_jobs() == jobs
        more.release()
        silent = [f"{request.method} {request.target}" for request in more.requests]
        assert not silent, f"the loser acted on after it had lost: {silent}"


@dataclass(frozen=True)
class RecordWrite:
    """``body``: of the record as it is written; ``{id}`` is the loser's operation, ``{fence}`` its fence."""

    name: str
    body: str
    winner: str = "v1"
    allowed: tuple[Outcome, ...] = (Outcome.SUPERSEDED,)


BY_LOSER = r'"operation": "{id}".*'
RECORD_WRITES = [
    # Nobody has taken it yet when the winner comes, so the loser is refused rather than superseded.
    RecordWrite(
        "take",
        BY_LOSER + r'"intents": \[\]',
        winner="v2",
        allowed=(Outcome.SUPERSEDED, Outcome.REFUSED, Outcome.UNDONE),
    ),
    RecordWrite("intents", BY_LOSER + r'"state": "open".*"kind": "stop"'),
    RecordWrite("close-stop", BY_LOSER + r'"state": "done".*"kind": "stop".*"state": "open".*"kind": "start"'),
    RecordWrite("close-start", BY_LOSER + r'"kind": "stop".*"state": "done".*"kind": "start"'),
    RecordWrite("release", r'"fence": {fence},.*"holder": null'),
]


@pytest.mark.parametrize("write", RECORD_WRITES, ids=lambda write: f"record-{write.name}")
async def test_record_write_comes_late(scene: Scene, write: RecordWrite):
    fence = (await scene.record()).fence + 1
    async with late.detours(scene) as detours, late.workers_through(scene, detours.control):
        loser_id = scene.new_id()
        body = write.body.replace("{id}", re.escape(loser_id)).replace("{fence}", str(fence))
        held = detours.control.hold(late.record_write(body), times=None)
        loser = await scene.upgrade("v2", loser_id, bake_s=2.0)
        await held.caught(CAUGHT_S)
        await finish_over(scene, write.winner)
        held.release()
        answer = await held.delivered(60.0)
        assert answer == 412, f"the late write was answered with {answer}"
        await lost(scene, loser, f"record-{write.name}", write.allowed)


async def test_an_end_of_a_transaction_comes_late(scene: Scene):
    async with late.detours(scene) as detours:
        first = await scene.upgrade("v2", bake_s=600.0)
        await faults.BAKE.wait(scene, first)
        held = detours.kafka.hold(late.ENDS_TRANSACTION, times=None)
        loser = await scene.upgrade("v1", take_over=TAKE_OVER, fleet_digest=detours.kafka_digest)
        await held.caught(CAUGHT_S)
        await finish_over(scene, "v1")
        held.release()
        await held.delivered(60.0)
        await lost(scene, loser, "kafka-end-txn")
        assert (await first.finish(resume=0)).outcome is Outcome.SUPERSEDED


async def test_a_deny_comes_late(scene: Scene):
    async with AsyncExitStack() as stack:
        detours = await stack.enter_async_context(late.detours(scene))
        submit = detours.flink.hold(late.RUN, times=None)
        first = await scene.upgrade("v2", fleet_digest=detours.flink_digest)
        await submit.caught(CAUGHT_S)
        held = detours.kafka.hold(late.DENIES, times=None)
        loser = await scene.upgrade("v1", take_over=TAKE_OVER, fleet_digest=detours.kafka_digest)
        await held.caught(CAUGHT_S)
        await finish_over(scene, "v1")
        held.release()
        await held.delivered(60.0)
        submit.release()
        await submit.delivered(60.0)
        await lost(scene, loser, "kafka-create-acls")
        assert (await first.finish(resume=0)).outcome is Outcome.SUPERSEDED
        await scene.check()
