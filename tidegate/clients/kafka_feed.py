"""Writing records into a topic, each to the partition that it stood in before: what never crossed is fed so (X23)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tidegate.clients.kafka_types import KafkaSecurity, LogRecord
from tidegate.errors import Unavailable

FLUSH_S: Final = 60.0


async def feed(
    bootstrap: str, security: KafkaSecurity | None, topic: str, partition: int, records: Sequence[LogRecord]
) -> None:
    """Write them in their order with an idempotent producer; returns when all are acknowledged by all replicas.

    Raises Unavailable if one was not: what of them was written is found by their headers, and not written again.
    """
    await asyncio.to_thread(_feed, bootstrap, security, topic, partition, records)


def _feed(
    bootstrap: str, security: KafkaSecurity | None, topic: str, partition: int, records: Sequence[LogRecord]
) -> None:
    failed: list[str] = []

    def answered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error.str())

    producer = Producer(_settings(bootstrap, security))
    try:
        for record in records:
            producer.produce(
                topic,
                value=record.value,
                key=record.key,
                partition=partition,
                headers=list(record.headers),
                on_delivery=answered,
            )
            producer.poll(0)
        left = producer.flush(FLUSH_S)
    except (KafkaException, BufferError) as error:
        raise Unavailable(f"{topic}/{partition}: not all could be written: {error}") from error
    if failed or left:
        raise Unavailable(f"{topic}/{partition}: {left + len(failed)} records were not written: {failed[:1]}")


def _settings(bootstrap: str, security: KafkaSecurity | None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "log_level": 2,
        "linger.ms": 5,
        "delivery.timeout.ms": int(FLUSH_S * 1000),
    }
    if security is not None:
        settings |= {
            "security.protocol": security.protocol,
            "sasl.mechanism": security.mechanism,
            "sasl.username": security.username,
            "sasl.password": security.password,
        }
    return settings
