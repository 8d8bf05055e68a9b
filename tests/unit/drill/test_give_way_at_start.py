"""A drill whose job is cancelled while it comes up, by whoever needs its slots, gives way: it has not failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.kit.world import DEPLOYMENT, World, world
from tests.kit.world_gate import Call, Fault
from tests.unit.drill.drill_world import Drill
from tidegate.drill.watch import GivesWay
from tidegate.errors import BasisChanged, StartRejected
from tidegate.model.drill import GIVES_WAY
from tidegate.model.steps import StartFact


def _begun(w: World, *, cancelled: bool) -> Callable[[], Awaitable[StartFact]]:
    """The start of a drill's fork; somebody cancels its job as soon as it is there, or it fails by itself."""
    drill = Drill.made(w)
    w.go("take", drill.take)
    live = w.record.writer
    assert live is not None

    async def start() -> StartFact:
        copied = await drill.copy()
        return await GivesWay(w.records, DEPLOYMENT, live.job_id, drill.run()).beside(drill.start(copied.location))

    def meanwhile(_: Call) -> Fault:
        for job in [one for one in w.flink.jobs.values() if one.live and one.id != live.job_id]:
            if cancelled:
                w.flink.cancel(job.id)
            else:
                w.flink._end(job, job.state.__class__.FAILED)
        return Fault.NONE

    w.gate.fault = meanwhile
    return start


def test_a_drill_that_is_cancelled_while_it_comes_up_gives_way():
    with world() as w, pytest.raises(BasisChanged, match="gives way") as told:
        w.go("drill", _begun(w, cancelled=True))
    assert told.value.details == {GIVES_WAY: True}


def test_a_drill_that_fails_while_it_comes_up_has_failed():
    with world() as w, pytest.raises(StartRejected, match="is FAILED before all of its tasks ran"):
        w.go("drill", _begun(w, cancelled=False))
