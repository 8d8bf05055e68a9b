"""The fake Flink clusters of ``benchmarks.rto``, in a process of their own: Flink's REST over HTTP on loopback.

    python -m benchmarks.rto_flink --clusters 2 --slots 32 --start-s 1.5

Prints one URL a line, then serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import contextlib
import sys

from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_model import Program
from tests.kit.flink_fake_net import FlinkNet

COPY = "s3://west/copy"
"""The snapshot that every job starts from; it is known to each cluster."""


def main() -> None:
    """Run as ``python -m benchmarks.rto_flink``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rto_flink", description=__doc__)
    parser.add_argument("--clusters", type=int, default=1)
    parser.add_argument("--slots", type=int, default=16, help="of each cluster")
    parser.add_argument("--start-s", type=float, default=1.5, help="from accepted to all tasks running")
    asked = parser.parse_args()
    program = Program(start_takes_s=asked.start_s)
    with contextlib.ExitStack() as stack:
        for _ in range(asked.clusters):
            flink = FakeFlink(
                slots=asked.slots,
                checkpoint_interval_ms=None,
                program=lambda _jar, _args: program,
                snapshots={COPY: 12},
            )
            print(stack.enter_context(FlinkNet(flink).serve()), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
