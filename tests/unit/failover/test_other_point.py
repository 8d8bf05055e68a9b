"""X21: who takes a failover over may go on from another recovery point; what that one holds counts, wherever it is."""

from __future__ import annotations

import pytest

from tests.kit.failover_regions import BUCKET
from tests.kit.failover_world import FailoverWorld
from tidegate.lineage.read import counted
from tidegate.points.model import OutputCut
from tidegate.points.store import PointStore

IN_THE_EAST = 6
"""Balances of each partition that the job had written, and that have crossed."""


async def _first_from(world: FailoverWorld, upto: int, later: tuple[tuple[int, int], ...]) -> None:
    """Given up, and gone on from an older point; its operation is lost behind the cut."""
    await world.place_snapshot((upto, upto))
    cut = OutputCut(upto=upto, last=upto - 1, first_later=later[0][0] if later else None, later=later)
    await world.place_points(world.point(upto, outputs={f"balances/{n}": cut for n in (0, 1)}))
    await world.traffic("east", 2)
    world.kafka["east"].down = world.connect["east"].down = world.driver["east"].down = True
    world.unplanned = True
    for step in (world.close, world.shut, world.cut):
        await step(world.sides())


async def _then_from(world: FailoverWorld, upto: int) -> None:
    """Who takes it over goes on from another one, that nobody could vouch for before."""
    await world.place_snapshot((upto, upto), number=13)
    store = PointStore(world.control, BUCKET)
    stored = await store.read("ledger", "west")
    assert stored.points is not None
    await store.write(stored, stored.points.model_copy(update={"points": (world.point(upto, number=13),)}))
    await world.take("failover-ledger-2", take_over=True)
    await world.close(world.sides(), take_over=True)
    for step in (world.shut, world.cut):
        await step(world.sides())


async def _count(world: FailoverWorld, region: str | None) -> dict[str, list[int]]:
    """The offsets below what has crossed that count, by partition: where each was written, or in one region's log."""
    known = await world.lineage("balances")
    assert known is not None
    found: dict[str, list[int]] = {}
    for name, partition in known.partitions.items():
        parts = [one for one in counted(partition, region) if one.region == (region or "east")]
        found[name] = [at for at in range(IN_THE_EAST) if any(one.counts(at) for one in parts)]
    return found


@pytest.mark.parametrize("later", [(), ((1, 2),)])
@pytest.mark.parametrize("upto", [6, 5, 4, 3])
async def test_x21_what_the_newer_point_holds_counts_in_both_regions(
    upto: int, later: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that starts from it does not write that again: not counted, it would be lost to every reader."""
    world = (await FailoverWorld.made()).patch(monkeypatch)
    await _first_from(world, 3, later)
    await _then_from(world, upto)
    whole = list(range(upto))
    assert await _count(world, None) == {"0": whole, "1": whole}
    in_the_west = await _count(world, "west")
    assert {name: found[:upto] for name, found in in_the_west.items()} == {"0": whole, "1": whole}


@pytest.mark.parametrize("upto", [3, 2])
async def test_x21_what_the_older_point_lacks_counts_nowhere(upto: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = (await FailoverWorld.made()).patch(monkeypatch)
    await _first_from(world, 5, ())
    await _then_from(world, upto)
    assert await _count(world, None) == {"0": list(range(upto)), "1": list(range(upto))}
