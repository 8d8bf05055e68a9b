"""The job of the simulated region: reads endless inputs, counts, and writes each result in a transaction.

What Flink and its Kafka sink do is kept to the letter where exactness hangs on it: a subtask writes under
``<prefix>-<subtask>-<checkpoint>``, pre-commits into the checkpoint, commits when it is told that it is complete, and
on restore commits what the snapshot lists and aborts what lingers under its own prefix and the writer's old one.
Snapshots are real ``_metadata`` bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.kit import snapshot_bytes as w
from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_model import FakeJob, Hooks, Program
from tests.kit.kafka_fake import FakeKafka
from tests.kit.kafka_fake_job import FakeProducer
from tests.kit.kafka_fake_logs import Committable, Denied, Fenced
from tests.kit.objects import MemoryStore
from tests.kit.world_loop import drive
from tidegate import names
from tidegate.clients.kafka_types import TxnState
from tidegate.clients.s3 import S3Uri
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.metadata import committer_uid_of, operator_id_of
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.sinks import committables, writer_states

INPUT, OUTPUT = "payments", "balances"
SOURCE_UID, SINK_UID, STATE_UID = "payments-source", "balances-sink", "balances-of-"
PRINCIPAL = "User:ledger"
PARTITIONS = 2
TIMEOUT_MS = 600_000


@dataclass(frozen=True)
class Output:
    """One result: which event of which input partition, and how many events of it the state had counted with it."""

    partition: int
    event: int
    count: int
    epoch: int


@dataclass
class Behaviour:
    """An artifact: how it runs and whose state it reads."""

    program: Program = field(default_factory=Program)
    reads: set[str] = field(default_factory=set)
    """Names of the artifacts whose snapshots it can restore; its own always."""
    adds_to_counts: int = 0
    """A result that is wrong by so much (v2-wrong)."""


@dataclass
class _Attempt:
    """One run of a job's tasks, from a restore to their end."""

    job: FakeJob
    artifact: str
    prefix: str
    epoch: int
    positions: dict[int, int]
    counts: dict[int, int]
    checkpoint: int
    current: dict[int, FakeProducer] = field(default_factory=dict)
    pending: dict[int, list[FakeProducer]] = field(default_factory=dict)
    """By checkpoint: pre-committed, to be committed when it, or a later one, is complete."""
    output: str = OUTPUT
    group: str = ""


