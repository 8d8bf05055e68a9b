"""A small stand-in for the reference job, without Flink: reads payments, writes balances in transactions."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ledger.audit_kafka import KafkaLog


def make_topic(bootstrap: str, properties: dict[str, str], topic: str, partitions: int = 4) -> None:
    """An output topic as the reference job's is: stamped by the broker."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **properties})
    new = NewTopic(
        topic, num_partitions=partitions, replication_factor=1, config={"message.timestamp.type": "LogAppendTime"}
    )
    admin.create_topics([new])[topic].result(20)


def right_outputs(bootstrap: str, properties: dict[str, str], topic: str) -> list[tuple[bytes, bytes]]:
    """(account, value) of every payment now in the topic, in order per account."""
    log = KafkaLog(bootstrap, topic, properties)
    totals: dict[bytes, int] = {}
    outputs = []
    try:
        for batch in log.read({p: b.stable for p, b in log.bounds().items()}):
            for record in batch:
                _, account, _, amount = record[4].split(b",")
                totals[account] = totals.get(account, 0) + int(amount)
                outputs.append((account, b"%b,%d,1" % (record[4], totals[account])))
    finally:
        log.close()
    return outputs


class Sink:
    """A transactional writer: each `write` is one transaction, ended by `commit`, `abort` or not at all."""

    def __init__(self, bootstrap: str, properties: dict[str, str], topic: str, transactional_id: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                **properties,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 60_000,
                "linger.ms": 5,
            }
        )
        self._producer.init_transactions(30)

    def write(self, outputs: Iterable[tuple[bytes, bytes]], partitions: int = 4) -> None:
        self._producer.begin_transaction()
        for account, value in outputs:
            partition = zlib.crc32(value.split(b",", 1)[0]) % partitions
            self._producer.produce(self._topic, key=account, value=value, partition=partition)
        assert self._producer.flush(30) == 0

    def commit(self) -> None:
        self._producer.commit_transaction(30)

    def abort(self) -> None:
        self._producer.abort_transaction(30)
