"""A lost region's deployments come back in the order of their tiers, and nothing that can wait stands in their way."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from tests.kit.eventually import eventually
from tests.kit.temporal_world_facts import Block
from tests.kit.temporal_world_region import RegionWorld
from tests.workflow.test_failover_region import region
from tidegate import errors
from tidegate.model.failover import Answers
from tidegate.model.operation import Outcome
from tidegate.model.region import FAILOVER_REGION

GONE = Answers(region="east", flink="no answer", kafka="no answer", s3="no answer")
FAMILIES = [(), (("a",), ("b",))]
"""Both share links, or each has its own."""


def _lost(families: tuple[tuple[str, ...], ...]) -> RegionWorld:
    world = RegionWorld({"a": 0, "b": 1}, **({"families": families} if families else {}))
    world.home = GONE
    return world


@pytest.mark.parametrize("families", FAMILIES)
async def test_a_lower_tier_is_made_ready_while_the_one_before_it_starts_and_starts_after_it(
    client: Client, families: tuple[tuple[str, ...], ...]
) -> None:
    world, block = _lost(families), Block()
    world.will("ensure_running", "a", block)
    async with region(client, world, unplanned=True) as run:
        await block.entered.wait()

        async def ready() -> None:
            assert ("shut_home", "b") in world.told

        await eventually(ready)
        assert ("ensure_running", "b") not in world.told
        block.released.set()
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]
    assert world.order("ensure_running") == [("ensure_running", "a"), ("ensure_running", "b")]


@pytest.mark.parametrize("families", FAMILIES)
async def test_it_is_not_made_ready_before_that_one_has_left(
    client: Client, families: tuple[tuple[str, ...], ...]
) -> None:
    """What the first tier needs of workers and stores it has for itself."""
    world, block = _lost(families), Block()
    world.will("shut_home", "a", block)
    async with region(client, world, unplanned=True) as run:
        await block.entered.wait()
        assert ("take", "b") not in world.told
        block.released.set()
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]


@pytest.mark.parametrize("step", ["shut_home", "ensure_running"])
@pytest.mark.parametrize("families", FAMILIES)
async def test_a_lower_tier_does_not_wait_for_one_that_stands_halted(
    client: Client, families: tuple[tuple[str, ...], ...], step: str
) -> None:
    world = _lost(families)
    world.will(step, "a", errors.MustHalt("it needs a person"))
    async with region(client, world, unplanned=True) as run:

        async def there() -> None:
            assert ("release", "b") in world.told, "audited and reported, while the other one waits for a person"

        await eventually(there)
        (child,) = world.requests["halt"]
        await client.get_workflow_handle(child.held.holder.operation).execute_update("resume", {"by": "bob"})
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.DONE]


@pytest.mark.parametrize("unplanned", [False, True])
@pytest.mark.parametrize("families", FAMILIES)
async def test_nothing_is_audited_before_all_run_there(
    client: Client, families: tuple[tuple[str, ...], ...], *, unplanned: bool
) -> None:
    world = _lost(families)
    world.home = GONE if unplanned else Answers(region="east")
    async with region(client, world, unplanned=unplanned) as run:
        result = await run.done()
    assert [one.verdict and one.verdict.audited for one in result.members] == [True, True]
    order = [name for name, _ in world.order("open_group", "audit")]
    assert order.index("audit") > max(n for n, name in enumerate(order) if name == "open_group")


async def test_one_that_went_back_waits_for_nobody(client: Client) -> None:
    world = RegionWorld({"a": 0, "b": 0}, families=(("a",), ("b",)))
    world.will("stop_deployment", "b", errors.SavepointFailed("no space"))
    async with region(client, world) as run:
        result = await run.failed("Undone")
    assert [one.outcome for one in result.members] == [Outcome.DONE, Outcome.UNDONE]


async def test_rto_and_rpo_of_a_lower_tier_count_from_the_loss_of_the_region(client: Client) -> None:
    world = _lost(())
    async with region(client, world, unplanned=True) as run:
        result = await run.done()
    reports = {one.deployment: one for one in world.requests["write_report"] if one.runbook != FAILOVER_REGION}
    assert reports["a"].started < reports["b"].started
    first, second = (reports[name].failover for name in ("a", "b"))
    assert first is not None
    assert second is not None
    assert first.input_until == second.input_until
    assert first.rpo_s == second.rpo_s, "one loss, however late its turn came"
    assert first.rto_s == second.rto_s, "both wrote first at one time"
    assert [one.rto_s for one in result.members] == [first.rto_s, second.rto_s]


@pytest.mark.parametrize("tiers", [(0, 0, 0, 0, 0), (0, 0, 1, 1, 1), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("unplanned", [True, False], ids=["unplanned", "planned"])
async def test_i4_no_more_are_on_their_way_at_once_than_was_asked(
    client: Client, tiers: tuple[int, ...], unplanned: bool
) -> None:
    """Of a thousand each would wait for all others, longer than its steps may take."""
    names = dict(zip("abcde", tiers, strict=False))
    world = RegionWorld(names, () if unplanned else tuple((name,) for name in names))
    async with region(client, world, unplanned=unplanned, at_once=2) as run:
        result = await run.done()
    assert [one.outcome for one in result.members] == [Outcome.DONE] * len(tiers)
    way: set[str] = set()
    most = 0
    for step, name in world.told:
        way |= {name} if step == "take" else set()
        way -= {name} if step == "ensure_running" else set()
        most = max(most, len(way))
    # Those of the next tier are made ready meanwhile, no more of them either.
    assert most <= (4 if unplanned and len(set(tiers)) > 1 else 2)
    started = [names[name] for step, name in world.told if step == "ensure_running"]
    assert started == sorted(started), "the highest tier first"
