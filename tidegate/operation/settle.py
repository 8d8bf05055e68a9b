"""Settle transactions when a job is dead and its Kafka answers (X3, X14, X15).

What the chosen snapshot lists is committed; every other transaction of the dead epochs is ended; then the proof: on
every output partition the last stable offset is the end. Only then may a job start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from tidegate import names
from tidegate.clients.kafka_types import EndOutcome, TopicPartition, TransactionState, TxnState
from tidegate.errors import MustHalt, NoProgress
from tidegate.model.record import DeploymentRecord, IntentState, SettleIntent, utc_now
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.files import verify
from tidegate.snapshot.sinks import Committable, committables
from tidegate.snapshot.word import Word, word_on

SETTLE_TIMEOUT_S = 60.0


@dataclass
class Settled:
    """What was found and done, by transactional id."""

    committed: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    """Committed once, and no longer known to the broker: Flink's committer would try them for ever (X3)."""
    ends: dict[str, int] = field(default_factory=dict)
    """``topic/partition`` to the end of committed output, after settling."""


async def settle(
    run: Run,
    record: DeploymentRecord,
    intent: SettleIntent,
    *,
    known_committed: bool,
    dropped: frozenset[str] = frozenset(),
) -> Settled:
    """Settle for ``intent.snapshot``; done twice, or by two attempts at once, it ends in the same place.

    Every transaction of an epoch up to ``intent.epoch`` is dead when this is called; later ones are never touched, so a
    late attempt cannot reach the job that was started after it.

    ``known_committed``: Flink itself said that the snapshot's transactions are committed (X2). The broker, which
    forgets, has then no vote; what it has forgotten is listed.

    ``dropped``: transactional ids of the snapshot that are not to be committed: the output log says that they were, or
    their loss was accepted by name. They are listed as forgotten: the start uses a copy without them (X3).

    Raises:
        MustHalt: an output of the snapshot's last interval was aborted: starting from it would lose records (X3).
        NoProgress: the last stable offset did not reach the end; the message names what holds it back.
        Unavailable: Kafka or S3 did not answer within the bound.

    """
    deadline = Deadline("settling the transactions", SETTLE_TIMEOUT_S)
    result = Settled()
    own: list[Committable] = []
    if intent.snapshot is not None:
        snapshot = intent.snapshot
        verified = await patiently(deadline, run, lambda: verify(run.site.snapshots, snapshot))
        own = await patiently(deadline, run, lambda: committables(run.site.snapshots, verified.snapshot))
    mine = {committable.transactional_id for committable in own}
    if own and known_committed:
        states = await patiently(deadline, run, lambda: run.site.kafka.describe_transactions(sorted(mine)))
        result.seen = {transactional_id: states[transactional_id].state.value for transactional_id in sorted(mine)}
        result.forgotten = sorted(
            mine - {name for name, state in states.items() if state.state is not TxnState.UNKNOWN}
        )
    elif own:
        result.forgotten = sorted(mine & dropped)
        await _commit(run, deadline, [one for one in own if one.transactional_id not in dropped], result)
    await end_the_rest(run, deadline, intent.epoch, mine, result)
    run.say(phase="settle", waiting_for="last stable offset = end")
    ends = await run.site.kafka.wait_stable(
        run.site.output_topics, deadline_s=max(deadline.left_s, 1.0), heartbeat=lambda seen: run.say(**seen)
    )
    result.ends = as_positions(ends)
    await run.history.append(
        record,
        f"settled-{intent.id}",
        json.dumps(
            {
                "at": utc_now().isoformat(),
                "snapshot": intent.snapshot,
                "epoch": intent.epoch,
                "committed": result.committed,
                "ended": result.ended,
                "forgotten": result.forgotten,
                "seen": result.seen,
                "ends": result.ends,
            },
            indent=1,
        ).encode(),
    )
    return result


async def settle_after_stop(
    run: Run, record: DeploymentRecord, epoch: int, location: str, *, known_committed: bool = False
) -> DeploymentRecord:
    """Settle for a stop's savepoint, and write down that it is committed now (X2).

    ``known_committed``: as for ``settle``; False: the stop was not seen to commit.
    """
    intent = SettleIntent(
        id=run.id(record, f"settle-stop-{epoch}"), step="settle", n=run.n, epoch=epoch, snapshot=location
    )
    record = await run.tenure.change("settle", run.n, lambda current: current.with_intents(intent))
    await settle(run, record, intent, known_committed=known_committed)

    def settled(current: DeploymentRecord) -> DeploymentRecord:
        pinned = current.pinned
        if pinned is not None and pinned.location == location:
            pinned = pinned.model_copy(update={"committed": True})
        done = intent.model_copy(update={"state": IntentState.DONE, "note": "settled"})
        return current.closing(done).model_copy(update={"pinned": pinned})

    return await run.tenure.change("settled", run.n, settled)


