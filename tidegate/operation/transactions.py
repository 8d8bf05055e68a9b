"""A deployment's transactions for a person: what there is, what X15 decides of each, and doing it under the record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from tidegate import names
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import OpenTransaction, TopicPartition, TransactionState, TxnState
from tidegate.errors import InvalidInput, NoProgress, Refused
from tidegate.model.record import DeploymentRecord, IntentState, SettleIntent, Writer
from tidegate.model.steps import EVERY_EPOCH, EnsureInput, Held, RestoreFrom
from tidegate.operation.appraise import find_snapshots
from tidegate.operation.ensure_stopped import ensure_stopped
from tidegate.operation.outputs import transactional_roots
from tidegate.operation.price import name_of
from tidegate.operation.resolve import close, replace_intent
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.operation.settle import SETTLE_TIMEOUT_S, Settled, end_the_rest
from tidegate.operation.site import Site
from tidegate.registry.records import RecordStore
from tidegate.snapshot.sinks import Committable, committables
from tidegate.snapshot.word import Word, word_on


class Decision(StrEnum):
    """What is done with a transaction (X15)."""

    COMMIT = "commit"
    """The snapshot that the deployment goes on from counts its output as written."""
    END = "end"
    """It is later than that snapshot, or of an epoch before: its input is read again."""
    LEAVE = "leave"
    """It is of the job that runs."""
    NOTHING = "nothing"
    """It has ended, or is ending."""


@dataclass(frozen=True)
class SeenTransaction:
    """A transaction under the deployment's prefixes, and what is decided of it."""

    status: TransactionState
    epoch: int
    holds: tuple[tuple[TopicPartition, int], ...]
    """Where it keeps readers back: partition, and the last stable offset that it holds there."""
    listed_by: tuple[str, ...]
    """Snapshots that count its output as written."""
    decision: Decision

    @property
    def started(self) -> datetime | None:
        """When it began; None unless it is under way."""
        ms = self.status.started_ms
        return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


@dataclass(frozen=True)
class Outlook:
    """All transactions of a deployment, and what settling would do."""

    transactions: tuple[SeenTransaction, ...]
    record: DeploymentRecord
    job_state: JobState | None
    snapshot: str
    """The snapshot that it goes on from by itself; empty: none."""

    @property
    def job_lives(self) -> bool:
        """Whether Flink says that the job has not ended."""
        return self.job_state is not None and not self.job_state.terminal

    @property
    def to_do(self) -> tuple[SeenTransaction, ...]:
        """Those that settling would commit or end."""
        return tuple(one for one in self.transactions if one.decision in {Decision.COMMIT, Decision.END})


async def look(site: Site, records: RecordStore) -> Outlook:
    """Every transaction under the deployment's prefixes, of all epochs. Reads only.

    Raises:
        Unavailable: Kafka, Flink, S3 or the control bucket did not answer.

    """
    stored = await records.read(site.deployment)
    record = stored.record if stored else DeploymentRecord(deployment=site.deployment)
    job_state = await site.driver.state(record.writer.job_id) if record.writer else None
    lives = job_state is not None and not job_state.terminal
    states: list[TransactionState] = []
    for root in transactional_roots(site):
        states += await site.kafka.list_transactions(root)
    holding = await site.kafka.open_transactions(site.output_topics)
    listed: dict[str, list[str]] = {}
    chosen, snapshot = dict[str, Committable](), ""
    for found in await find_snapshots(site, record):
        if found.verified is None or found.problem:
            continue
        own = await committables(site.snapshots, found.verified.snapshot)
        if found.by_itself and not snapshot:
            snapshot, chosen = found.location, {one.transactional_id: one for one in own}
        for one in own:
            listed.setdefault(one.transactional_id, []).append(name_of(found.location, found.epoch))
    live_epoch = record.writer.epoch if record.writer and lives else None
    return Outlook(
        transactions=tuple(
            SeenTransaction(
                status=status,
                epoch=names.epoch_of_transactional_id(status.transactional_id) or 0,
                holds=_held_by(status, holding),
                listed_by=tuple(listed.get(status.transactional_id, ())),
                decision=decide(status, chosen.get(status.transactional_id), live_epoch, record.epoch),
            )
            for status in sorted(states, key=lambda one: one.transactional_id)
        ),
        record=record,
        job_state=job_state,
        snapshot=snapshot,
    )


