"""Memory of an audit grows by about ten bytes a payment: ten million fit in well under 300 MB."""

from __future__ import annotations

import json
import subprocess
import sys


def test_bytes_per_event():
    events = 600_000
    command = [sys.executable, "-m", "tests.unit.ledger.measure_memory", str(events)]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=240).stdout)
    assert (measured["input"], measured["missing"], measured["faults"]) == (events, 0, 0)
    # 8 bytes of balance and 1 of state, and what arrays keep ready to grow. Anything kept per record costs 50 or more.
    assert measured["bytes_per_event"] < 16
    assert measured["max_rss_mib"] < 120
