"""Snapshots that are looked at again and again: each version of a ``_metadata`` is read once."""

from __future__ import annotations

from tests.kit.objects import MemoryStore
from tests.kit.snapshots import EAST, JOB, Job
from tidegate.clients.objects import S3Uri
from tidegate.snapshot.catalog import catalog
from tidegate.snapshot.files import metadata_uri
from tidegate.snapshot.reads import SnapshotReads


def gets(store: MemoryStore) -> int:
    return sum(op.startswith("get") and uri.name == "_metadata" for op, uri in store.calls)


async def test_what_was_read_stands_until_its_etag_changes():
    store, job = MemoryStore(), Job()
    reads = SnapshotReads(store)
    for number in (11, 12):
        await job.checkpoint(store, number, {"a": 100})
    first = await catalog(store, EAST, reads=reads)
    assert {entry.id for entry in first.entries} == {"e7-chk-11", "e7-chk-12"}
    before = gets(store)
    assert await catalog(store, EAST, reads=reads) == first
    assert gets(store) == before, "not even to tell whose the job is"

    await store.put(metadata_uri(job.location(12)), job.metadata(12, {"a": 100, "b": 5}, {}))
    (newest, _) = (await catalog(store, EAST, {JOB: 7}, reads=reads)).entries
    assert newest.problem is not None
    assert "missing" in newest.problem
    assert gets(store) == before + 1

    await store.delete(S3Uri.parse(job.shared("a")))
    assert all(one.problem for one in (await catalog(store, EAST, reads=reads)).entries), "each file is looked for"


async def test_it_holds_so_many_bytes_at_most_and_forgets_what_was_used_least_lately():
    store, job = MemoryStore(), Job()
    for number in range(4):
        await job.checkpoint(store, number, {"a": 100})
    at = [metadata_uri(job.location(number)) for number in range(4)]
    heads = [await store.head(uri) for uri in at]
    sizes = [head.size for head in heads if head]
    reads = SnapshotReads(store, most_bytes=sizes[0] + sizes[1] + sizes[2])

    async def read(number: int) -> int:
        before, head = gets(store), heads[number]
        assert head is not None
        await reads.read(at[number], head.etag)
        return gets(store) - before

    assert [await read(number) for number in (0, 1, 2, 0, 3, 0, 1)] == [1, 1, 1, 0, 1, 0, 1]
    small = SnapshotReads(store, most_bytes=10)
    assert heads[0] is not None
    assert await small.read(at[0], heads[0].etag) == await small.last(at[0])
