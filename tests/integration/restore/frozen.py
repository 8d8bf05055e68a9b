"""A job that stands still between checkpoint N and its commit, for as long as it takes its transaction to time out.

The job reaches Kafka through a fault proxy that keeps the requests by which it would commit (EndTxn), of all subtasks
or of one; then every part of Flink is stopped in its tracks (SIGSTOP).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox.layout import HOST
from sandbox.proxy import FaultProxy, KafkaMatch
from tests.integration.restore.crash import CHECKPOINTS, checkpointed, flink_parts, restore, transactions_of, unaudited
from tests.kit.late import END_TXN
from tests.kit.stage import Scene, summary
from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.model.operation import Outcome
from tidegate.snapshot.checkpoints import completed_checkpoints
from tidegate.snapshot.sinks import Committable

TIMES_OUT_MS = 25_000
"""Short for a test; a checkpoint and its commit come every second."""
NEVER_MS = 600_000
_CAUGHT_S = 120.0


@dataclass(frozen=True)
class Frozen:
    """Checkpoint N of a job that stands still: ``held`` were kept from being committed, ``committed`` were not."""

    name: str
    """As ``tidegate snapshot list`` calls it."""
    location: str
    number: int
    held: tuple[Committable, ...]
    committed: tuple[Committable, ...]

    @property
    def older(self) -> str:
        """The checkpoint before it."""
        return f"{self.name.removesuffix(str(self.number))}{self.number - 1}"

    @property
    def own(self) -> tuple[Committable, ...]:
        """All that the checkpoint counts as written."""
        return (*self.held, *self.committed)


@asynccontextmanager
async def frozen(scene: Scene, subtasks: Collection[int], times_out_ms: int) -> AsyncIterator[Frozen]:
    """Stand still between checkpoint N and the commit of these subtasks; the others of N have committed. Leaves all of
    Flink paused within, and dead and up again, empty, after.
    """
    region = scene.sandbox.layout.region("east")
    advertised = region.kafka_proxied_advertised
    async with FaultProxy(HOST, region.kafka_proxied, "kafka", port=advertised) as proxy:

        def through_the_proxy(text: str) -> str:
            text = text.replace(f":{region.kafka}", f":{advertised}")
            return unaudited(text).replace(
                "    transaction_timeout_ms: 600000", f"    transaction_timeout_ms: {times_out_ms}"
            )

        async with scene.other_fleet(through_the_proxy) as digest:
            pass
        begun = await (await restore(scene, fleet_digest=digest, bake_s=1.0)).result()
        assert begun.outcome is Outcome.DONE, summary(begun)
        await checkpointed(scene)
        for subtask in sorted(subtasks):  # ids end in -<subtask>-<checkpoint>, and a prefix ends in a dot
            proxy.hold(KafkaMatch(END_TXN, f".-{subtask}-".encode()), times=None)
        found = await _between(scene, subtasks)
        for part in flink_parts(scene):
            scene.sandbox.pause(part)
        try:
            yield found
        finally:
            for part in flink_parts(scene):
                scene.sandbox.kill(part)
            await scene.sandbox.wait_ready("east", 180.0)


async def _between(scene: Scene, subtasks: Collection[int]) -> Frozen:
    """The checkpoint whose commit is kept back: its transactions are open on these subtasks, and on no other."""
    record = await scene.record()
    assert record.writer is not None
    job_id = record.writer.job_id
    found: list[Frozen] = []

    async def stands() -> bool:
        newest = (await completed_checkpoints(scene.snapshots, CHECKPOINTS, job_id))[0]
        location = str(newest.location)
        own = await transactions_of(scene, location)
        states = await states_of(scene, own)
        held = tuple(one for one in own if one.subtask in subtasks)
        rest = tuple(one for one in own if one.subtask not in subtasks)
        is_held = {states[one.transactional_id].state for one in held} == {TxnState.ONGOING}
        is_committed = all(states[one.transactional_id].state is TxnState.COMPLETE_COMMIT for one in rest)
        if {one.subtask for one in held} == set(subtasks) and is_held and is_committed:
            name = f"e{record.epoch}-chk-{newest.id}"
            found[:] = [Frozen(name, location, newest.id, held, rest)]
        return bool(found)

    await scene.until(stands, "a checkpoint whose commit is kept back", _CAUGHT_S)
    return found[0]


async def states_of(scene: Scene, own: Collection[Committable]) -> dict[str, TransactionState]:
    """The broker's word on each."""
    return await scene.kafka.describe_transactions([one.transactional_id for one in own])


async def timed_out(scene: Scene, own: Collection[Committable]) -> None:
    """The broker has given up on these transactions, by itself."""

    async def gone() -> bool:
        states = await states_of(scene, own)
        return all(found.state is TxnState.COMPLETE_ABORT for found in states.values())

    await scene.until(gone, "the transactions to time out", TIMES_OUT_MS / 1000 + 30.0)
