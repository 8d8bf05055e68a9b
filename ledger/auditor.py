"""The auditor's command: reads the input and the committed output of the reference job and gives the verdict.

    python -m ledger.auditor --bootstrap HOST:PORT --input payments --output balances --until-caught-up -o json
    python -m ledger.auditor --lineage --region east=HOST:PORT --region west=HOST:PORT --until-caught-up

Ends with 0 (0/0/0), 7 (anything lost, duplicated, wrong or unexpected), 2 (bad arguments), 5 (Kafka cannot be reached,
or the output has not caught up in time). Standard output holds the verdict and nothing else; logs go to standard error.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ledger.arguments import add_kafka_arguments, kafka_properties, one_of, regions
from ledger.audit_kafka import KafkaLog
from ledger.audit_lineage import LineageLog
from ledger.audit_manifest import Manifest, Superseded, read_manifests
from ledger.audit_run import AuditRun, AuditSettings
from ledger.faults import BadInput, LedgerError
from ledger.lineage import ControlBucket, Lineage, read_lineage
from ledger.verdict import Verdict

logger = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The arguments; ``--help`` shows them."""
    out = argparse.ArgumentParser(
        prog="python -m ledger.auditor",
        description="Example:\n  python -m ledger.auditor --bootstrap 127.0.0.1:9092 "
        "--input payments --output balances --until-caught-up",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_kafka_arguments(out)
    out.add_argument(
        "--lineage", action="store_true", help="read what each region wrote from its own log, by the topics' lineages"
    )
    out.add_argument(
        "--in",
        dest="only",
        metavar="REGION",
        help="with --lineage: read this region's log alone, mirrored and native; all of them if it only lacks inputs",
    )
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
    one_of(arguments, "--lineage", asked=arguments.lineage)
    if arguments.only is not None and not arguments.lineage:
        raise BadInput("--in goes with --lineage")
    manifests = read_manifests(arguments.manifest, topic=arguments.output)
    settings = AuditSettings(
        from_ms=arguments.from_ms,
        to_ms=arguments.to_ms,
        until_caught_up=arguments.until_caught_up,
        timeout_s=arguments.timeout_s,
        no_progress_s=arguments.no_progress_s,
        superseded=Superseded(part for manifest in manifests for part in manifest.superseded),
        mirrored=arguments.only is not None,
    )
    if arguments.lineage:
        return _by_lineage(arguments, manifests, settings)
    properties = kafka_properties(arguments)
    with ExitStack() as stack:
        logs = []
        for topic in (arguments.input, arguments.output):
            log = KafkaLog(arguments.bootstrap, topic, properties, stall_s=_stall_s(arguments))
            stack.callback(log.close)
            logs.append(log)
        return AuditRun(logs[0], logs[1], settings).run()


def _by_lineage(arguments: argparse.Namespace, manifests: Sequence[Manifest], settings: AuditSettings) -> Verdict:
    known, properties = regions(arguments), kafka_properties(arguments)
    if arguments.only is not None and arguments.only not in known:
        raise BadInput(f"--in {arguments.only}: no --region says where that is")

    def run(only: str | None) -> Verdict:
        with ExitStack() as stack:

            def log_of(topic: str, *, keep: bool) -> LineageLog:
                def open_log(region: str) -> KafkaLog:
                    if region not in known:
                        raise BadInput(f"{topic} has records there: name its Kafka with --region {region}=HOST:PORT")
                    log = KafkaLog(known[region], topic, properties, stall_s=_stall_s(arguments))
                    stack.callback(log.close)
                    return log

                return LineageLog(_asking(topic, _stall_s(arguments)), open_log, keep=keep, only=only)

            source, output = log_of(arguments.input, keep=False), log_of(arguments.output, keep=True)
            told = (
                part
                for manifest in manifests
                for r in manifest.superseded
                for part in output.ranges(manifest.region or output.region, r.partition, r.first, r.last)
            )
            superseded = output.superseded.joined(told)
            return AuditRun(source, output, replace(settings, superseded=superseded, mirrored=only is not None)).run()

    verdict = run(arguments.only)
    return verdict if arguments.only is None else or_over_all(verdict, arguments.only, lambda: run(None))


def or_over_all(verdict: Verdict, region: str, over_all: Callable[[], Verdict]) -> Verdict:
    """A region's verdict, unless all that speaks against it is that inputs are not in its log: a job may have read them
    where they were written before it went on there. Then it is that over all regions' logs, if it can be had and is
    good: they count where they stand.
    """
    if not verdict.unexpected or verdict.lost or verdict.duplicated or not verdict.caught_up:
        return verdict
    lacking = f"{verdict.unexpected:,} outputs in {region} are of payments that are not in its log"
    try:
        whole = over_all()
    except LedgerError as error:
        logger.info("%s; over all regions: %s", lacking, error)
        return verdict
    if whole.exit_code != 0:
        logger.info("%s; over all regions the verdict is %s, unexpected %d", lacking, whole.verdict, whole.unexpected)
        return verdict
    return whole.model_copy(update={"note": f"over all regions' logs: {lacking}, and count where they stand"})


def _stall_s(arguments: argparse.Namespace) -> float:
    return min(30.0, float(arguments.timeout_s))


def _asking(topic: str, timeout_s: float) -> Callable[[], Lineage]:
    bucket = ControlBucket(topic)
    return lambda: read_lineage(bucket, timeout_s=timeout_s)


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
