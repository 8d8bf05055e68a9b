"""The fleet file in the registry (O21): by digest, create-only; the pointer by compare-and-swap."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.fleet.test_fleetfile import SMALL
from tidegate.clients.objects import S3Uri
from tidegate.errors import BasisChanged, InvalidInput, Unavailable
from tidegate.model.fleetfile import digest_of
from tidegate.registry.fleet import publish, read_current, read_digest, read_pointer

BUCKET = "tidegate"
OTHER = SMALL.replace("parallelism: 2", "parallelism: 3")
POINTER = S3Uri(BUCKET, "fleet/current.json")


async def test_published_and_read_back():
    store = MemoryStore(BUCKET)
    assert await read_pointer(store, BUCKET) is None
    with pytest.raises(InvalidInput, match="no fleet file has been published"):
        await read_current(store, BUCKET)
    first = await publish(store, BUCKET, SMALL, "ana")
    assert (first.digest, first.seq, first.who) == (digest_of(SMALL), 1, "ana")
    second = await publish(store, BUCKET, OTHER, "ben", basis=first.digest)
    assert second.seq == 2
    assert (await read_current(store, BUCKET)).fleet.deployment("ledger").parallelism == 3
    assert (await read_digest(store, BUCKET, first.digest)).text == SMALL
    assert set(json.loads((await store.get(POINTER)).body)) == {"digest", "seq", "who", "at"}


async def test_the_same_text_changes_nothing():
    store = MemoryStore(BUCKET)
    first = await publish(store, BUCKET, SMALL, "ana")
    assert await publish(store, BUCKET, SMALL, "ben") == first


async def test_a_file_with_mistakes_is_not_published():
    store = MemoryStore(BUCKET)
    with pytest.raises(InvalidInput, match="parallelism"):
        await publish(store, BUCKET, SMALL.replace("parallelism: 2", "parallelism: 0"), "ana")
    assert not store.objects


async def test_what_changed_since_it_was_looked_at_is_refused():
    store = MemoryStore(BUCKET)
    first = await publish(store, BUCKET, SMALL, "ana")
    await publish(store, BUCKET, OTHER, "ben")
    third = SMALL.replace("parallelism: 2", "parallelism: 4")
    with pytest.raises(BasisChanged, match="by ben at"):
        await publish(store, BUCKET, third, "ana", basis=first.digest)
    assert (await read_pointer(store, BUCKET)).seq == 2


async def test_of_two_at_the_same_time_one_is_refused():
    texts = [SMALL.replace("parallelism: 2", f"parallelism: {n}") for n in range(3, 7)]
    arrived = asyncio.Barrier(len(texts))

    async def before(op, uri):
        if op == "replace":
            await arrived.wait()

    store = MemoryStore(BUCKET)
    await publish(store, BUCKET, SMALL, "ana")
    store.before = before
    done = await asyncio.gather(*(publish(store, BUCKET, text, "x") for text in texts), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["BasisChanged"] * 3 + ["FleetPointer"]
    (won,) = [one for one in done if not isinstance(one, Exception)]
    assert await read_pointer(store, BUCKET) == won


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_o3_a_lost_answer_is_decided_by_reading_back(lost):
    failures = 1

    async def fail(op, uri):
        nonlocal failures
        if op == "create" and uri == POINTER and failures:
            failures -= 1
            raise Unavailable("the answer was lost")

    store = MemoryStore(BUCKET, **{lost: fail})
    if lost == "after":
        assert (await publish(store, BUCKET, SMALL, "ana")).seq == 1
    else:
        with pytest.raises(Unavailable):
            await publish(store, BUCKET, SMALL, "ana")
        assert await read_pointer(store, BUCKET) is None
        assert (await publish(store, BUCKET, SMALL, "ana")).seq == 1


async def test_damage_is_named():
    store = MemoryStore(BUCKET)
    pointer = await publish(store, BUCKET, SMALL, "ana")
    at = S3Uri(BUCKET, f"fleet/{pointer.digest}.yaml")
    await store.put(at, OTHER.encode())
    with pytest.raises(InvalidInput, match="damaged: its bytes have another sha256"):
        await read_current(store, BUCKET)
    with pytest.raises(InvalidInput, match="damaged: other bytes stand under this sha256"):
        await publish(store, BUCKET, SMALL, "ana")
    await store.put(POINTER, b"{}")
    with pytest.raises(InvalidInput, match=r"current\.json: damaged"):
        await read_pointer(store, BUCKET)
    with pytest.raises(InvalidInput, match="expected 64 hex digits"):
        await read_digest(store, BUCKET, "../../etc")
    with pytest.raises(InvalidInput, match="no such fleet file"):
        await read_digest(store, BUCKET, "0" * 64)
