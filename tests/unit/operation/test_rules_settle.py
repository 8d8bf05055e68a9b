"""Settling, and the record, by the numbers of the rules, in the simulated region."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.trouble import on, until, upgraded
from tests.kit.world import Died, Op, World, world
from tests.kit.world_gate import Call, Fault
from tidegate import names
from tidegate.clients.kafka_types import TxnState
from tidegate.clients.s3 import S3Uri
from tidegate.errors import (
    MustHalt,
    Refused,
    Superseded,
)
from tidegate.model.record import StartIntent

# ---------------------------------------------------------------- settling (X3, X15)


def _dead_with_open_transactions(w: World) -> Op:
    """The job is lost; its newest checkpoint is complete and nobody told the sinks."""
    w.start("v1")
    w.checkpoint()
    w.jobs.withheld = 1
    w.checkpoint()
    w.checkpoint_every = 0
    w.jobs.work_of(w.live()[0], 2)
    w.lose_jobmanager()
    w.jobs.lingering = []
    return w.op()


def _listed(w: World) -> list[str]:
    """The open transactions of the newest checkpoint, and those after it."""
    return sorted(name for name, txn in w.kafka._txns.items() if txn.state is TxnState.ONGOING)


def test_x3_ongoing_of_the_snapshot_is_committed_and_all_later_is_ended():
    with world() as w:
        op = _dead_with_open_transactions(w)
        before = _listed(w)
        fact = w.go("on", lambda: op.ensure("v1"))
        assert (fact.settled_committed, fact.settled_ended) == (2, 2)
        assert len(before) == 4
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_x3_prepare_commit_is_waited_for():
    with world() as w:
        op = _dead_with_open_transactions(w)
        w.kafka.hold_markers = True
        calls = 0

        def release(call: Call) -> Fault:
            nonlocal calls
            calls += "describe" in call.name
            if calls == 4:
                w.kafka.release_markers()
            return Fault.NONE

        w.gate.fault = release
        w.go("on", lambda: op.ensure("v1"))
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


@pytest.mark.parametrize("fate", ["aborted", "another producer", "forgotten"])
def test_x3_outputs_of_the_snapshot_that_cannot_be_had_any_more_are_not_lost_in_silence(fate: str):
    with world() as w:
        op = _dead_with_open_transactions(w)
        name = _listed(w)[0]
        if fate == "aborted":
            w.kafka._end(w.kafka._txns[name], commit=False)
        elif fate == "another producer":
            w.kafka._txns[name].producer_id += 1
        else:
            w.kafka.forget(name)
        with pytest.raises(MustHalt, match=name):
            w.go("on", lambda: op.ensure("v1"))
        assert w.live() == []


def test_x3_a_transaction_that_was_committed_and_forgotten_is_dropped_from_the_copy():
    with world() as w:
        op = upgraded(w, "v2")
        snapshot = w.record.pinned
        w.checkpoint_every = 0
        for name in [n for n in w.kafka._txns if names.epoch_of_transactional_id(n) == snapshot.epoch]:
            w.kafka.forget(name)
        fact = w.go("undo", lambda: op.ensure("v1"))
        assert fact.start.snapshot != snapshot.location
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_a_settling_never_touches_a_newer_epoch():
    """A slow attempt settles for epoch 1 while epoch 2, started by its twin, has transactions open."""
    with world() as w:
        op = _dead_with_open_transactions(w)
        w.gate.pause = lambda call: 50.0 if call.actor == "slow" and "list_transactions" in call.name else None

        async def main() -> None:
            slow = asyncio.ensure_future(w.as_actor("slow", lambda: op.ensure("v1")))
            await until(lambda: any("list_transactions" in call.name for call in w.gate.of("slow")))
            await asyncio.ensure_future(w.as_actor("twin", lambda: op.ensure("v1")))
            w.checkpoint()
            w.jobs.work_of(w.live()[0], 2)
            mine = _listed(w)
            assert mine
            ended: list[str] = []
            w.gate.fault = lambda call: ended.append(call.name) or Fault.NONE if call.actor == "slow" else Fault.NONE
            await asyncio.wait({slow})
            slow.exception()
            assert not any("end_transaction" in name for name in ended), ended
            assert _listed(w) == mine

        w.loop.run_until_complete(main())
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


@pytest.mark.parametrize("frozen_at", range(16))
def test_o16_an_attempt_that_freezes_before_it_settles_ends_nothing_of_what_its_twin_has_started(frozen_at: int):
    """Wherever it stood: it reads the record once more, and by then the newest epoch is that of its twin's job."""
    with world() as w:
        op = _dead_with_open_transactions(w)
        w.gate.pause = lambda call: 50.0 if call.actor == "slow" and len(w.gate.of("slow")) == frozen_at + 1 else None

        async def main() -> None:
            slow = asyncio.ensure_future(w.as_actor("slow", lambda: op.ensure("v1")))
            await until(lambda: len(w.gate.of("slow")) > frozen_at)
            await asyncio.ensure_future(w.as_actor("twin", lambda: op.ensure("v1")))
            w.checkpoint()
            w.jobs.work_of(w.live()[0], 2)
            mine, job = _listed(w), w.live()
            assert mine
            await asyncio.wait({slow})
            slow.exception()
            assert w.live() == job
            assert _listed(w) == mine

        w.loop.run_until_complete(main())
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