class LedgerJobs:
    """All jobs of one fake Flink, over one fake Kafka and one store."""

    def __init__(self, kafka: FakeKafka, store: MemoryStore, behaviours: dict[str, Behaviour]) -> None:
        self.kafka = kafka
        self.store = store
        self.behaviours = behaviours
        self.flink: FakeFlink = None  # type: ignore[assignment]
        self.attempts: dict[str, _Attempt] = {}
        self.lingering: list[_Attempt] = []
        """Tasks whose JobManager is gone; they know of no checkpoint that was not told to them."""
        self.batch = 2
        self.keep_retained = False
        """Retained checkpoints stay when a job finishes (a file system that is slow, a cleaner that failed)."""
        self.withheld: int | None = None
        """Commits of so many next checkpoints are not told to the sinks: their notification is lost."""
        self.on_run: Callable[[_Attempt, str | None, bool], None] = lambda attempt, snapshot, first: None
        self.on_commit: Callable[[_Attempt, str], None] = lambda attempt, transactional_id: None
        self.lost_on_restore: list[str] = []

    def hooks(self) -> Hooks:
        return Hooks(
            on_start=self._start,
            on_checkpoint_completed=self._completed,
            on_stop=self._stop,
            write_snapshot=self._write,
            discard_snapshot=self._discard,
            checkpoint_id_at=self._checkpoint_id_at,
        )

    def program(self, jar: str, args: list[str]) -> Program:
        return self.behaviours[artifact_of(jar)].program

    def _checkpoint_id_at(self, path: str) -> int | None:
        if not path.startswith("s3://") or S3Uri.parse(path).join("_metadata") not in self.store.objects:
            return None
        return drive(read_snapshot(self.store, path)).metadata.checkpoint_id

    # ------------------------------------------------------------ the tasks' life

    def _start(self, job: FakeJob, args: list[str], snapshot: str | None) -> None:
        prefix = args[args.index("--transactional-prefix") + 1]
        epoch = names.epoch_of_transactional_id(prefix + "x")
        assert epoch is not None
        artifact = artifact_of(job.name)
        attempt = _Attempt(job, artifact, prefix, epoch, dict.fromkeys(range(PARTITIONS), 0), {}, 0)
        attempt.counts = dict.fromkeys(range(PARTITIONS), 0)
        attempt.output = args[args.index("--output") + 1]
        attempt.group = args[args.index("--group") + 1]
        self.on_run(attempt, snapshot, job.restarts == 0)
        try:
            self._restore(attempt, snapshot)
        except Denied as denied:
            self._fail(job, f"TransactionalIdAuthorizationException: {denied}")
            return
        except _Unreadable as unreadable:
            self._fail(job, f"StateMigrationException: {unreadable}")
            return
        self.attempts[job.id] = attempt

    def _restore(self, attempt: _Attempt, location: str | None) -> None:
        lingers = {attempt.prefix}
        listed: set[str] = set()
        if location is not None:
            snapshot = drive(read_snapshot(self.store, location))
            attempt.checkpoint = snapshot.metadata.checkpoint_id
            by = next(o.uid for o in snapshot.metadata.operators if o.uid and o.uid.startswith(STATE_UID))
            artifact = by.removeprefix(STATE_UID)
            if artifact != attempt.artifact and artifact not in self.behaviours[attempt.artifact].reads:
                raise _Unreadable(f"{attempt.artifact} cannot read what {artifact} wrote")
            for (topic, partition), offset in drive(kafka_positions(self.store, snapshot))[SOURCE_UID].items():
                (attempt.counts if topic == "counts" else attempt.positions)[partition] = offset
            for committable in drive(committables(self.store, snapshot)):
                listed.add(committable.transactional_id)
                mine = Committable(committable.transactional_id, committable.producer_id, committable.producer_epoch)
                try:
                    drive(FakeProducer.recovered(self.kafka, mine, PRINCIPAL).commit())
                except Fenced:
                    # Flink's committer logs it and goes on: outputs that were not in before are lost.
                    self.lost_on_restore.append(committable.transactional_id)
            lingers |= {state.prefix for state in drive(writer_states(self.store, snapshot))}
        for prefix in sorted(lingers):
            for found in drive(self.kafka.list_transactions(prefix)):
                if found.state is TxnState.ONGOING and found.transactional_id not in listed:
                    drive(self.kafka.producer(found.transactional_id, PRINCIPAL, TIMEOUT_MS).init())

    def _stop(self, job: FakeJob) -> None:
        self.attempts.pop(job.id, None)

    def linger(self) -> None:
        """The JobManager is about to be lost; the tasks of live jobs do not know it yet."""
        self.lingering += list(self.attempts.values())

    def _fail(self, job: FakeJob, why: str) -> None:
        self.flink.crash(job.id, why)

    # ------------------------------------------------------------ what the tasks do

    def work(self, attempt: _Attempt, events: int) -> None:
        """Each subtask reads some events of its partition and writes their results. Raises Denied, Fenced."""
        wrong = self.behaviours[attempt.artifact].adds_to_counts
        for subtask in range(PARTITIONS):
            values = []
            for _ in range(events):
                attempt.counts[subtask] += 1
                count = attempt.counts[subtask] + wrong
                values.append(Output(subtask, attempt.positions[subtask], count, attempt.epoch))
                attempt.positions[subtask] += 1
            if not values:
                continue
            if subtask not in attempt.current:
                name = f"{attempt.prefix}-{subtask}-{attempt.checkpoint + 1}"
                attempt.current[subtask] = self.kafka.producer(name, PRINCIPAL, TIMEOUT_MS)
                drive(attempt.current[subtask].init())
            for partition in range(PARTITIONS):  # both subtasks write to both partitions
                part = [value for value in values if value.event % PARTITIONS == partition]
                if part:
                    drive(attempt.current[subtask].write(attempt.output, partition, part))

    def work_of(self, job_id: str, events: int) -> None:
        """As `work`; a job that Kafka refuses fails."""
        attempt = self.attempts.get(job_id)
        if attempt is None:
            return
        try:
            self.work(attempt, events)
        except (Denied, Fenced) as error:
            self._fail(attempt.job, f"{type(error).__name__}: {error}")

    def _write(self, job: FakeJob, path: str, checkpoint_id: int) -> None:
        attempt = self.attempts[job.id]
        attempt.checkpoint = checkpoint_id
        attempt.pending[checkpoint_id] = [attempt.current[s] for s in sorted(attempt.current)]
        attempt.current = {}
        body = self._metadata(attempt, checkpoint_id)
        self.store._store(S3Uri.parse(path).join("_metadata"), body, None)

    def _metadata(self, attempt: _Attempt, checkpoint_id: int) -> bytes:
        splits: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        writers, committers = [], []
        for subtask in range(PARTITIONS):
            splits[subtask] = [
                w.split(INPUT, subtask, attempt.positions[subtask]),
                w.split("counts", subtask, attempt.counts[subtask]),
            ]
            writers.append([w.writer_state(attempt.prefix)])
            mine = {
                n: {subtask: [_request(p) for p in producers if _subtask(p) == subtask]}
                for n, producers in attempt.pending.items()
            }
            committers.append([w.collector({n: by for n, by in mine.items() if by[subtask]})])
        return w.metadata(
            _operator(SOURCE_UID, "SourceReaderState", splits),
            _operator(f"{STATE_UID}{attempt.artifact}", "state", [[b""] * 1] * PARTITIONS),
            _operator(SINK_UID, "writer_raw_states", writers),
            _operator(committer_uid_of(SINK_UID), "streaming_committer_raw_states", committers),
            checkpoint_id=checkpoint_id,
        )

    def _completed(self, job: FakeJob, checkpoint_id: int) -> None:
        if self.withheld:
            self.withheld -= 1
            return
        attempt = self.attempts[job.id]
        try:
            self.commit(attempt, checkpoint_id)
        except (Denied, Fenced) as error:
            self._fail(job, f"{type(error).__name__}: {error}")

    def commit(self, attempt: _Attempt, checkpoint_id: int) -> None:
        """Commit all that is pending up to a checkpoint. Raises Denied, Fenced."""
        for n in sorted(n for n in attempt.pending if n <= checkpoint_id):
            for producer in attempt.pending[n]:
                state = drive(self.kafka.describe_transactions([producer.transactional_id]))[producer.transactional_id]
                drive(producer.commit())
                if state.state is TxnState.ONGOING:
                    self.on_commit(attempt, producer.transactional_id)
            del attempt.pending[n]

    def _discard(self, job: FakeJob, path: str) -> None:
        if not (self.keep_retained and job.state.value == "FINISHED"):
            self.store.objects.pop(S3Uri.parse(path).join("_metadata"), None)


class _Unreadable(Exception):
    pass


def artifact_of(jar: str) -> str:
    """``<sha256[:16]>-<name>.jar``."""
    return jar.removesuffix(".jar").split("-", 1)[1]


def _subtask(producer: FakeProducer) -> int:
    return int(producer.transactional_id.rsplit("-", 2)[1])


def _request(producer: FakeProducer) -> bytes:
    return w.committable(producer.transactional_id, producer.producer_id, producer.producer_epoch)


def _operator(uid: str, state: str, elements: list[list[bytes]]) -> bytes:
    subtasks = []
    for index, mine in enumerate(elements):
        stream, offsets = w.state_stream(mine)
        subtasks.append(w.subtask(index, managed=w.operator_state({state: offsets}, w.inline(stream))))
    return w.operator(uid, subtasks, bytes.fromhex(operator_id_of(uid)), parallelism=len(elements))
