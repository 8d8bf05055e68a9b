"""What holds for all tests."""

from __future__ import annotations

import gc

from hypothesis import HealthCheck, settings

# How long an example takes, and how long it takes to think of one, says how busy the machine is.
settings.register_profile("tidegate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidegate")


def pytest_collection_finish() -> None:
    """What was imported and collected lives to the end: the garbage collector need not look through it each time.

    It is most of the heap; without it a full collection is over at once. Each test on Temporal ends with one.
    """
    gc.collect()
    gc.freeze()
