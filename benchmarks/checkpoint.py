"""A checkpoint as a job with RocksDB leaves it in S3: shared files, own ones, and a ``_metadata`` that names all."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from benchmarks.buckets import client_of, in_parallel
from tests.kit import snapshot_bytes as w
from tests.kit.weed import BUCKET
from tidegate.clients.objects import S3Uri
from tidegate.model.record import utc_now
from tidegate.snapshot.catalog import Entry, Kind

HERE = f"s3://{BUCKET}/"
_JOB_ID = "5bfb" + "0" * 28
_NUMBER = 12
_META_BYTES = 40
_OWN_SHARE = 10
"""One file in so many lies in the checkpoint's own directory."""


@dataclass(frozen=True)
class Checkpoint:
    """``files`` files of ``file_bytes`` each, RocksDB's meta data among them (40 bytes a subtask); in ``root``."""

    root: str
    files: int
    file_bytes: int
    subtasks: int = 8

    @property
    def base(self) -> str:
        """Where the job's checkpoints are."""
        return f"{HERE}{self.root}/checkpoints/{_JOB_ID}"

    @property
    def location(self) -> str:
        """What Flink would be started from."""
        return f"{self.base}/chk-{_NUMBER}"

    @property
    def directories(self) -> tuple[str, str]:
        """Those that its files are in, as prefixes of keys."""
        return f"{self.location}/".removeprefix(HERE), f"{self.base}/shared/".removeprefix(HERE)

    @property
    def total_bytes(self) -> int:
        """Of its files, ``_metadata`` not counted."""
        return sum(self._sizes.values())

    @cached_property
    def _dealt(self) -> list[tuple[str, list[str], list[str]]]:
        """Of each subtask: meta data, shared and own files; uris."""
        subtasks: list[tuple[str, list[str], list[str]]] = [
            (f"{self.location}/meta-{number}", [], []) for number in range(self.subtasks)
        ]
        for number in range(self.files - self.subtasks):
            _, shared, own = subtasks[number % self.subtasks]
            if number % _OWN_SHARE == 0:
                own.append(f"{self.location}/{number:036}")
            else:
                shared.append(f"{self.base}/shared/{number:036}")
        return subtasks

    @cached_property
    def _sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for meta, shared, own in self._dealt:
            found |= {meta: _META_BYTES, **dict.fromkeys([*shared, *own], self.file_bytes)}
        return found

    def metadata(self) -> bytes:
        """The ``_metadata``."""

        def handles(uris: list[str]) -> dict[str, bytes]:
            return {f"{number:06}.sst": w.file(uri, self._sizes[uri]) for number, uri in enumerate(uris)}

        states = [
            w.subtask(number, keyed=w.incremental(w.file(meta, _META_BYTES), handles(shared), handles(own)))
            for number, (meta, shared, own) in enumerate(self._dealt)
        ]
        return w.metadata(w.operator("balance", states, parallelism=self.subtasks), checkpoint_id=_NUMBER)

    def put(self, endpoint: str) -> Entry:
        """Put it on a server of tests/kit/weed.py; as the catalog would list it."""
        client, dice = client_of(endpoint), random.Random(4)
        bodies = {uri: dice.randbytes(size) for uri, size in self._sizes.items()}
        bodies[f"{self.location}/_metadata"] = self.metadata()

        def one(uri: str) -> None:
            client.put_object(Bucket=BUCKET, Key=uri.removeprefix(HERE), Body=bodies[uri])

        in_parallel(one, bodies)
        client.close()
        return Entry(
            id=f"e7-chk-{_NUMBER}",
            deployment="ledger",
            region="east",
            kind=Kind.CHECKPOINT,
            location=S3Uri.parse(self.location),
            at=utc_now(),
            epoch=7,
            job_id=_JOB_ID,
            checkpoint_id=_NUMBER,
        )
