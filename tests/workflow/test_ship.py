"""ShipSnapshots: it changes nothing that runs, holds nothing, and what it says is so."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.client import Client

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.model.operation import Outcome, StepState
from tidegate.model.ship import ShipInput
from tidegate.names import CONTROL_QUEUE, region_queue


async def _ship(client: Client, **fields: Any) -> Run:
    return await begin(client, "ShipSnapshots", ShipInput, **{"requested_by": "ana", **fields})


async def test_it_ships_to_the_standby_and_reports(client: Client, world: World) -> None:
    run = await _ship(client)
    result = await run.done()
    assert result.outcome is Outcome.DONE
    assert "e7-chk-12 is whole in west: s3://west/" in result.summary
    assert world.names() == ["locate", "look_at_snapshot", "ship_snapshot", "write_report"]
    assert {queue for name, queue, _ in world.calls if "snapshot" in name} == {region_queue("east")}
    assert world.record.holder is None
    (report,) = world.reports
    assert [(row.name, row.state) for row in report.steps][:2] == [("observe", StepState.OK), ("ship", StepState.OK)]
    status = await run.status()
    assert [row.state for row in status.steps] == [StepState.OK] * 3
    assert status.report == result.report is not None


async def test_the_input_decides_which_and_where_to(client: Client, world: World) -> None:
    await (await _ship(client, to="south", snapshot="e6-chk-40", bytes_per_s=1e6)).done()
    (step,) = world.requests("ship_snapshot")
    assert (step.region, step.to, step.snapshot, step.bytes_per_s) == ("east", "south", "e6-chk-40", 1e6)


async def test_a_dry_run_sends_nothing_and_says_what_it_would(client: Client, world: World) -> None:
    result = await (await _ship(client, dry_run=True)).done()
    assert result.outcome is Outcome.PLANNED
    assert "to be sent 3 files, 1.9 MiB" in result.summary
    assert world.names() == ["locate", "look_at_snapshot"]


async def test_without_a_standby_it_asks_where_to(client: Client, world: World) -> None:
    world.standby = None
    result = await (await _ship(client)).failed("InvalidInput")
    assert "no standby region" in result.why
    assert world.shipped == []


async def test_x6_what_vanished_is_told_with_what_to_do(client: Client, world: World) -> None:
    world.will("ship_snapshot", errors.SnapshotIncomplete("two vanished", hint="take a native savepoint"))
    result = await (await _ship(client)).failed("Undone")
    assert (result.summary, result.why) == ("no snapshot was shipped", "two vanished (take a native savepoint)")
    assert len(world.reports) == 1


async def test_a_store_that_is_away_is_tried_again(client: Client, world: World) -> None:
    world.will("ship_snapshot", errors.Unavailable("west does not answer"), errors.Unavailable("nor now"))
    assert (await (await _ship(client)).done()).outcome is Outcome.DONE
    assert world.names().count("ship_snapshot") == 3


async def test_abort_and_cancel_stop_sending_in_good_order_o11(client: Client, world: World) -> None:
    for cancel in (False, True):
        block = world.block("ship_snapshot")
        run = await _ship(client)
        await block.entered.wait()
        if cancel:
            await run.handle.cancel(reason="typo")
        else:
            assert "goes on where it stopped" in await run.update("abort", why="wrong hour")
        result = await run.failed("Undone")
        assert result.summary == "no snapshot was shipped"
        assert ("typo" if cancel else "wrong hour") in result.why
    assert world.shipped == []


async def test_region_without_a_worker_is_served_by_the_control_queue_o17(client: Client) -> None:
    """Nobody polls the source's queue: the same step runs on the control queue."""
    from tests.kit.temporal_env import workers  # noqa: PLC0415 (only here: the fixture starts region workers)

    world = World()
    async with workers(client, world, regions=()):
        result = await asyncio.wait_for((await _ship(client)).done(), 60)
    assert result.outcome is Outcome.DONE
    assert {queue for name, queue, _ in world.calls if name == "ship_snapshot"} == {CONTROL_QUEUE}


async def test_its_status_tells_the_running_step(client: Client, world: World) -> None:
    block = world.block("ship_snapshot")
    run = await _ship(client)
    await block.entered.wait()

    async def shown() -> None:
        status = await run.status()
        assert status.activity is not None
        assert status.activity.name == "ship_snapshot"

    await eventually(shown)
    block.released.set()
    await run.done()


async def test_it_ships_from_where_the_deployment_lives(client: Client, world: World) -> None:
    await (await _ship(client)).done()
    (asked,) = world.requests("locate")
    assert asked.by_record
