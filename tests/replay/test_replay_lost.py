"""The ends of lost failovers are recorded, too; ``test_replay`` replays them with all others (O20)."""

from __future__ import annotations

from tests.replay.record import HISTORIES
from tests.replay.record_lost import LOST_ALONE, LOST_REGIONS, MEMBER


def test_every_end_of_a_lost_failover_is_recorded() -> None:
    names = {path.name.removesuffix(".json.gz") for path in HISTORIES.glob("*.json.gz")}
    assert names >= {*LOST_ALONE, *LOST_REGIONS, MEMBER}
