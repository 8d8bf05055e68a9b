"""Committed records out of a fetch's bytes: what a read_committed consumer would get, and nothing else."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from tidegate.clients import kafka_fetch, kafka_records
from tidegate.clients.kafka_fetch import Fetched
from tidegate.clients.kafka_records import Page, parse, read
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.errors import Refused

BUILDER = import_module("kafka.record.default_records").DefaultRecordBatchBuilder
CONTROL = 0x20
ATTRIBUTES_AT, CRC_AT, BODY_AT = 21, 17, 21


@dataclass
class Row:
    producer_id: int
    first_offset: int


def batch(base: int, values: list[bytes], producer: int = -1, *, marker: int | None = None) -> bytes:
    """A batch as a broker stores it; ``marker``: a control batch, 1 commit, 0 abort."""
    transactional = producer >= 0
    builder = BUILDER(2, 0, transactional, producer, 0, 0, 1 << 16)
    for number, value in enumerate(values):
        key = b"k" if marker is None else struct.pack(">hh", 0, marker)
        builder.append(number, 1_000 + number, key, value, [("h", value)])
    raw = bytearray(builder.build())
    raw[0:8] = struct.pack(">q", base)
    if marker is not None:
        (attributes,) = struct.unpack_from(">h", raw, ATTRIBUTES_AT)
        raw[ATTRIBUTES_AT : ATTRIBUTES_AT + 2] = struct.pack(">h", attributes | CONTROL)
        crc = import_module("kafka.record.util").calc_crc32c(bytes(raw[BODY_AT:]))
        raw[CRC_AT : CRC_AT + 4] = struct.pack(">I", crc)
    return bytes(raw)


def values(data: bytes, aborted: list[Row], at: int = 0) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in parse(data, aborted, at).records]


def test_records_come_whole():
    page = parse(batch(7, [b"a", b"b"]), [], 0)
    (first, second) = page.records
    assert (first.offset, first.timestamp_ms, first.key, first.value, first.headers) == (
        7,
        1_000,
        b"k",
        b"a",
        (("h", b"a"),),
    )
    assert (second.offset, page.next_offset) == (8, 9)


def test_aborted_ones_and_markers_are_left_out_and_take_offsets():
    data = (
        batch(0, [b"a0", b"a1"], 1) + batch(2, [b"b0"], 2) + batch(3, [b"a2"], 1)
        + batch(4, [b""], 1, marker=0) + batch(5, [b""], 2, marker=1)
        + batch(6, [b"a3"], 1) + batch(7, [b""], 1, marker=1)
    )  # fmt: skip
    page = parse(data, [Row(1, 0)], 0)

    assert [(record.offset, record.value) for record in page.records] == [(2, b"b0"), (6, b"a3")]
    assert page.next_offset == 8


def test_a_fetch_in_the_middle_of_an_aborted_transaction_leaves_its_rest_out():
    data = batch(3, [b"x0", b"x1", b"x2"], 1) + batch(6, [b""], 1, marker=0) + batch(7, [b"plain"])
    assert values(data, [Row(1, 0)], at=4) == [(7, b"plain")]


def test_a_fetch_in_the_middle_of_a_batch_begins_there():
    assert values(batch(3, [b"a", b"b", b"c"]), [], at=4) == [(4, b"b"), (5, b"c")]


def test_a_batch_that_was_cut_off_is_left_for_the_next_fetch():
    data = batch(0, [b"a"]) + batch(1, [b"b"])[:-3]
    page = parse(data, [], 0)
    assert ([record.value for record in page.records], page.next_offset) == ([b"a"], 1)
    assert parse(b"", [], 5).next_offset is None


def test_a_codec_that_is_not_read_is_refused_by_name():
    raw = bytearray(batch(0, [b"a"]))
    raw[ATTRIBUTES_AT : ATTRIBUTES_AT + 2] = struct.pack(">h", 4)
    with pytest.raises(Refused, match="compressed"):
        parse(bytes(raw), [], 0)


class OneBroker:
    """A wire that asks once."""

    async def until(self, what: str, call: Any) -> Any:
        assert what
        return await call()


async def leader(_: TopicPartition) -> int:
    return 0


async def test_a_long_page_lets_others_have_their_turn_between_its_records(monkeypatch: pytest.MonkeyPatch):
    records = [LogRecord(number, 0, None, b"x", ()) for number in range(5_000)]

    async def fetched(*_: object) -> Page:
        return Page(records, None)

    turns = 0

    async def beats() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(kafka_records, "fetch", fetched)
    beating = asyncio.create_task(beats())
    got = [record async for record in read(OneBroker(), TopicPartition("t", 0), leader, 0, 5_000)]  # type: ignore[arg-type]
    beating.cancel()
    assert got == records
    assert turns >= 5_000 // 500


async def test_the_bytes_of_a_fetch_are_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    beaten = threading.Event()

    def slow(data: bytes, aborted: Iterable[Any], at: int) -> Page:
        assert beaten.wait(10.0), "nothing else ran while the bytes were read"
        return parse(data, aborted, at)

    async def fetched(*_: object, **__: object) -> Fetched:
        return Fetched(batch(0, [b"a"]), 1, 1, ())

    monkeypatch.setattr(kafka_records, "parse", slow)
    monkeypatch.setattr(kafka_fetch, "fetch", fetched)
    asyncio.get_running_loop().call_later(0.01, beaten.set)
    got = [record.value async for record in read(OneBroker(), TopicPartition("t", 0), leader, 0, 1)]  # type: ignore[arg-type]
    assert got == [b"a"]
