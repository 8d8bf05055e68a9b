"""``make bench-verify``: a snapshot of many files verified, against the bare LIST of the same directories.

    python -m benchmarks.verify --files 10000 --pairs 15 -o json

Ends with 0 if every bound holds, 1 if one does not. README.md beside this file says how to read the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks import pairs, running
from benchmarks.buckets import client_of, list_below
from benchmarks.checkpoint import Checkpoint
from benchmarks.pairs import Result
from benchmarks.running import say
from tests.kit.weed import ACCESS, BUCKET, SECRET, running_weed
from tidegate.clients.s3 import open_store
from tidegate.errors import OperationFailed
from tidegate.snapshot.files import verify

FILES = 10_000
FILE_BYTES = 100
AT_MOST = 1.5


async def bench(asked: argparse.Namespace) -> int:
    """The exit status."""
    with running_weed() as endpoint:
        say(f"putting {asked.files:,} files")
        checkpoint = Checkpoint("verify", asked.files, FILE_BYTES)
        await asyncio.to_thread(checkpoint.put, endpoint)
        client = client_of(endpoint)
        async with open_store(endpoint, ACCESS, SECRET) as store:

            async def ours() -> float:
                began = time.perf_counter()
                verified = await verify(store, checkpoint.location)
                took_s = time.perf_counter() - began
                if verified.files != asked.files + 1:
                    raise OperationFailed(f"verified {verified.files:,} files of {asked.files + 1:,}")
                return took_s

            def bare() -> float:
                began = time.perf_counter()
                listed = sum(len(list_below(client, BUCKET, directory)) for directory in checkpoint.directories)
                took_s = time.perf_counter() - began
                if listed != asked.files + 1:
                    raise OperationFailed(f"listed {listed:,} files of {asked.files + 1:,}")
                return took_s

            async def other() -> float:
                return await asyncio.to_thread(bare)

            turns = await running.in_turns("verify", ours, other, asked.pairs, asked.warmup)
        client.close()
    what = f"a snapshot of {asked.files:,} files"
    found = pairs.compare(turns, what, "verify", "bare LIST", amount=asked.files, unit="files", at_most=AT_MOST)
    return running.answer(Result(benchmark="verify", comparisons=(found,)), asked.form)


def main() -> None:
    """Run as ``python -m benchmarks.verify``."""
    parser = running.options("verify", __doc__)
    running.turn_options(parser, turns=15, warmup=2)
    parser.add_argument("--files", type=int, default=FILES, help=f"files of the snapshot (default {FILES:,})")
    running.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