def as_positions(offsets: Mapping[TopicPartition, int]) -> dict[str, int]:
    """Offsets by ``topic/partition``, sorted: the form that records and reports keep."""
    return {f"{at.topic}/{at.partition}": offset for at, offset in sorted(offsets.items())}


async def _commit(run: Run, deadline: Deadline, own: list[Committable], result: Settled) -> None:
    by_id = {committable.transactional_id: committable for committable in own}
    while True:
        states = await patiently(deadline, run, lambda: run.site.kafka.describe_transactions(sorted(by_id)))
        waiting: list[str] = []
        for transactional_id, committable in by_id.items():
            status = states[transactional_id]
            result.seen[transactional_id] = status.state.value
            match word_on(status, committable):
                case Word.COMMITTED:
                    continue
                case Word.ONGOING:
                    await _end(run, deadline, committable, commit=True)
                    result.committed.append(transactional_id)
                    waiting.append(transactional_id)
                case Word.COMMITTING:
                    waiting.append(transactional_id)
                case _:
                    raise _lost(committable, status)
        if not waiting:
            return
        await deadline.pause(f"{len(waiting)} transactions are being committed: {waiting[0]}")


def _lost(committable: Committable, status: TransactionState) -> MustHalt:
    return MustHalt(
        f"the outputs of transaction {committable.transactional_id} (checkpoint {committable.checkpoint_id}, subtask "
        f"{committable.subtask}) cannot be committed any more: Kafka says {status.state.value}, producer "
        f"{status.producer_id} epoch {status.producer_epoch}; the snapshot has producer {committable.producer_id} "
        f"epoch {committable.producer_epoch}. A start from this snapshot would lose them",
        details={"transactional_id": committable.transactional_id, "state": status.state.value},
    )


async def _end(run: Run, deadline: Deadline, committable: Committable, *, commit: bool) -> None:
    outcome = await patiently(
        deadline,
        run,
        lambda: run.site.kafka.end_transaction(
            committable.transactional_id, committable.producer_id, committable.producer_epoch, commit=commit
        ),
    )
    # NOTHING_OPEN and ALREADY: somebody was quicker; the next look says which way it ended.
    if outcome in {EndOutcome.REFUSED_OTHER_END, EndOutcome.REFUSED_OTHER_PRODUCER, EndOutcome.UNKNOWN_ID}:
        raise MustHalt(
            f"transaction {committable.transactional_id} was ended by another hand meanwhile ({outcome.value}): its "
            f"outputs are lost if the job starts from this snapshot",
            details={"transactional_id": committable.transactional_id, "outcome": outcome.value},
        )


async def end_the_rest(run: Run, deadline: Deadline, epoch: int, mine: set[str], result: Settled) -> None:
    """End every open transaction of epochs up to this one that is not in ``mine``; wait until all have ended (X15)."""
    kafka = run.site.kafka
    # Up to the sink's uid: every epoch. Which of them are dead is read from the id itself (X13).
    roots = [f"tg.{run.site.deployment}.{sink.uid}." for sink in run.site.spec.sinks]
    while True:
        busy: list[str] = []
        for root in roots:
            for status in await patiently(deadline, run, partial(kafka.list_transactions, root)):
                of_epoch = names.epoch_of_transactional_id(status.transactional_id)
                if of_epoch is None or of_epoch > epoch or status.transactional_id in mine:
                    continue
                if status.state is TxnState.ONGOING:
                    await patiently(
                        deadline,
                        run,
                        partial(
                            kafka.end_transaction,
                            status.transactional_id,
                            status.producer_id,
                            status.producer_epoch,
                            commit=False,
                        ),
                    )
                    result.ended.append(status.transactional_id)
                    busy.append(status.transactional_id)
                elif status.state in {TxnState.PREPARE_ABORT, TxnState.PREPARE_COMMIT}:
                    busy.append(status.transactional_id)
        if not busy:
            return
        if deadline.left_s <= 0:
            raise NoProgress(f"{len(busy)} transactions of dead epochs did not end: {', '.join(busy[:5])}")
        await deadline.pause(f"{len(busy)} transactions of dead epochs are being ended")
