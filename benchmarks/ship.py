"""``make bench-ship``: a snapshot shipped to another server, against a plain parallel copy of the same objects.

    python -m benchmarks.ship --pairs 7 -o json

Ends with 0 if every bound holds, 1 if one does not. README.md beside this file says how to read the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks import pairs, running
from benchmarks.buckets import PARALLEL, client_of, in_parallel, list_below
from benchmarks.checkpoint import HERE, Checkpoint
from benchmarks.pairs import Comparison, Result
from benchmarks.running import say
from tests.kit.weed import ACCESS, BUCKET, SECRET, running_weed
from tidegate.clients.s3 import open_store
from tidegate.errors import OperationFailed
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.place import Place
from tidegate.snapshot.ship import ship

AT_MOST = 1.5
MIB = 1 << 20
LOADS = (
    ("many small", Checkpoint("small", files=500, file_bytes=64 << 10)),
    ("few large", Checkpoint("large", files=6, file_bytes=20 * MIB, subtasks=2)),
)
"""A file of 64 KiB goes in one request, one of 20 MiB in three parts."""


async def compare(east: str, west: str, name: str, load: Checkpoint, asked: argparse.Namespace) -> Comparison:
    """One load by both ways, each time to a folder of its own that is emptied afterwards."""
    say(f"{name}: {load.files:,} files of {load.file_bytes / MIB:g} MiB")
    entry = await asyncio.to_thread(load.put, east)
    source, target = client_of(east), client_of(west)
    names = list_below(source, BUCKET, f"{load.root}/")
    number = 0

    def empty(folder: str) -> int:
        there = list_below(target, BUCKET, f"{folder}/")
        in_parallel(lambda key: target.delete_object(Bucket=BUCKET, Key=key), there)
        return sum(there.values())

    async with open_store(east, ACCESS, SECRET) as here, open_store(west, ACCESS, SECRET) as there:

        async def ours() -> float:
            nonlocal number
            number += 1
            home = f"shipped-{number}-{load.root}"
            place = Place(entry.deployment, "west", f"{HERE}{home}/savepoints", f"{HERE}{home}/checkpoints")
            began = time.perf_counter()
            done = await ship(here, there, entry, place, Pace(parallel=PARALLEL))
            took_s = time.perf_counter() - began
            if done.progress.sent != load.total_bytes:
                raise OperationFailed(f"sent {done.progress.sent:,} bytes of {load.total_bytes:,}")
            await asyncio.to_thread(empty, home)
            return took_s

        def copy(key: str) -> None:
            body = source.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            target.put_object(Bucket=BUCKET, Key=f"copied-{key}", Body=body)

        def plain() -> float:
            began = time.perf_counter()
            in_parallel(copy, names)
            took_s = time.perf_counter() - began
            copied = empty(f"copied-{load.root}")
            if copied != sum(names.values()):
                raise OperationFailed(f"copied {copied:,} bytes of {sum(names.values()):,}")
            return took_s

        async def other() -> float:
            return await asyncio.to_thread(plain)

        turns = await running.in_turns(name, ours, other, asked.pairs, asked.warmup)
    source.close()
    target.close()
    what = f"{name} ({load.files:,} files of {load.file_bytes / MIB:g} MiB)"
    amount = load.total_bytes / 1e6
    return pairs.compare(turns, what, "ship", "plain copy", amount=amount, unit="MB", at_most=AT_MOST)


async def bench(asked: argparse.Namespace) -> int:
    """The exit status."""
    with running_weed() as east, running_weed() as west:
        found = [await compare(east, west, name, load, asked) for name, load in LOADS]
    return running.answer(Result(benchmark="ship", comparisons=tuple(found)), asked.form)


def main() -> None:
    """Run as ``python -m benchmarks.ship``."""
    parser = running.options("ship", __doc__)
    running.turn_options(parser, turns=7, warmup=1)
    running.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
