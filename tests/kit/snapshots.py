"""A deployment's snapshots in a store in memory, as Flink would have left them: shared files, private ones, sinks."""

from __future__ import annotations

from dataclasses import dataclass

from tests.kit import snapshot_bytes as w
from tests.kit.objects import MemoryStore
from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.snapshot.metadata import committer_uid_of
from tidegate.snapshot.place import Place

EAST = Place("ledger", "east", "s3://east/savepoints", "s3://east/checkpoints")
WEST = Place("ledger", "west", "s3://west/savepoints", "s3://west/checkpoints")
JOB = "5bfb" + "0" * 28


def list_state(name: str, *elements: bytes, stream: bytes | None = None) -> bytes:
    content, offsets = w.state_stream(elements)
    return w.operator_state({name: offsets}, stream or w.inline(content))


def body_of(name: str, size: int) -> bytes:
    """Bytes that differ from file to file and from place to place."""
    unit = f"{name}:{size}:".encode()
    return (unit * (size // len(unit) + 1))[:size]


@dataclass(frozen=True)
class Job:
    """One job of a deployment: its checkpoints share files."""

    deployment: str = "ledger"
    epoch: int = 7
    job_id: str = JOB
    base: str = "s3://east/checkpoints"
    uid: str = "balances-sink"

    @property
    def prefix(self) -> str:
        return names.transactional_prefix(self.deployment, self.uid, self.epoch)

    def location(self, number: int) -> str:
        return f"{self.base}/{self.job_id}/chk-{number}"

    def shared(self, name: str) -> str:
        return f"{self.base}/{self.job_id}/shared/{name}"

    def metadata(
        self,
        number: int,
        shared: dict[str, int],
        private: dict[str, int],
        *,
        positions: dict[tuple[str, int], int] | None = None,
        relative: bool = False,
        tail: bytes = w.TAIL,
        parallelism: int = 2,
        sink: bool = True,
        producer_id: int | None = None,
        head: bytes = b"",
    ) -> bytes:
        at = self.location(number)

        def own(name: str, size: int) -> bytes:
            return w.relative(name, size) if relative else w.file(f"{at}/{name}", size)

        keyed = w.incremental(
            own("keyed-meta", len(head) or 40),
            {name: w.file(self.shared(name), size) for name, size in shared.items()},
            {name: own(name, size) for name, size in private.items()},
        )
        splits = [w.split(topic, partition, offset) for (topic, partition), offset in (positions or {}).items()]
        operators = [
            w.operator("payments-source", [w.subtask(0, managed=list_state("SourceReaderState", *splits))]),
            w.operator("balance", [w.subtask(0, keyed=keyed)], parallelism=parallelism),
        ]
        if sink:
            request = w.committable(f"{self.prefix}-0-{number}", producer_id or 1000 + number, 0)
            operators += [
                w.operator(
                    self.uid, [w.subtask(0, managed=list_state("writer_raw_states", w.writer_state(self.prefix)))]
                ),
                w.operator(
                    committer_uid_of(self.uid),
                    [
                        w.subtask(
                            0,
                            managed=list_state("streaming_committer_raw_states", w.collector({number: {0: [request]}})),
                        )
                    ],
                ),
            ]
        return w.metadata(*operators, checkpoint_id=number, tail=tail)

    async def checkpoint(
        self,
        store: MemoryStore,
        number: int,
        shared: dict[str, int] | None = None,
        private: dict[str, int] | None = None,
        **options: object,
    ) -> S3Uri:
        """Write a whole checkpoint: its files, those shared ones that are not there yet, ``_metadata`` last.

        ``head``: what names its keyed states (``snapshot_bytes.keyed_head``); none: bytes that name nothing.
        """
        shared, private = shared or {}, private or {}
        head = options.get("head", b"")
        assert isinstance(head, bytes)
        at = self.location(number)
        for name, size in shared.items():
            await store.put(self.shared(name), body_of(name, size))
        for name, size in {"keyed-meta": 40, **private}.items():
            await store.put(f"{at}/{name}", body_of(f"{number}-{name}", size))
        if head:
            await store.put(f"{at}/keyed-meta", head)
        await store.put(f"{at}/_metadata", self.metadata(number, shared, private, **options))  # type: ignore[arg-type]
        return S3Uri.parse(at)


async def savepoint(store: MemoryStore, job: Job, trigger: str, number: int, **options: object) -> S3Uri:
    """A stop's savepoint, files by their names in its own directory."""
    at = f"s3://east/savepoints/{job.deployment}/e{job.epoch:08d}-{trigger}/savepoint-{job.job_id[:6]}-0123456789ab"
    content = job.metadata(number, {}, {"data": 500}, relative=True, **options)  # type: ignore[arg-type]
    await store.put(f"{at}/keyed-meta", body_of("meta", 40))
    await store.put(f"{at}/data", body_of("data", 500))
    await store.put(f"{at}/_metadata", content)
    return S3Uri.parse(at)
