"""The auditor's command: reads the input and the committed output of the reference job and gives the verdict.

    python -m ledger.auditor --bootstrap HOST:PORT --input payments --output balances --until-caught-up -o json

Ends with 0 (0/0/0), 7 (anything lost, duplicated, wrong or unexpected), 2 (bad arguments), 5 (Kafka cannot be reached,
or the output has not caught up in time). Standard output holds the verdict and nothing else; logs go to standard error.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ledger.arguments import add_kafka_arguments, kafka_properties
from ledger.audit_kafka import KafkaLog
from ledger.audit_manifest import read_manifests
from ledger.audit_run import AuditRun, AuditSettings
from ledger.faults import BadInput, LedgerError
from ledger.verdict import Verdict


def parser() -> argparse.ArgumentParser:
    """The arguments; ``--help`` shows them."""
    out = argparse.ArgumentParser(
        prog="python -m ledger.auditor",
        description="Example:\n  python -m ledger.auditor --bootstrap 127.0.0.1:9092 "
        "--input payments --output balances --until-caught-up",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_kafka_arguments(out)
    out.add_argument("--input", default="payments", help="topic of the payments (default: payments)")
    out.add_argument("--output", default="balances", help="topic of the balances (default: balances)")
    out.add_argument("--from-ms", type=int, help="begin of the window in which the gap is sought, UTC ms")
    out.add_argument("--to-ms", type=int, help="end of that window, UTC ms")
    out.add_argument(
        "--manifest", type=Path, action="append", default=[], metavar="FILE.json", help="replay manifest; repeatable"
    )
    out.add_argument("--until-caught-up", action="store_true", help="wait for the outputs of what the input holds now")
    out.add_argument("--timeout-s", type=float, default=300.0, help="deadline of the whole audit (default: 300)")
    out.add_argument(
        "--no-progress-s", type=float, default=15.0, help="stop waiting if no missing output came for so long (15)"
    )
    out.add_argument("-o", dest="form", choices=["text", "json"], default="text", help="form of the answer")
    return out


def audit(arguments: argparse.Namespace) -> Verdict:
    """Run the audit that the arguments ask for. Raises `LedgerError`."""
    if None not in (arguments.from_ms, arguments.to_ms) and arguments.to_ms < arguments.from_ms:
        raise BadInput(f"--to-ms {arguments.to_ms} lies before --from-ms {arguments.from_ms}")
    for name in ("timeout_s", "no_progress_s"):
        if getattr(arguments, name) <= 0:
            raise BadInput(f"--{name.replace('_', '-')}: expected more than 0")
    settings = AuditSettings(
        from_ms=arguments.from_ms,
        to_ms=arguments.to_ms,
        until_caught_up=arguments.until_caught_up,
        timeout_s=arguments.timeout_s,
        no_progress_s=arguments.no_progress_s,
        superseded=read_manifests(arguments.manifest, topic=arguments.output),
    )
    properties = kafka_properties(arguments)
    stall_s = min(30.0, arguments.timeout_s)
    with ExitStack() as stack:
        logs = []
        for topic in (arguments.input, arguments.output):
            log = KafkaLog(arguments.bootstrap, topic, properties, stall_s=stall_s)
            stack.callback(log.close)
            logs.append(log)
        return AuditRun(logs[0], logs[1], settings).run()


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        verdict = audit(arguments)
    except LedgerError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    answer = verdict.model_dump_json(indent=2) if arguments.form == "json" else verdict.text()
    sys.stdout.write(answer + "\n")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
