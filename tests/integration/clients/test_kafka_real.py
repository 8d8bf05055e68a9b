"""The Kafka client's contract against a real broker, and what only a real broker can do: die and come back."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as ConfluentTopicPartition

from sandbox.kafka import allow_everyone, kafka_spec
from sandbox.layout import Layout, kafka_password
from sandbox.parts import fetch, find_java
from sandbox.spec import Folder, ProcessSpec
from tests.kit.kafka_contract import KafkaContract
from tests.kit.kafka_fake_logs import Denied, Fenced
from tests.kit.sandbox import free_base_port
from tidegate.clients.kafka import Kafka
from tidegate.clients.kafka_transactions import TRANSACTION_LOG, log_partition
from tidegate.clients.kafka_types import EndOutcome, KafkaSecurity, TopicPartition, TxnState
from tidegate.errors import InvalidInput, NoProgress, Refused, Unavailable

pytestmark = pytest.mark.sandbox


class Broker:
    """A region's broker as the sandbox configures it, without the rest of the sandbox and without its supervisor."""

    def __init__(self, argv: list[str], bootstrap: str, home: Path):
        self.bootstrap = bootstrap
        self._argv, self._home = argv, home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self):
        with (self._home / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, cwd=self._home)
        host, port = self.bootstrap.split(":")
        deadline = time.monotonic() + 90
        while True:
            try:
                socket.create_connection((host, int(port))).close()
            except OSError:
                assert self._process.poll() is None, (self._home / "broker.log").read_text()[-2000:]
                assert time.monotonic() < deadline, "the broker does not listen"
                time.sleep(0.05)
            else:
                return

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def kill(self):
        self._process.kill()
        self._process.wait(30)

    def security(self, user: str) -> KafkaSecurity:
        return KafkaSecurity("SASL_PLAINTEXT", "PLAIN", user, kafka_password(user))

    def config(self, user: str) -> dict[str, object]:
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": kafka_password(user),
        }


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    home = tmp_path_factory.mktemp("kafka")
    with free_base_port() as base:

        async def prepare() -> ProcessSpec:
            await fetch("kafka", lambda _: None)
            return await kafka_spec(Folder(home / "data"), Layout(base).region("east"), await find_java())

        spec = asyncio.run(prepare())
        one = Broker(spec.argv, spec.endpoint, home)
        one.start()
        yield one
        one.kill()


@pytest.fixture
async def kafka(broker: Broker):
    async with Kafka(broker.bootstrap, broker.security("admin"), 15) as client:
        yield client


@pytest.fixture
def name():
    return f"t{uuid.uuid4().hex[:8]}"


class RealWriter:
    """confluent-kafka's transactional producer as the contract wants it; closed by ``close``."""

    def __init__(self, broker: Broker, transactional_id: str, **config: object):
        self._producer = Producer(
            {
                **broker.config("ledger"),
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 600_000,
                "linger.ms": 0,
                "error_cb": lambda _: None,
                **config,
            },
            logger=logging.getLogger("librdkafka"),
        )

    async def _call(self, call, *args):
        try:
            return await asyncio.to_thread(call, *args)
        except KafkaException as error:
            raise self._ours(error.args[0]) from error

    @staticmethod
    def _ours(error: KafkaError) -> Exception:
        if error.code() in {
            KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
        }:
            return Denied(error.str())
        if error.code() in {KafkaError._FENCED, KafkaError.INVALID_TXN_STATE, KafkaError._STATE}:
            return Fenced(error.str())
        return KafkaException(error)

    async def init(self):
        await self._call(self._producer.init_transactions, 20)

    async def begin(self):
        await self._call(self._producer.begin_transaction)

    async def write(self, topic: str, partition: int, values: Collection[object]):
        seen: list[KafkaError | None] = []
        for value in values:
            self._producer.produce(topic, str(value), partition=partition, on_delivery=lambda e, _: seen.append(e))
        left = await self._call(self._producer.flush, 20)
        errors = [error for error in seen if error is not None]
        if errors:
            fatal = errors[0]
            if fatal.code() == KafkaError._PURGE_QUEUE:
                await self._call(self._producer.commit_transaction, 5)
            raise self._ours(fatal)
        assert left == 0

    async def commit(self):
        await self._call(self._producer.commit_transaction, 20)

    async def abort(self):
        await self._call(self._producer.abort_transaction, 20)


