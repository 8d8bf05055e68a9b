"""What every KafkaClient must do. A subclass gives ``kafka``, ``writers`` (transactional producers) and ``name``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

import pytest

from tests.kit.kafka_fake_logs import Denied, Fenced
from tidegate.clients.kafka_types import (
    Batch,
    ControlType,
    EndOutcome,
    GroupState,
    KafkaClient,
    KafkaSecurity,
    TopicPartition,
    TransactionState,
    TxnState,
)
from tidegate.errors import InvalidInput, NoProgress, Refused

LEDGER = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "ledger", "ledger-pw")


class Writer(Protocol):
    async def begin(self) -> None: ...
    async def write(self, topic: str, partition: int, values: Collection[object]) -> None: ...
    async def commit(self) -> None: ...
    async def abort(self) -> None: ...


Writers = Callable[[str], Awaitable[Writer]]
"""A transactional producer of principal ``ledger``, initialised."""


Join = Callable[[str, str], Awaitable[Callable[[], Awaitable[None]]]]
"""A consumer joins a group (first) to read a topic; what it gives makes it leave."""


Allow = Callable[[str], Awaitable[None]]
"""Gives a topic a rule that allows everyone all of it, or sees to it that it has none."""


class KafkaContract:
    ledger = LEDGER

    @pytest.fixture
    async def topic(self, kafka: KafkaClient, name: str) -> str:
        await kafka.create_topic(name, 2, {"message.timestamp.type": "LogAppendTime"})
        return name

    async def _open(self, kafka: KafkaClient, writers: Writers, topic: str, name: str, n: int = 3):
        writer = await writers(name)
        await writer.begin()
        await writer.write(topic, 0, ["x"] * n)
        return writer, (await kafka.describe_transactions([name]))[name]

    async def _end(self, kafka: KafkaClient, state: TransactionState, *, commit: bool, epoch: int = 0, pid: int = 0):
        return await kafka.end_transaction(
            state.transactional_id, state.producer_id + pid, state.producer_epoch + epoch, commit=commit
        )

    async def test_a_topic_that_was_removed_is_gone_also_when_it_is_removed_again(self, kafka: KafkaClient, topic: str):
        await kafka.remove_topic(topic)
        assert topic not in await kafka.topics()
        await kafka.remove_topic(topic)
        assert await kafka.describe_topics([topic]) == {}

    async def test_a_group_that_nobody_knows_is_removed(self, kafka: KafkaClient, name: str):
        await kafka.remove_group(f"{name}-nobody")
        assert await kafka.group_offsets(f"{name}-nobody") == {}

    async def test_the_shape_of_cluster_and_topics_with_defaults(self, kafka: KafkaClient, name: str):
        await kafka.create_topic(name, 2, {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"})
        shape = await kafka.shape([name, f"{name}-not-there"])
        assert shape.brokers >= 1
        assert int(shape.settings["transaction.max.timeout.ms"]) >= 1000
        topic = shape.topics[name]
        assert list(shape.topics) == [name]
        assert (topic.partitions, topic.replicas >= 1) == (2, True)
        assert topic.settings["message.timestamp.type"] == "LogAppendTime"
        assert topic.settings["retention.ms"] == "3600000"
        assert int(topic.settings["min.insync.replicas"]) >= 1
        assert "retention.bytes" in topic.settings

    async def test_offsets_by_time(self, kafka: KafkaClient, topic: str, writers: Writers, name: str):
        writer, _ = await self._open(kafka, writers, topic, name)
        await writer.commit()
        tp, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
        (batch, *_) = await kafka.batch_headers(tp, 0, 3)
        end = (await kafka.end_offsets([topic]))[tp]
        assert await kafka.offsets_at([topic], batch.max_timestamp_ms) == {tp: 0, other: 0}
        assert await kafka.offsets_at([topic], batch.max_timestamp_ms + 3_600_000) == {tp: end, other: 0}

    async def test_a_topic_is_created_once(self, kafka: KafkaClient, topic: str):
        await kafka.create_topic(topic, 2)
        assert topic in await kafka.topics()
        assert await kafka.partitions(topic) == [0, 1]
        with pytest.raises(InvalidInput, match="exists with 2 partitions; expected 3"):
            await kafka.create_topic(topic, 3)
        assert await kafka.end_offsets([topic]) == {TopicPartition(topic, 0): 0, TopicPartition(topic, 1): 0}
        for ask in (kafka.end_offsets, kafka.last_stable_offsets, kafka.open_transactions):
            with pytest.raises(InvalidInput, match=f"{topic}-not"):
                await ask([f"{topic}-not"])
        with pytest.raises(InvalidInput, match="no partition 7"):
            await kafka.batch_headers(TopicPartition(topic, 7), 0, 1)

    async def test_x7_a_topic_keeps_its_id_and_another_has_another(self, kafka: KafkaClient, topic: str):
        await kafka.create_topic(f"{topic}-2", 1)
        found = await kafka.describe_topics([topic, f"{topic}-2", f"{topic}-not"])
        assert {name: one.partitions for name, one in found.items()} == {topic: 2, f"{topic}-2": 1}
        assert found[topic].id
        assert found[topic].id != found[f"{topic}-2"].id
        await kafka.create_topic(topic, 2)
        assert await kafka.describe_topics([topic]) == {topic: found[topic]}

    async def test_x3_a_third_party_commits_once_and_again(self, kafka: KafkaClient, writers: Writers, topic: str):
        _, state = await self._open(kafka, writers, topic, f"{topic}.a")
        assert state.state is TxnState.ONGOING
        assert state.partitions == {TopicPartition(topic, 0)}
        assert state.started_ms is not None
        assert await self._end(kafka, state, commit=True) is EndOutcome.ENDED
        ends = await kafka.wait_stable([topic], 5)
        assert ends[TopicPartition(topic, 0)] == 4  # three records and the marker
        assert await self._end(kafka, state, commit=True) is EndOutcome.ALREADY
        assert await self._end(kafka, state, commit=False) is EndOutcome.REFUSED_OTHER_END
        after = (await kafka.describe_transactions([state.transactional_id]))[state.transactional_id]
        assert (after.state, after.producer_epoch) == (TxnState.COMPLETE_COMMIT, state.producer_epoch + 1)
        assert after.started_ms is None

    async def test_x3_an_abort_never_overwrites_a_commit(self, kafka: KafkaClient, writers: Writers, topic: str):
        """The broker itself would accept this abort at the id's new epoch, and show CompleteAbort from then on."""
        _, state = await self._open(kafka, writers, topic, f"{topic}.a")
        await self._end(kafka, state, commit=True)
        assert await self._end(kafka, state, commit=True) is EndOutcome.ALREADY
        assert await self._end(kafka, state, commit=False, epoch=1) is EndOutcome.REFUSED_OTHER_END
        after = (await kafka.describe_transactions([state.transactional_id]))[state.transactional_id]
        assert after.state is TxnState.COMPLETE_COMMIT

    async def test_x15_a_third_party_aborts_once_and_again(self, kafka: KafkaClient, writers: Writers, topic: str):
        writer, state = await self._open(kafka, writers, topic, f"{topic}.a")
        assert await self._end(kafka, state, commit=False) is EndOutcome.ENDED
        assert await self._end(kafka, state, commit=False) is EndOutcome.ALREADY
        assert await self._end(kafka, state, commit=True) is EndOutcome.REFUSED_OTHER_END
        await kafka.wait_stable([topic], 5)
        assert (await kafka.committed_data_count(TopicPartition(topic, 0), 0, 4)).count == 0
        with pytest.raises(Fenced):
            await writer.commit()

    async def test_x3_only_the_named_transaction_is_ended(self, kafka: KafkaClient, writers: Writers, topic: str):
        _, state = await self._open(kafka, writers, topic, f"{topic}.a")
        for commit in (True, False):
            for epoch, pid in ((1, 0), (-1, 0), (5, 0), (0, 1000)):
                outcome = await self._end(kafka, state, commit=commit, epoch=epoch, pid=pid)
                assert outcome is EndOutcome.REFUSED_OTHER_PRODUCER
            assert await kafka.end_transaction(f"{topic}.no", 1, 0, commit=commit) is EndOutcome.UNKNOWN_ID
        after = (await kafka.describe_transactions([state.transactional_id, f"{topic}.no"])).values()
        assert [one.state for one in after] == [TxnState.ONGOING, TxnState.UNKNOWN]

    async def test_x3_nothing_begun_and_taken_over(self, kafka: KafkaClient, writers: Writers, topic: str):
        await writers(f"{topic}.empty")
        empty = (await kafka.describe_transactions([f"{topic}.empty"]))[f"{topic}.empty"]
        assert empty.state is TxnState.EMPTY
        for commit in (True, False):
            assert await self._end(kafka, empty, commit=commit) is EndOutcome.NOTHING_OPEN
        _, first = await self._open(kafka, writers, topic, f"{topic}.a")
        _, second = await self._open(kafka, writers, topic, f"{topic}.a")
        assert second.producer_epoch == first.producer_epoch + 2
        for commit in (True, False):
            assert await self._end(kafka, first, commit=commit) is EndOutcome.REFUSED_OTHER_PRODUCER

    async def test_x13_a_list_holds_exactly_the_prefix(self, kafka: KafkaClient, writers: Writers, topic: str):
        for tail in ("e00000001.-0-1", "e00000001.-1-1", "e00000010.-0-1"):
            await self._open(kafka, writers, topic, f"{topic}.{tail}")
        await kafka.probe_denied(f"{topic}.e00000001.", self.ledger)
        listed = await kafka.list_transactions(f"{topic}.e00000001.")
        assert [one.transactional_id for one in listed] == [f"{topic}.e00000001.-0-1", f"{topic}.e00000001.-1-1"]
        assert {one.state for one in listed} == {TxnState.ONGOING}
        assert await kafka.list_transactions(f"{topic}.", [listed[1].producer_id]) == [listed[1]]
        assert await kafka.list_transactions(f"{topic}.", []) == []

    async def test_x4_neither_end_says_where_a_transaction_ends(self, kafka: KafkaClient, writers: Writers, topic: str):
        one, two = await writers(f"{topic}.one"), await writers(f"{topic}.two")
        for writer in (one, two):
            await writer.begin()
        for _ in range(3):
            for writer in (one, two):
                await writer.write(topic, 0, ["x"] * 4)
        states = await kafka.describe_transactions([f"{topic}.one", f"{topic}.two"])
        first, second = states[f"{topic}.one"], states[f"{topic}.two"]
        assert await self._end(kafka, first, commit=True) is EndOutcome.ENDED
        tp = TopicPartition(topic, 0)
        await self._marker_of(kafka, tp, first.producer_id)
        assert (await kafka.last_stable_offsets([topic]))[tp] == 4
        assert (await kafka.end_offsets([topic]))[tp] == 25
        batches = await kafka.batch_headers(tp, 0, 25)

        def offsets(state: TransactionState) -> list[int]:
            return [
                offset
                for b in batches
                if not b.is_control and (b.producer_id, b.producer_epoch) == (state.producer_id, state.producer_epoch)
                for offset in range(b.base_offset, b.last_offset + 1)
            ]

        assert offsets(first) == [*range(4), *range(8, 12), *range(16, 20)]
        assert offsets(second) == [*range(4, 8), *range(12, 16), *range(20, 24)]
        assert all(b.is_transactional for b in batches)
        marker = batches[-1]
        assert (marker.control_type, marker.base_offset, marker.producer_id) == (
            ControlType.COMMIT,
            24,
            first.producer_id,
        )
        assert marker.producer_epoch == first.producer_epoch + 1
        inner = await kafka.batch_headers(tp, 5, 13)
        assert inner == [b for b in batches if b.last_offset >= 5 and b.base_offset < 13]
        assert await kafka.batch_headers(tp, 25, 25) == []
        assert (await kafka.committed_data_count(tp, 0, 25)).count == 12
        assert (await kafka.committed_data_count(tp, 0, 25)).undecided == 12

    async def _marker_of(self, kafka: KafkaClient, tp: TopicPartition, producer_id: int) -> Batch:
        for _ in range(200):
            end = (await kafka.end_offsets([tp.topic]))[tp]
            for batch in await kafka.batch_headers(tp, 0, end):
                if batch.is_control and batch.producer_id == producer_id:
                    return batch
        raise AssertionError(f"no marker of producer {producer_id} on {tp}")

    async def test_x26_committed_records_are_counted_exactly(self, kafka: KafkaClient, writers: Writers, topic: str):
        tp = TopicPartition(topic, 0)
        one, two = await writers(f"{topic}.one"), await writers(f"{topic}.two")
        await one.begin()
        await one.write(topic, 0, ["a"] * 3)  # 0..2
        await two.begin()
        await two.write(topic, 0, ["b"] * 4)  # 3..6, aborted
        await one.write(topic, 0, ["a"] * 5)  # 7..11
        await two.abort()  # 12
        await one.commit()  # 13
        await one.begin()
        await one.write(topic, 0, ["c"] * 2)  # 14..15, open
        settled = await kafka.committed_data_count(tp, 0, 14)
        assert (settled.count, settled.undecided) == (8, 0)
        assert settled.last_append_ms is not None
        assert (await kafka.committed_data_count(tp, 2, 9)).count == 3  # inside of batches, markers behind the end
        assert (await kafka.committed_data_count(tp, 3, 7)).count == 0
        unsettled = await kafka.committed_data_count(tp, 0, 16)
        assert (unsettled.count, unsettled.undecided) == (8, 2)
        await one.commit()
        assert (await kafka.committed_data_count(tp, 14, 16)).count == 2
        nothing = await kafka.committed_data_count(tp, 5, 5)
        assert (nothing.count, nothing.last_append_ms) == (0, None)

    async def test_x26_reading_where_the_log_is_not_is_refused(self, kafka: KafkaClient, topic: str):
        with pytest.raises(Refused, match="does not hold offset 9"):
            await kafka.batch_headers(TopicPartition(topic, 0), 9, 12)

    async def test_x15_wait_stable_names_who_holds_it(self, kafka: KafkaClient, writers: Writers, topic: str):
        _, state = await self._open(kafka, writers, topic, f"{topic}.e00000003.-0-7")
        beats: list[dict[str, object]] = []
        with pytest.raises(NoProgress) as caught:
            await kafka.wait_stable([topic], 0.3, beats.append)
        assert f"{topic}-0 stands at 0 of 3" in caught.value.message
        assert f"{topic}.e00000003.-0-7 (producer {state.producer_id}, epoch" in caught.value.message
        assert f"{topic}-1" not in caught.value.message
        assert beats[0]["partitions"] == {f"{topic}-0": [0, 3]}

    async def test_x14_a_deny_shuts_out_one_epoch(self, kafka: KafkaClient, writers: Writers, topic: str):
        old, new = f"{topic}.e00000001.", f"{topic}.e00000002."
        writer, state = await self._open(kafka, writers, topic, f"{old}-0-1")
        assert not await kafka.probe_denied(old, self.ledger)
        for _ in range(2):
            await kafka.deny_transactional_prefix("User:ledger", old)
        assert old in await kafka.denied_prefixes("User:ledger")
        assert old not in await kafka.denied_prefixes("User:mirror")
        assert await kafka.probe_denied(old, self.ledger)
        assert not await kafka.probe_denied(new, self.ledger)
        with pytest.raises(Denied):
            await writer.write(topic, 0, ["y"])
        with pytest.raises(Denied):
            await writers(f"{old}-0-2")
        after = (await kafka.describe_transactions([state.transactional_id]))[state.transactional_id]
        assert after.state is TxnState.ONGOING, "the probe took nothing over"
        assert await self._end(kafka, state, commit=False) is EndOutcome.ENDED
        _, fresh = await self._open(kafka, writers, topic, f"{new}-0-1")
        assert await self._end(kafka, fresh, commit=True) is EndOutcome.ENDED
        await kafka.wait_stable([topic], 5)
        for _ in range(2):
            await kafka.lift_denied_prefix("User:ledger", old)
        assert old not in await kafka.denied_prefixes("User:ledger")
        assert not await kafka.probe_denied(old, self.ledger)

    async def test_x18_a_topic_is_closed_to_one_principal(
        self, kafka: KafkaClient, writers: Writers, topic: str, allow: Allow
    ):
        await allow(topic)
        writer, _ = await self._open(kafka, writers, topic, f"{topic}.a")
        await writer.commit()
        for _ in range(2):
            await kafka.deny_topic_writes("User:ledger", topic)
        assert topic in await kafka.denied_topics("User:ledger")
        assert topic not in await kafka.denied_topics("User:mirror")
        before = await kafka.wait_stable([topic], 5)
        with pytest.raises(Denied):
            await self._open(kafka, writers, topic, f"{topic}.b")
        assert await kafka.end_offsets([topic]) == before
        assert await kafka.appended_offsets([topic]) == before
        assert (await kafka.committed_data_count(TopicPartition(topic, 0), 0, 4)).count == 3
        for _ in range(2):
            await kafka.lift_topic_writes("User:ledger", topic)
        assert topic not in await kafka.denied_topics("User:ledger")
        writer, _ = await self._open(kafka, writers, topic, f"{topic}.c")
        await writer.commit()
        await kafka.wait_stable([topic], 5)
        assert (await kafka.committed_data_count(TopicPartition(topic, 0), 4, 8)).count == 3

    async def test_x18_a_closed_topic_still_lets_an_open_transaction_end(
        self, kafka: KafkaClient, writers: Writers, topic: str, allow: Allow
    ):
        """Which is why a topic is at rest only when nothing in it is open (X18)."""
        await allow(topic)
        writer, _ = await self._open(kafka, writers, topic, f"{topic}.a")
        await kafka.deny_topic_writes("User:ledger", topic)
        await writer.commit()
        await kafka.wait_stable([topic], 5)
        assert (await kafka.committed_data_count(TopicPartition(topic, 0), 0, 4)).count == 3

    async def test_x18_a_deny_is_no_topics_first_rule(self, kafka: KafkaClient, topic: str, ruleless: Allow):
        await ruleless(topic)
        with pytest.raises(Refused, match=f"topic {topic} has no access rule that allows anything"):
            await kafka.deny_topic_writes("User:ledger", topic)
        assert topic not in await kafka.denied_topics("User:ledger")
        await kafka.lift_topic_writes("User:ledger", topic)
        with pytest.raises(InvalidInput, match="expected User:name"):
            await kafka.deny_topic_writes("ledger", topic)

    async def test_x14_a_principal_is_given_as_kafka_writes_it(self, kafka: KafkaClient):
        with pytest.raises(InvalidInput, match="expected User:name"):
            await kafka.deny_transactional_prefix("ledger", "tg.x.")

    async def test_x15_markers_end_what_the_log_holds_open(self, kafka: KafkaClient, writers: Writers, topic: str):
        _, state = await self._open(kafka, writers, topic, f"{topic}.a")
        (held,) = await kafka.open_transactions([topic])
        assert (held.tp, held.start_offset) == (TopicPartition(topic, 0), 0)
        assert (held.producer_id, held.producer_epoch) == (state.producer_id, state.producer_epoch)
        assert await kafka.abort_by_markers(held)
        assert not await kafka.abort_by_markers(held)
        assert await kafka.wait_stable([topic], 5) == {TopicPartition(topic, 0): 4, TopicPartition(topic, 1): 0}
        still = (await kafka.describe_transactions([state.transactional_id]))[state.transactional_id]
        assert still.state is TxnState.ONGOING, "the coordinator is not asked"

    async def test_lag_counts_from_the_position_or_the_start(self, kafka: KafkaClient, writers: Writers, topic: str):
        writer, _ = await self._open(kafka, writers, topic, f"{topic}.a")
        await writer.commit()
        await kafka.wait_stable([topic], 5)
        zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
        assert await kafka.lag({zero: 1}, [topic]) == {zero: 3, one: 0}
        assert await kafka.lag({zero: 9}, [topic]) == {zero: 0, one: 0}
        assert await kafka.lag(f"{topic}-nobody", [topic]) == {zero: 4, one: 0}
        assert await kafka.group_offsets(f"{topic}-nobody") == {}

    async def test_x25_offsets_are_put_for_a_group_that_nobody_is_in(self, kafka: KafkaClient, topic: str):
        group, zero, one = f"{topic}-shop", TopicPartition(topic, 0), TopicPartition(topic, 1)
        assert await kafka.group_state(group) is GroupState.UNKNOWN
        await kafka.put_group_offsets(group, {zero: 3}, "by a test")
        assert await kafka.group_offsets(group) == {zero: 3}
        assert await kafka.group_state(group) is GroupState.EMPTY
        await kafka.put_group_offsets(group, {one: 5}, "by a test")
        await kafka.put_group_offsets(group, {one: 5}, "by a test")
        assert await kafka.group_offsets(group) == {zero: 3, one: 5}, "others stay as they are"
        await kafka.put_group_offsets(group, {}, "by a test")

    async def test_x25_who_reads_is_not_moved(self, kafka: KafkaClient, topic: str, join: Join):
        group, zero = f"{topic}-shop", TopicPartition(topic, 0)
        leave = await join(group, topic)
        assert (await kafka.group_state(group)).live
        before = await kafka.group_offsets(group)
        with pytest.raises(Refused, match=f"somebody is in consumer group {group}"):
            await kafka.put_group_offsets(group, {zero: 3}, "by a test")
        assert await kafka.group_offsets(group) == before
        await leave()
        assert not (await kafka.group_state(group)).live
        await kafka.put_group_offsets(group, {zero: 3}, "by a test")
        assert (await kafka.group_offsets(group))[zero] == 3
