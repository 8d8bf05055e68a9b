"""How much memory and time an audit takes, in a process of its own. By hand, from the project's root:

python -m tests.unit.ledger.measure_memory 10000000
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil

from ledger.audit_clock import OutputClock
from ledger.audit_log import Record
from ledger.audit_state import Audit
from ledger.payments import Payments, PaymentSettings

BATCH = 5_000


def batches(first: int, count: int, totals: dict[bytes, int] | None, payments: Iterator) -> Iterator[list[Record]]:
    """Payments as the generator makes them, or with ``totals`` their right outputs; a fresh batch at a time."""
    at = first
    while batch := list(islice(payments, min(BATCH, first + count - at))):
        records: list[Record] = []
        for key, payment in batch:
            value = payment
            if totals is not None:
                totals[key] = totals.get(key, 0) + int(payment.rsplit(b",", 1)[1])
                value = b"%b,%d,1" % (payment, totals[key])
            records.append((0, at, 1_700_000_000_000 + at // 1_000 * 1_000 + at % 20, key, value))
            at += 1
        yield records


def peak_mib() -> float:
    """This program's own peak. On Linux ``ru_maxrss`` begins with the size of the process that it was forked from."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def main(events: int) -> dict[str, float]:
    """Audit a quarter of the events, then the rest: the difference is what each payment costs."""
    process = psutil.Process()
    audit, clock = Audit(), OutputClock()
    payments = [iter(Payments(PaymentSettings(seed=3))) for _ in range(2)]
    totals: dict[bytes, int] = {}
    rss, spent_s = [], 0.0
    for first, count in ((0, events // 4), (events // 4, events - events // 4)):
        for batch in batches(first, count, None, payments[0]):
            begin_s = time.perf_counter()
            audit.add_input(batch)
            spent_s += time.perf_counter() - begin_s
        for batch in batches(first, count, totals, payments[1]):
            begin_s = time.perf_counter()
            clock.add(batch)
            audit.add_output(batch)
            spent_s += time.perf_counter() - begin_s
        rss.append(process.memory_info().rss)
    return {
        "input": audit.input,
        "missing": audit.missing,
        "faults": audit.wrong + audit.duplicated + audit.unexpected + len(audit.held),
        "bytes_per_event": (rss[1] - rss[0]) / (events - events // 4),
        "max_rss_mib": peak_mib(),
        "records_per_s": 2 * events / spent_s,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]))) + "\n")
