"""The chain of reports on a real S3 (SeaweedFS): its create-only and its compare-and-swap, not those of a fake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.kit.weed import ACCESS, BUCKET, SECRET, running_weed
from tests.unit.report import samples
from tidegate.clients.s3 import S3Store, S3Uri, open_store
from tidegate.report.verify import FaultKind, against, deployments_of, verify
from tidegate.report.write import write_report

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def store() -> AsyncIterator[S3Store]:
    with running_weed() as endpoint:
        async with open_store(endpoint, ACCESS, SECRET) as opened:
            yield opened


def key(name: str, suffix: str = "json") -> str:
    return f"reports/ledger/{name}/0199-run.{suffix}"


async def faults(store: S3Store) -> set[tuple[FaultKind, str]]:
    found = await verify(store, BUCKET, "ledger")
    return {(fault.kind, fault.object.removeprefix(f"s3://{BUCKET}/")) for fault in found.faults}


async def test_i8_on_a_real_s3_many_writers_make_one_chain_and_each_fault_is_named(store: S3Store):
    assert await deployments_of(store, BUCKET) == ([], ())
    await store.put(S3Uri(BUCKET, key("old")), b"{}")
    assert (await verify(store, BUCKET, "ledger")).whole

    # Five operations end at once; one of them writes its report by two attempts at the same time.
    names = ["a1", "a2", "a3", "a4", "a5"]
    writers = (write_report(store, BUCKET, samples.done(operation=name)) for name in [*names, "a3"])
    await asyncio.gather(*writers)
    verified = await verify(store, BUCKET, "ledger")
    assert verified.whole, verified.faults
    assert (verified.reports, verified.before) == (5, 1)
    assert [number for number, _ in verified.hashes] == list(range(1, verified.links + 1))
    assert await deployments_of(store, BUCKET) == (["ledger"], ())

    began = time.monotonic()
    await write_report(store, BUCKET, samples.done(operation="a6"))
    assert time.monotonic() - began < 10, "it is written while a person waits"
    later = await verify(store, BUCKET, "ledger")
    assert against([later], [verified.head or ""]) == [(verified.head, later, verified.head_number)]

    body = bytearray((await store.get(S3Uri(BUCKET, key("a2")))).body)
    body[200] ^= 1
    await store.put(S3Uri(BUCKET, key("a2")), bytes(body))
    await store.delete(S3Uri(BUCKET, key("a6", "html")))
    await store.put(S3Uri(BUCKET, key("a9")), b"{}")
    assert await faults(store) == {
        (FaultKind.ALTERED, key("a2")),
        (FaultKind.MISSING, key("a6", "html")),
        (FaultKind.INSERTED, key("a9")),
    }
