"""Shipping between two real S3 servers, the process killed at random moments: complete, and hardly anything twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from tests.kit.snapshots import Job
from tests.kit.weed import ACCESS, BUCKET, SECRET, running_weed
from tidegate.clients.s3 import S3Store, open_store
from tidegate.snapshot.files import verify
from tidegate.snapshot.shipped import read_shipped

BYTES = int(os.environ.get("TIDEGATE_SHIP_BYTES", "100000000"))
"""About how large the snapshot is. Sent at 48 MiB/s about forty times, so 2 GB take half an hour and 50 GB of disk."""
SCALE = BYTES / 100_000_000

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(int(1200 * max(1.0, SCALE / 4)))]

KILLS = 20
SEED = int(os.environ.get("TIDEGATE_SEED", "7"))
MIB = 1 << 20
SHARED = {
    "a.sst": int(37 * MIB * SCALE) + 11,
    "b.sst": int(21 * MIB * SCALE),
    "c.sst": int(5 * MIB * SCALE),
    "d.sst": 300_000,
    "empty.sst": 0,
}
PRIVATE = {f"own-{n:02}": int(2 * MIB * SCALE) + n for n in range(16)}


@dataclass
class Two:
    """East with a snapshot, west empty."""

    east: str
    west: str
    total: int
    digests: dict[str, str]


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    # What is removed there is not given back at once: each turn's copy takes room of its own.
    with running_weed() as east, running_weed(volume_mb=max(64, int(20 * SCALE) * 5)) as west:
        client = boto3.session.Session().client(
            "s3", endpoint_url=east, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        job = Job(base=f"s3://{BUCKET}/checkpoints")
        here = f"s3://{BUCKET}/"
        digests: dict[str, str] = {}
        rng = random.Random(SEED)
        files = {job.shared(name): size for name, size in SHARED.items()}
        files |= {f"{job.location(12)}/{name}": size for name, size in {"keyed-meta": 40, **PRIVATE}.items()}
        for uri, size in files.items():
            body = b"".join(rng.randbytes(min(64 * MIB, size - at)) for at in range(0, size, 64 * MIB))
            digests[uri] = hashlib.sha256(body).hexdigest()
            client.put_object(Bucket=BUCKET, Key=uri.removeprefix(here), Body=body)
        metadata = job.metadata(12, SHARED, PRIVATE)
        client.put_object(Bucket=BUCKET, Key=f"{job.location(12)}/_metadata".removeprefix(here), Body=metadata)
        client.close()
        yield Two(east, west, sum(files.values()), digests)


@pytest.fixture
async def west(two: Two) -> AsyncIterator[S3Store]:
    async with open_store(two.west, ACCESS, SECRET) as store:
        yield store


def _begin(two: Two, root: str, log: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.integration.snapshot.shipping", two.east, two.west, root, str(log)]
    here = Path(__file__).parents[3]
    child = subprocess.Popen(argv, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begins\n", child.communicate()[1]
    return child


def _finish(child: subprocess.Popen[str]) -> str:
    out, err = child.communicate(timeout=120 * max(1.0, SCALE / 4))
    assert child.returncode == 0, err
    return out.strip()


def _kill(child: subprocess.Popen[str], after_s: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(after_s)
    child.kill()
    child.communicate()


def _root() -> str:
    """A place of its own in the bucket: SeaweedFS sets volumes aside for each bucket, and has few."""
    return f"{BUCKET}/{uuid.uuid4().hex[:8]}"


async def _remove(store: S3Store, root: str) -> None:
    for item in [item async for item in store.list(f"s3://{root}/")]:
        await store.delete(item.uri)


async def _is_the_same(store: S3Store, two: Two, location: str) -> None:
    record = await read_shipped(store, location)
    assert record is not None
    assert {file.source: file.sha256 for file in record.files} == two.digests
    for file in record.files:
        assert hashlib.sha256((await store.get(file.target)).body).hexdigest() == file.sha256, file
    assert (await verify(store, location)).files == len(two.digests) + 1


async def test_o16_killed_at_random_moments_it_ends_complete_and_identical_and_sends_little_twice(
    two: Two, west: S3Store, tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    worst, half = 0.0, 0
    for turn in range(KILLS):
        root, log = _root(), tmp_path / f"sent-{turn}"
        child = _begin(two, root, log)
        # Anywhere in the time that the bandwidth lets it take.
        _kill(child, after_s=rng.uniform(0.0, two.total / (48 * MIB)))
        there = [item.uri.name async for item in west.list(f"s3://{root}/")]
        half += bool(there) and "_metadata" not in there
        location = _finish(_begin(two, root, log))
        await _is_the_same(west, two, location)
        sent = sum(map(int, log.read_text().split()))
        worst = max(worst, sent / two.total)
        await _remove(west, root)
    print(f"seed {SEED}: {KILLS} kills, {half} left something half-way, worst case sent {worst:.3f} x {two.total:,} B")
    assert half > KILLS // 3, "the kills came too early or too late to prove anything"
    assert worst <= 1.1


async def test_o16_killed_again_and_again_in_one_shipment_it_comes_to_its_end(
    two: Two, west: S3Store, tmp_path: Path
) -> None:
    rng = random.Random(SEED + 1)
    root, log = _root(), tmp_path / "sent"
    for _ in range(5):
        child = _begin(two, root, log)
        _kill(child, after_s=rng.uniform(0.1, 0.6))
    location = _finish(_begin(two, root, log))
    await _is_the_same(west, two, location)
    sent = sum(map(int, log.read_text().split()))
    # Each kill costs at most what was under way: two parts of 5 MiB.
    assert sent <= two.total + 5 * 2 * 5 * MIB


async def test_o16_two_processes_at_once_make_one_copy(two: Two, west: S3Store, tmp_path: Path) -> None:
    root = _root()
    one, other = (_begin(two, root, tmp_path / f"sent-{n}") for n in range(2))
    locations = {_finish(one), _finish(other)}
    assert len(locations) == 1
    await _is_the_same(west, two, locations.pop())