def test_h_a_checkpoint_that_lands_after_the_settling_is_not_chosen():
    with world() as w:
        op = _dead_with_open_transactions(w)
        job_id = w.record.writer.job_id
        newest = max(
            (uri for uri in w.store.objects if f"/{job_id}/chk-" in uri.key), key=lambda u: int(u.parent.name[4:])
        )
        late = w.store.objects.pop(newest)
        w.gate.fault = on("create s3://tidegate/manifests", Fault.DIE_BEFORE, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.ensure("v1"))
        w.store.objects[S3Uri.parse(newest)] = late
        w.go("again", lambda: op.ensure("v1"))
        w.go("release", op.release)
        w.assert_sound(artifact="v1")


# ---------------------------------------------------------------- the record (O3, O7, O9)


def test_o9_release_is_refused_while_an_intent_is_open():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = on("/stop", Fault.DIE_BEFORE, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        with pytest.raises(Refused, match="stop of epoch 1, start of epoch 2"):
            w.go("release", op.release)


def test_o8_who_lost_the_fence_does_nothing_more():
    with world() as w:
        w.start("v1")
        op = w.op()
        taker = w.op(take_over=True)
        for step in (lambda: op.switch("v2"), lambda: op.ensure("v2"), op.release):
            with pytest.raises(Superseded):
                w.go("old", step)
        assert not [call for call in w.gate.of("old") if call.mutating]
        w.go("release", taker.release)
        w.assert_sound(artifact="v1")


def test_o7_every_attempt_names_the_same_thing():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.gate.fault = on("/run", Fault.DIE_AFTER, actor="victim")
        with pytest.raises(Died):
            w.go("victim", lambda: op.switch("v2"))
        begun = [i for i in w.record.intents if isinstance(i, StartIntent)]
        fact = w.go("again", lambda: op.switch("v2"))
        assert [fact.start.job_id] == [i.job_id for i in begun]
        assert len(w.net.sent("/run$")) == 2
        w.go("release", op.release)
        w.assert_sound(artifact="v2")


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_ANSWER, Fault.DOUBLE])
def test_o3_i4_every_call_may_be_lost_or_doubled(fault: Fault):
    """Each changing call of an upgrade in turn, and no process dies: it is done in the end, once."""
    with world() as w:
        w.start("v1")
        op = w.op()
        w.go("dry", lambda: op.switch("v2"))
        count = len(w.gate.of("dry"))
    for k in range(count):
        with world() as w:
            w.start("v1")
            op = w.op()
            w.gate.fault = lambda call, k=k: fault if call.actor == "it" and call.n == k else Fault.NONE
            w.go("it", lambda op=op: op.switch("v2"))
            w.go("release", op.release)
            w.assert_sound(artifact="v2")
