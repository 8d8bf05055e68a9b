"""KeepRecoveryPoints: one long step, then anew; ended by a word only."""

from __future__ import annotations

from temporalio.client import Client

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.model.keep import KeepInput


async def _keep(client: Client, deployment: str = "ledger") -> Run:
    run = await begin(client, "KeepRecoveryPoints", KeepInput, deployment=deployment)
    return Run(client.get_workflow_handle(run.handle.id))  # whichever run it is: it begins anew


async def test_when_its_time_is_over_it_goes_on_anew_until_it_is_aborted_o19(client: Client, world: World) -> None:
    block = world.block("keep_points")
    run = await _keep(client)
    await block.entered.wait()
    last = world.block("keep_points")
    block.released.set()
    await last.entered.wait()  # a second run: the first watch has ended well
    assert world.names() == ["locate", "keep_points", "locate", "keep_points"]

    async def aborted() -> None:
        assert "no longer kept" in await run.update("abort", why="moves")

    await eventually(aborted)
    result = await run.failed("Undone")
    assert (result.summary, result.why) == ("recovery points are no longer kept", "aborted by bob: moves")


async def test_a_part_that_is_away_is_asked_again_and_a_second_keeper_is_refused(client: Client, world: World) -> None:
    world.will("keep_points", errors.Unavailable("west is away"), errors.BasisChanged("written by somebody else"))
    result = await (await _keep(client)).failed("BasisChanged")
    assert "somebody else" in result.why
    assert world.names().count("keep_points") == 2


async def test_an_unknown_deployment_is_bad_input(client: Client, world: World) -> None:
    assert "not in the fleet file" in (await (await _keep(client, "leger")).failed("InvalidInput")).why


async def test_each_watch_begins_where_the_deployment_lives(client: Client, world: World) -> None:
    block = world.block("keep_points")
    run = await _keep(client)
    await block.entered.wait()
    (located,), (step,) = world.requests("locate"), world.requests("keep_points")
    assert (located.by_record, step.at) == (True, "east/cell-1")
    await run.update("abort", why="enough")
    block.released.set()
    await run.failed("Undone")