class TestRealKafka(KafkaContract):
    @pytest.fixture
    def allow(self, broker: Broker):
        async def give(topic: str) -> None:
            await allow_everyone(broker.bootstrap, [topic])

        return give

    @pytest.fixture(params=["classic", "consumer"])
    def join(self, broker: Broker, request: pytest.FixtureRequest):
        async def enter(group: str, topic: str):
            consumer = Consumer(
                {**broker.config("admin"), "group.id": group, "group.protocol": request.param}
                | ({"session.timeout.ms": 6_000} if request.param == "classic" else {})
            )
            consumer.subscribe([topic])

            def assigned() -> bool:
                consumer.poll(0.05)
                return bool(consumer.assignment())

            async def leave() -> None:
                await asyncio.to_thread(consumer.close)

            deadline = time.monotonic() + 30
            while not await asyncio.to_thread(assigned):
                assert time.monotonic() < deadline, "it does not get into the group"
            return leave

        return enter

    @pytest.fixture
    def ruleless(self):
        async def as_created(topic: str) -> None:
            pass

        return as_created

    ledger = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "ledger", kafka_password("ledger"))

    @pytest.fixture(autouse=True)
    def quiet(self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
        """Neither library writes to the terminal on its own, and nothing is logged as a warning."""
        with caplog.at_level(logging.WARNING):
            yield
        assert capfd.readouterr() == ("", "")
        assert [r for r in caplog.records if r.name.startswith("kafka")] == []

    @pytest.fixture
    def writers(self, broker: Broker):
        async def make(transactional_id: str) -> RealWriter:
            writer = RealWriter(broker, transactional_id)
            await writer.init()
            return writer

        return make

    async def test_groups_and_their_lag(self, kafka: Kafka, broker: Broker, topic: str, writers):
        writer = await writers(f"{topic}.a")
        await writer.begin()
        await writer.write(topic, 1, ["x"] * 5)
        await writer.commit()
        ends = await kafka.wait_stable([topic], 5)
        consumer = Consumer(
            {
                **broker.config("admin"),
                "group.id": f"{topic}-group",
            }
        )
        await asyncio.to_thread(
            lambda: consumer.commit(offsets=[ConfluentTopicPartition(topic, 1, 2)], asynchronous=False)
        )
        consumer.close()
        one = TopicPartition(topic, 1)
        assert await kafka.group_offsets(f"{topic}-group") == {one: 2}
        assert ends[one] == 6
        assert await kafka.lag(f"{topic}-group", [topic]) == {one: 4, TopicPartition(topic, 0): 0}

    async def test_where_the_transaction_log_keeps_an_id(self, kafka: Kafka, name: str, writers):
        """What tells whether all coordinators have loaded: a list from one that has not is empty without an error."""
        await writers(f"{name}.warm")
        for number in range(8):
            before = await kafka.end_offsets([TRANSACTION_LOG])
            await writers(f"{name}.{number}")
            after = await kafka.end_offsets([TRANSACTION_LOG])
            grown = [tp.partition for tp in after if after[tp] > before[tp]]
            assert grown == [log_partition(f"{name}.{number}", len(after))]

    async def test_a_deny_closes_the_prefix_to_every_other_principal_too(self, kafka: Kafka, broker: Broker, name: str):
        await kafka.deny_transactional_prefix("User:ledger", f"{name}.")
        assert await kafka.probe_denied(f"{name}.", broker.security("mirror"))
        assert await kafka.denied_prefixes("User:mirror") == []

    @pytest.mark.parametrize("codec", ["none", "zstd", "lz4", "snappy", "gzip"])
    async def test_x26_compressed_batches_count_alike(self, kafka: Kafka, broker: Broker, topic: str, codec: str):
        writer = RealWriter(broker, f"{topic}.c", **{"compression.type": codec, "linger.ms": 50})
        await writer.init()
        await writer.begin()
        await writer.write(topic, 0, [f"value {n % 7}" * 20 for n in range(500)])
        await writer.commit()
        await kafka.wait_stable([topic], 5)
        tp = TopicPartition(topic, 0)
        assert (await kafka.committed_data_count(tp, 0, 501)).count == 500
        assert (await kafka.committed_data_count(tp, 123, 456)).count == 333

    async def test_x26_many_fetches_and_what_a_reader_gets_agree(
        self, kafka: Kafka, broker: Broker, topic: str, writers
    ):
        one, two = await writers(f"{topic}.one"), await writers(f"{topic}.two")
        for turn in range(12):
            for writer, size in ((one, 40), (two, 25)):
                await writer.begin()
                await writer.write(topic, 0, ["x" * 20_000] * size)
                await (writer.abort() if (turn + size) % 3 == 0 else writer.commit())
        ends = await kafka.wait_stable([topic], 5)
        tp = TopicPartition(topic, 0)
        read = await asyncio.to_thread(self._read_committed, broker, topic, ends[tp])
        assert 0 < len(read) < 12 * 65
        for first, end in ((0, ends[tp]), (ends[tp] // 3, 2 * ends[tp] // 3)):
            counted = await kafka.committed_data_count(tp, first, end)
            assert counted.count == sum(first <= offset < end for offset in read)
        assert counted.last_append_ms is not None

    @staticmethod
    def _read_committed(broker: Broker, topic: str, end: int) -> list[int]:
        consumer = Consumer(
            {
                **broker.config("admin"),
                "group.id": "reader",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        consumer.assign([ConfluentTopicPartition(topic, 0, 0)])
        offsets: list[int] = []
        while True:
            message = consumer.poll(20)
            assert message is not None, f"no end of the partition, expected {end}"
            if message.error() is None:
                offsets.append(message.offset())
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF
                consumer.close()
                return offsets


async def test_a_wrong_password_names_principal_and_endpoint(broker: Broker):
    wrong = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "admin", "hunter2")
    assert "hunter2" not in repr(wrong)
    async with Kafka(broker.bootstrap, wrong, 5) as kafka:
        for _ in range(2):
            with pytest.raises(Refused) as caught:
                await kafka.topics()
            assert f"Kafka at {broker.bootstrap} refused the log-in of User:admin" in caught.value.message
            assert "hunter2" not in str(caught.value)
    async with Kafka(broker.bootstrap, KafkaSecurity("SASL_PLAINTEXT", "SCRAM-SHA-512", "admin", "x"), 5) as kafka:
        with pytest.raises(Refused, match="User:admin by SCRAM-SHA-512: it offers PLAIN"):
            await kafka.topics()
    async with Kafka(broker.bootstrap, None, 0.5) as kafka:
        with pytest.raises(Unavailable, match="does it want a log-in"):
            await kafka.topics()


async def test_a_right_that_is_missing_names_the_principal(broker: Broker, kafka: Kafka, name: str):
    await kafka.create_topic(name, 1)
    await kafka.deny_transactional_prefix("User:ledger", f"{name}.")
    async with Kafka(broker.bootstrap, broker.security("ledger"), 5) as job:
        with pytest.raises(Refused, match=r"does not let User:ledger do this"):
            await job.describe_transactions([f"{name}.-0-1"])


async def test_nothing_listens(name: str):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    async with Kafka(f"127.0.0.1:{port}", None, 0.4) as kafka:
        with pytest.raises(
            Unavailable, match=rf"Kafka at 127.0.0.1:{port} did not answer within 0.4 s \(list topics\)"
        ) as c:
            await kafka.topics()
    assert "refused" in c.value.message.lower()
    assert 0.3 < time.monotonic() - started < 2
    with pytest.raises(InvalidInput, match="expected host:port"):
        Kafka("nowhere", None)


async def test_a_broker_that_stands_still_or_dies_is_unavailable_and_the_same_client_goes_on(broker: Broker, name: str):
    async with Kafka(broker.bootstrap, broker.security("admin"), 1.0) as kafka:
        await kafka.create_topic(name, 1)
        writer = RealWriter(broker, f"{name}.a")
        await writer.init()
        await writer.begin()
        await writer.write(name, 0, ["x"] * 3)
        state = (await kafka.describe_transactions([f"{name}.a"]))[f"{name}.a"]
        broker.pause()
        with pytest.raises(Unavailable, match=r"within 1 s \(end offsets of"):
            await kafka.end_offsets([name])
        with pytest.raises(Unavailable, match="abort"):
            await kafka.end_transaction(f"{name}.a", state.producer_id, state.producer_epoch, commit=False)
        with pytest.raises(Unavailable):
            await kafka.wait_stable([name], 1.5)
        broker.kill()
        with pytest.raises(Unavailable, match="refused"):
            await kafka.end_offsets([name])
        broker.start()
    async with Kafka(broker.bootstrap, broker.security("admin"), 15) as kafka:
        with pytest.raises(NoProgress, match=f"{name}.a "):
            await kafka.wait_stable([name], 0.3)
        outcome = await kafka.end_transaction(f"{name}.a", state.producer_id, state.producer_epoch, commit=True)
        assert outcome is EndOutcome.ENDED, "an open transaction outlives a kill of the broker"
        await kafka.wait_stable([name], 10)


async def test_one_client_lives_through_a_kill_while_it_waits(broker: Broker, name: str):
    async with Kafka(broker.bootstrap, broker.security("admin"), 60) as kafka:
        await kafka.create_topic(name, 1)
        broker.kill()
        asked = asyncio.create_task(kafka.end_offsets([name]))
        await asyncio.to_thread(broker.start)
        assert await asked == {TopicPartition(name, 0): 0}
        assert (await kafka.describe_transactions([f"{name}.no"]))[f"{name}.no"].state is TxnState.UNKNOWN
