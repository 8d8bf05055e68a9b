"""The event generator: payments at a steady rate into a topic, each exactly once, counted when acknowledged.

    python -m ledger.generator --bootstrap HOST:PORT --topic payments --rate 1000 --state payments.json -o json
    python -m ledger.generator --follow --region east=HOST:PORT --region west=HOST:PORT --topic payments

Runs until ``--count`` payments are made or SIGTERM or SIGINT comes; then flushes, saves its state, prints its totals.
Ends with 0 (everything made was acknowledged), 1 (something was not), 2 (bad arguments), 5 (cannot reach Kafka).
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ledger.arguments import add_kafka_arguments, kafka_properties, one_of, regions
from ledger.faults import BadInput, LedgerError
from ledger.following import FollowingGenerator
from ledger.lineage import ControlBucket, LineageFollower
from ledger.payments import PaymentSettings
from ledger.producing import FollowTotals, Generator, GeneratorSettings


def parser() -> argparse.ArgumentParser:
    """The arguments; ``--help`` shows them."""
    out = argparse.ArgumentParser(
        prog="python -m ledger.generator",
        description="Example:\n  python -m ledger.generator --bootstrap 127.0.0.1:9092 --topic payments --rate 1000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_kafka_arguments(out)
    out.add_argument(
        "--follow", action="store_true", help="write where the topic's lineage in the control bucket says; see --region"
    )
    out.add_argument("--topic", default="payments", help="topic of the payments (default: payments)")
    out.add_argument(
        "--partitions", type=int, default=4, help="partitions of the topic if it must be made (default: 4)"
    )
    out.add_argument("--rate", type=float, default=1000.0, help="payments per second (default: 1000)")
    out.add_argument("--accounts", type=int, default=1000, help="how many accounts (default: 1000)")
    out.add_argument("--skew", type=float, default=1.1, help="exponent of Zipf's law; 0: all alike (default: 1.1)")
    out.add_argument("--count", type=int, help="stop after so many payments (default: at SIGTERM)")
    out.add_argument("--seed", type=int, default=1, help="the same seed makes the same payments (default: 1)")
    out.add_argument("--state", type=Path, metavar="FILE", help="keeps the accounts' sequences for the next run")
    out.add_argument(
        "--acked", type=Path, metavar="FILE", help="append id,region,partition,offset of what is confirmed"
    )
    out.add_argument("--flush-s", type=float, default=60.0, help="at the end, wait so long for the last ones (60)")
    out.add_argument("-o", dest="form", choices=["text", "json"], default="text", help="form of the totals")
    return out


def settings_of(arguments: argparse.Namespace) -> GeneratorSettings:
    """Check and gather the arguments. Raises `BadInput`."""
    for name, least in (("partitions", 1), ("rate", 0.001), ("accounts", 1), ("skew", 0), ("count", 1), ("flush_s", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise BadInput(f"--{name.replace('_', '-')} {value}: expected at least {least}")
    return GeneratorSettings(
        bootstrap=arguments.bootstrap or "",
        topic=arguments.topic,
        properties=kafka_properties(arguments),
        partitions=arguments.partitions,
        rate_per_s=arguments.rate,
        count=arguments.count,
        payments=PaymentSettings(accounts=arguments.accounts, skew=arguments.skew, seed=arguments.seed),
        state=arguments.state,
        acked=arguments.acked,
    )


def generator_of(arguments: argparse.Namespace, finished: threading.Event) -> Generator | FollowingGenerator:
    """The generator that is asked for. Raises `BadInput`."""
    one_of(arguments, "--follow", asked=arguments.follow)
    settings = settings_of(arguments)
    if not arguments.follow:
        return Generator(settings, finished=finished)
    follower = LineageFollower(ControlBucket(settings.topic))
    return FollowingGenerator(settings, regions(arguments), follower, finished=finished)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    try:
        generator = generator_of(arguments, asked_to_stop)
        generator.start()
        asked_to_stop.wait()
        totals = generator.stop(flush_s=arguments.flush_s)
    except LedgerError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    if arguments.form == "json":
        sys.stdout.write(json.dumps(asdict(totals)) + "\n")
    else:
        sys.stdout.write(
            f"sent {totals.sent:,} · acknowledged {totals.acked:,} · errors {totals.errors:,} · "
            f"unresolved {totals.unresolved:,} in {totals.elapsed_s:,.1f} s\n"
        )
        if isinstance(totals, FollowTotals):
            sys.stdout.write(
                f"switches {totals.switches:,} · refused {totals.refused:,} · handed over again {totals.resent:,} · "
                f"found in the new region {totals.found_there:,}\n"
            )
    return 0 if totals.acked == totals.sent else 1


if __name__ == "__main__":
    sys.exit(main())
