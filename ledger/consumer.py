"""A sample consumer: a consumer group that reads a topic where its lineage says, and skips what does not count.

    python -m ledger.consumer --region east=HOST:PORT --region west=HOST:PORT --topic balances --group shop -o json

When the topic turns it goes on in the new region within a second, at the offsets that its group has there: Tidegate
puts them there, translated (X25). It does its part so that none is read twice: while the gate is closed it commits
after each batch, and it reads the old region's segment to its end, if that region answers, before it leaves.

Runs until SIGTERM or SIGINT, ``--count`` records or ``--idle-s`` seconds without one. Ends with 0, 2 (bad arguments), 5
(no word on the topic, or Kafka refuses).
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ledger.arguments import add_region_arguments, kafka_properties, regions
from ledger.consuming import ConsumerSettings, LineageConsumer
from ledger.faults import BadInput, LedgerError
from ledger.lineage import ControlBucket, LineageFollower


def parser() -> argparse.ArgumentParser:
    """The arguments; ``--help`` shows them."""
    out = argparse.ArgumentParser(
        prog="python -m ledger.consumer",
        description="Example:\n  python -m ledger.consumer --region east=127.0.0.1:9092 --region west=127.0.0.1:9192 "
        "--topic balances --group shop",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_region_arguments(out)
    out.add_argument("--topic", default="balances", help="topic to read (default: balances)")
    out.add_argument("--group", default="ledger-consumer", help="consumer group (default: ledger-consumer)")
    out.add_argument(
        "--from-start",
        action="store_true",
        help="a group without offsets begins with the region's log, mirrored records too (default: with its segment)",
    )
    out.add_argument("--count", type=int, help="stop after so many records (default: at SIGTERM)")
    out.add_argument("--idle-s", type=float, help="stop after so many seconds without a record")
    out.add_argument("--out", type=Path, metavar="FILE", help="append region,partition,offset,value of what is read")
    out.add_argument("-o", dest="form", choices=["text", "json"], default="text", help="form of the totals")
    return out


def settings_of(arguments: argparse.Namespace) -> ConsumerSettings:
    """Check and gather the arguments. Raises `BadInput`."""
    if not arguments.region:
        raise BadInput("name each region's Kafka with --region NAME=HOST:PORT")
    for name in ("count", "idle_s"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise BadInput(f"--{name.replace('_', '-')} {value}: expected more than 0")
    return ConsumerSettings(
        topic=arguments.topic,
        group=arguments.group,
        regions=regions(arguments),
        properties=kafka_properties(arguments),
        from_start=arguments.from_start,
        count=arguments.count,
        idle_s=arguments.idle_s,
        out=arguments.out,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    try:
        settings = settings_of(arguments)
        follower = LineageFollower(ControlBucket(settings.topic))
        totals = LineageConsumer(settings, follower, stop=asked_to_stop).run()
    except LedgerError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    if arguments.form == "json":
        sys.stdout.write(json.dumps(totals.as_json()) + "\n")
    else:
        sys.stdout.write(totals.text() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
