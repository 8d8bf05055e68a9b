"""The fork while it runs: has it caught up, is its state whole, is it healthy; and does the live one need the room?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, TypeVar

from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.errors import (
    BasisChanged,
    MustHalt,
    NoProgress,
    OperationFailed,
    ProofFailed,
    StartRejected,
    TidegateError,
    Unavailable,
)
from tidegate.model.drill import GIVES_WAY, DrillCaughtUp, DrillWatched, DrillWatchStep
from tidegate.model.record import utc_now
from tidegate.model.steps import ProveInput
from tidegate.operation.forks import was_cancelled
from tidegate.operation.prove import first_line, prove
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.registry.records import RecordStore
from tidegate.snapshot.checkpoints import newest_verified
from tidegate.snapshot.diff import Change, diff
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.metadata import Metadata
from tidegate.snapshot.sinks import COMMITTER_STATE, WRITER_STATE

T = TypeVar("T")
LIVE_EVERY_S: Final = 2.0
LOOK_EVERY_S: Final = 0.5
PROVE_N: Final = 3


class GivesWay:
    """The live deployment is left alone, and goes first: when an operation takes it, its standby may be needed."""

    def __init__(self, records: RecordStore, deployment: str, job_id: str, fork: Run | None = None) -> None:
        self._records = records
        self._deployment = deployment
        self._job_id = job_id
        self._fork = fork
        """None: nothing of it runs yet."""

    async def look(self) -> None:
        """Raises BasisChanged when the drill must end; Unavailable if the control bucket does not answer."""
        stored = await self._records.read(self._deployment)
        record = stored.record if stored is not None else None
        holder = record.holder if record is not None else None
        if holder is not None:
            raise BasisChanged(
                f"{self._deployment} was taken by {holder.operation} ({holder.runbook}): the drill gives way to it",
                hint="start the drill again when that has ended",
                details={GIVES_WAY: True},
            )
        if record is None or record.writer is None or record.writer.job_id != self._job_id:
            raise BasisChanged(
                f"{self._deployment} runs as another job than when the drill began", hint="start the drill again"
            )

    async def beside(self, step: Awaitable[T]) -> T:
        """Carry out a step, and look all the while; it is given up when the drill must end."""
        task = asyncio.ensure_future(step)
        try:
            while True:
                await asyncio.wait({task}, timeout=LIVE_EVERY_S)
                if task.done():
                    break
                try:
                    await self.look()
                except Unavailable:
                    continue  # whoever takes it needs the bucket as well
        finally:
            task.cancel()
        try:
            return task.result()
        except (OperationFailed, MustHalt) as error:
            await self._explain(error)
            raise

    async def _explain(self, error: TidegateError) -> None:
        """Raises BasisChanged if it failed because its slots were taken from it: that says nothing of a recovery."""
        try:
            await self.look()
            # While it came up: its own cancel, of what is left of such a start, comes behind the error.
            ended = error.details.get("job_state") if isinstance(error, StartRejected) else None
            taken = self._fork is not None and (ended == JobState.CANCELED.value or await was_cancelled(self._fork))
        except Unavailable:
            return  # the error stands as it is
        if taken:
            raise BasisChanged(
                f"somebody has cancelled the fork's job; an operation that needs slots there does so, and the drill "
                f"gives way to it ({error.message})",
                hint="start the drill again when that has ended:  tidegate ops list --running",
                details={GIVES_WAY: True},
            )


async def catch_up(run: Run, step: DrillWatchStep, live: GivesWay) -> DrillCaughtUp:
    """Wait until the fork has processed all input that stands there now, and has kept it in a whole checkpoint.

    Raises:
        ProofFailed: it ended or restarted too often; or state of the recovery point is not in its checkpoint.
        NoProgress: it did not catch up in time.
        BasisChanged: the live deployment goes first.
        Superseded, SnapshotError, Unavailable.

    """
    began = utc_now()
    site = run.site
    deadline = Deadline(f"the fork {site.deployment} to catch up", step.seconds, poll_s=LOOK_EVERY_S, poll_max_s=2.0)
    wanted = await patiently(deadline, run, lambda: site.kafka.last_stable_offsets(site.input_topics))
    await live.beside(_until(run, step, deadline, lambda: _left(run, wanted)))
    checkpoint = ""
    operators = 0

    async def kept() -> str:
        nonlocal checkpoint, operators
        newest = await newest_verified(site.snapshots, site.checkpoints, step.fork_job)
        if newest is None:
            return "no checkpoint is complete"
        before = (await read_snapshot(site.snapshots, step.copy_location)).metadata
        lost = dropped(before, newest.verified.snapshot.metadata)
        if lost:
            raise ProofFailed(
                f"the restore dropped state: {'; '.join(lost)}",
                details={"checkpoint": str(newest.ref.location), "copy": step.copy_location},
            )
        checkpoint, operators = str(newest.ref.location), len(before.operators)
        return ""

    await live.beside(_until(run, step, deadline, kept))
    first = await patiently(deadline, run, lambda: first_output_at(site.kafka, site.output_topics))
    return DrillCaughtUp(
        took_s=(utc_now() - began).total_seconds(), first_output_at=first, checkpoint=checkpoint, operators=operators
    )


async def _until(run: Run, step: DrillWatchStep, deadline: Deadline, left: Callable[[], Awaitable[str]]) -> None:
    """Wait until nothing is left, watching the job."""
    while True:
        await patiently(deadline, run, run.tenure.read)
        view = await patiently(deadline, run, lambda: run.site.driver.observe(step.fork_job))
        limit = run.site.spec.prove.max_restarts
        if view.state is None or view.state.terminal or view.restarts > limit:
            state = view.state.value if view.state is not None else "not known to Flink any more"
            raise ProofFailed(
                f"the fork is {state} after {view.restarts} restarts (limit {limit}). {first_line(view.first_error)}",
                details={"first_error": view.first_error or ""},
            )
        said = await patiently(deadline, run, left)
        if not said:
            return
        run.say(phase="catch up", waiting_for=said)
        if deadline.left_s <= 0:
            raise NoProgress(f"{deadline.what} took longer than {deadline.seconds:,.0f} s: {said}")
        await deadline.pause(said)


async def _left(run: Run, wanted: dict[TopicPartition, int]) -> str:
    """What of the input is not processed; empty: nothing."""
    site = run.site
    left = 0
    for source in site.spec.sources:
        at = await site.kafka.group_offsets(source.group)
        for tp, end in wanted.items():
            if tp.topic not in source.topics or at.get(tp, 0) >= end:
                continue
            if tp not in at:
                return "the fork has not noted its positions"
            # Markers take offsets at the end of a log: only records count.
            left += (await site.kafka.committed_data_count(tp, at[tp], end)).count
    return f"{left:,} input records" if left else ""


def dropped(before: Metadata, after: Metadata) -> list[str]:
    """State that is in the first snapshot and not in the second, an item each. A sink's own is left out: it is dropped.

    An operator without any state has nothing to lose.
    """
    found: list[str] = []
    for one in diff(before, after).operators:
        was, now = one.before, one.after
        if was is None:
            continue
        states = {
            name: count
            for name, count in was.list_states.items()
            if count and name not in {COMMITTER_STATE, WRITER_STATE}
        }
        if one.change is Change.REMOVED or now is None:
            if was.keyed_bytes or states:
                found.append(f"operator {one.label} with {was.bytes:,} bytes is gone")
            continue
        if was.keyed_bytes and not now.keyed_bytes:
            found.append(f"the keyed state of {one.label} ({was.keyed_bytes:,} bytes) is gone")
        found += [f"state {name} of {one.label} is gone" for name in states if not now.list_states.get(name)]
    return found


async def first_output_at(kafka: KafkaClient, topics: Collection[str]) -> datetime | None:
    """When the first committed record of these topics was appended, by the broker's clock; None: there is none."""
    first: int | None = None
    for tp, end in (await kafka.last_stable_offsets(topics)).items():
        async with aclosing(kafka.records(tp, 0, end)) as records:  # type: ignore[type-var]
            async for record in records:
                first = record.timestamp_ms if first is None else min(first, record.timestamp_ms)
                break
    return None if first is None else datetime.fromtimestamp(first / 1000, UTC)


async def watch(run: Run, step: DrillWatchStep, live: GivesWay) -> DrillWatched:
    """Prove the fork for a while, as a job of its own. Raises as ``prove``, and BasisChanged."""
    wanted = ProveInput(
        held=step.held,
        fleet_digest=step.fleet_digest,
        at=step.at,
        n=PROVE_N,
        job_id=step.fork_job,
        bake_s=step.seconds,
    )
    proven = await live.beside(prove(run, wanted))
    return DrillWatched(
        watched_s=proven.watched_s,
        checkpoints=proven.checkpoints,
        restarts=proven.restarts,
        under_traffic=proven.under_traffic,
    )