def decide(status: TransactionState, listed: Committable | None, live_epoch: int | None, last_epoch: int) -> Decision:
    """X15 for one transaction. ``listed``: as the snapshot that the deployment goes on from has it, if it does."""
    epoch = names.epoch_of_transactional_id(status.transactional_id)
    if status.state is not TxnState.ONGOING:
        return Decision.NOTHING
    if epoch is None or epoch > last_epoch or (live_epoch is not None and epoch >= live_epoch):
        return Decision.LEAVE
    if live_epoch is None and listed is not None and word_on(status, listed) is Word.ONGOING:
        return Decision.COMMIT
    return Decision.END


def _held_by(status: TransactionState, holding: list[OpenTransaction]) -> tuple[tuple[TopicPartition, int], ...]:
    return tuple(sorted((one.tp, one.start_offset) for one in holding if one.producer_id == status.producer_id))


async def settle_by_hand(run: Run, held: Held) -> None:
    """Do what `look` has decided, decided anew under the record. A job that runs is not touched.

    A job that has ended is settled for the snapshot that it goes on from. One that Flink does not know is shut out
    first: it may come back (X14).

    Raises:
        InvalidInput: the deployment has never run.
        NoProgress, Unavailable, MustHalt: as `settle`; call again.
        Superseded: another operation has the deployment.

    """
    record = await run.tenure.read()
    writer = record.writer
    if writer is None:
        raise InvalidInput(f"{record.deployment} has never run: it has no transactions")
    deadline = Deadline(f"Flink's word on job {writer.job_id}", SETTLE_TIMEOUT_S)
    state = await patiently(deadline, run, lambda: run.site.driver.state(writer.job_id))
    if state is not None and not state.terminal:
        if record.open_intents():
            raise Refused(
                f"an operation before this one has begun and not finished, and the job of {record.deployment} runs",
                hint=f"finish it:  tidegate restore {record.deployment}",
            )
        await _end_earlier(run, record, writer)
        return
    request = EnsureInput(
        held=held,
        fleet_digest="",
        n=run.n,
        artifact=writer.artifact,
        parallelism=writer.parallelism,
        restore=RestoreFrom(until_epoch=EVERY_EPOCH),
    )
    await ensure_stopped(run, request)


async def _end_earlier(run: Run, record: DeploymentRecord, writer: Writer) -> None:
    """End what epochs before the running job's have left open; nothing starts from their snapshots any more."""
    intent = SettleIntent(
        id=run.id(record, "settle"), step="settle", n=run.n, epoch=writer.epoch - 1, snapshot=None, by_name=True
    )
    await run.tenure.change("settle", run.n, lambda current: current.with_intents(intent))
    deadline = Deadline("ending the transactions of dead epochs", SETTLE_TIMEOUT_S)
    await end_the_rest(run, deadline, writer.epoch - 1, set(), Settled())
    await close(run, replace_intent(intent, IntentState.DONE, "settled; the job that runs was not touched"))


async def wait_for_readers(run: Run, outlook: Outlook) -> dict[TopicPartition, tuple[int, int]]:
    """The proof: readers of committed output are kept back by nothing, or only by the job that runs.

    Gives (last stable offset, end) of each output partition. Raises NoProgress naming who still holds one back.
    """
    kafka, topics = run.site.kafka, run.site.output_topics
    deadline = Deadline("last stable offset = end", SETTLE_TIMEOUT_S)
    live = outlook.record.writer.epoch if outlook.record.writer and outlook.job_lives else None
    while True:
        ends = await patiently(deadline, run, lambda: kafka.end_offsets(topics))
        stable = await patiently(deadline, run, lambda: kafka.last_stable_offsets(topics))
        blocked = {tp: (stable[tp], end) for tp, end in ends.items() if stable[tp] < end}
        if not blocked:
            return {tp: (stable[tp], end) for tp, end in ends.items()}
        producers = {}
        for root in transactional_roots(run.site):
            for status in await patiently(deadline, run, partial(kafka.list_transactions, root)):
                producers[status.producer_id] = status.transactional_id
        holding = await patiently(deadline, run, lambda: kafka.open_transactions(topics))
        others = [
            one
            for one in holding
            if names.epoch_of_transactional_id(producers.get(one.producer_id, "")) != live or live is None
        ]
        if not others:
            return {tp: (stable[tp], end) for tp, end in ends.items()}
        first = others[0]
        seen = f"{first.tp} is held at {first.start_offset:,} by {producers.get(first.producer_id, 'a stranger')}"
        if deadline.left_s <= 0:
            raise NoProgress(f"readers are still kept back: {seen}", details={"open": len(others)})
        await deadline.pause(seen)
