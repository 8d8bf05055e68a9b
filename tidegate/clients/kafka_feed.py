"""Writing records into a topic, each to the partition that it stood in before: what never crossed is fed so (X23).

Whoever feeds a topic has the same transactional id: to begin is to fence who fed it before, who may be an attempt of
the same step that nobody waits for any more. What such a one had begun is *committed* before, not aborted: each record
of it counts by itself, and a reader that does not wait for commits has had it already.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tidegate.clients.kafka_types import EndOutcome, KafkaClient, KafkaSecurity, LogRecord, TransactionState, TxnState
from tidegate.errors import NoProgress, Refused, TidegateError, Unavailable

FEED_S: Final = 45.0
"""So long one transaction may take; what is not through by then is left to the next attempt, which commits it."""
COMMIT_S: Final = 5.0
TIMEOUT_S: Final = 60.0
"""After so long the broker aborts what was left open. Until then it holds back who reads committed records only."""
TAKE_OVER_S: Final = 60.0
POLL_S: Final = 0.05
_FENCED_HERE: Final = -144
_PURGED: Final = -152
"""librdkafka's own codes, which the client gives no public names: it was fenced; records went with its queue."""
_FENCED: Final = {_FENCED_HERE, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}
_REFUSED: Final = {
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}

Answered: TypeAlias = Callable[[KafkaError | None, Message], None]


class Feed(Protocol):
    """What is open for writing."""

    async def write(self, topic: str, partition: int, records: Sequence[LogRecord]) -> None:
        """Write them in their order, with their own times, in one transaction; returns when it is committed.

        Raises:
            Unavailable: it may or may not have been; open anew, and look what stands there.
            Refused: Kafka does not let Tidegate write it.

        """


@asynccontextmanager
async def open_feed(
    bootstrap: str, security: KafkaSecurity | None, kafka: KafkaClient, transactional_id: str
) -> AsyncIterator[Feed]:
    """Fence who fed under this id before; what is committed when this is open is all that they will ever have written.

    ``kafka`` is the same cluster's. Raises Unavailable, NoProgress, Refused.
    """
    await finish_before(kafka, transactional_id)
    feed = _Transactions(await asyncio.to_thread(_begun, bootstrap, security, transactional_id), transactional_id)
    try:
        yield feed
    finally:
        await asyncio.to_thread(feed.close)  # it may wait for brokers


async def finish_before(kafka: KafkaClient, transactional_id: str) -> None:
    """Commit what was begun under this id and not ended; done again, nothing is open.

    Raises Unavailable, NoProgress.
    """
    until = time.monotonic() + TAKE_OVER_S
    while True:
        known: TransactionState = (await kafka.describe_transactions([transactional_id]))[transactional_id]
        if known.state is TxnState.ONGOING:
            ended = await kafka.end_transaction(transactional_id, known.producer_id, known.producer_epoch, commit=True)
            if ended in {EndOutcome.ENDED, EndOutcome.ALREADY, EndOutcome.REFUSED_OTHER_END}:
                continue
        elif known.state not in {TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT}:
            return
        if time.monotonic() > until:
            raise NoProgress(f"transaction {transactional_id} did not end within {TAKE_OVER_S:g} s: {known.state}")
        await asyncio.sleep(POLL_S)


class _Transactions:
    def __init__(self, producer: Producer, transactional_id: str) -> None:
        self._producer: Producer | None = producer
        self._id = transactional_id

    def close(self) -> None:
        """Let the producer go: what is open stays open, for the next attempt to commit."""
        self._producer = None

    async def write(self, topic: str, partition: int, records: Sequence[LogRecord]) -> None:
        if self._producer is None:
            raise RuntimeError(f"{self._id}: the feed is closed")
        if records:
            await asyncio.to_thread(_written, self._producer, self._id, topic, partition, records)


def _begun(bootstrap: str, security: KafkaSecurity | None, transactional_id: str) -> Producer:
    producer = Producer(_settings(bootstrap, security, transactional_id), logger=logging.getLogger(__name__))
    try:
        producer.init_transactions(FEED_S)
    except KafkaException as error:
        raise _problem(error.args[0], f"transactional id {transactional_id}", transactional_id) from error
    return producer


def _written(
    producer: Producer, transactional_id: str, topic: str, partition: int, records: Sequence[LogRecord]
) -> None:
    failed: list[KafkaError] = []

    def answered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    what = f"{topic}/{partition}"
    until = time.monotonic() + FEED_S
    try:
        producer.begin_transaction()
        for record in records:
            _produced(producer, topic, partition, record, answered, until)
        # Nothing is aborted where this fails: see above.
        left = producer.flush(max(0.1, until - time.monotonic()))
        if failed and failed[0].code() == _PURGED:
            producer.commit_transaction(COMMIT_S)  # cannot, and says why: the records only say that they were dropped
        if failed:
            raise _problem(failed[0], what, transactional_id)
        if left:
            raise Unavailable(f"{what}: {left:,} records were not acknowledged within {FEED_S:g} s")
        producer.commit_transaction(max(COMMIT_S, until - time.monotonic()))
    except (KafkaException, SystemError) as error:
        # A fatal error is raised by whatever call polls; with records in hand their callbacks run after it all the
        # same, and CPython makes a SystemError of that, with the client's error as its cause.
        said = error if isinstance(error, KafkaException) else error.__cause__
        if not isinstance(said, KafkaException):
            raise
        raise _problem(said.args[0], what, transactional_id) from error


def _produced(
    producer: Producer, topic: str, partition: int, record: LogRecord, answered: Answered, until: float
) -> None:
    """Hand one over; while the producer's queue is full, wait for it to get shorter."""
    while True:
        try:
            producer.produce(
                topic,
                value=record.value,
                key=record.key,
                partition=partition,
                headers=list(record.headers),
                on_delivery=answered,
                timestamp=max(0, record.timestamp_ms),  # a record without a time has -1, and 0 means now
            )
        except BufferError as error:
            if time.monotonic() > until:
                raise Unavailable(f"{topic}/{partition}: the producer's queue did not get shorter") from error
            producer.poll(POLL_S)
        else:
            producer.poll(0)
            return


def _problem(error: KafkaError, what: str, transactional_id: str) -> TidegateError:
    if error.code() in _FENCED:
        return Unavailable(
            f"{what}: another attempt feeds it now ({transactional_id}); what it writes is not written again"
        )
    if error.code() in _REFUSED:
        return Refused(
            f"{what}: Kafka does not let Tidegate feed it: {error.str()}",
            hint=f"allow its principal Write on the topic and on the transactional id {transactional_id}",
        )
    return Unavailable(f"{what}: not all could be written: {error.str()}")


def _unheard(_error: KafkaError) -> None:
    """What goes wrong is raised by the call that it concerns."""


def _settings(bootstrap: str, security: KafkaSecurity | None, transactional_id: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": int(TIMEOUT_S * 1000),
        "enable.idempotence": True,
        "acks": "all",
        "log_level": 2,
        "error_cb": _unheard,
        "linger.ms": 5,
        "delivery.timeout.ms": int(FEED_S * 1000),
    }
    if security is not None:
        settings |= {
            "security.protocol": security.protocol,
            "sasl.mechanism": security.mechanism,
            "sasl.username": security.username,
            "sasl.password": security.password,
        }
    return settings
