"""SweepSnapshots: it holds nothing, says what would go, and never says "nothing was changed" when something was."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client

from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tidegate import errors
from tidegate.model.operation import Outcome, StepState
from tidegate.model.sweep import SweepInput
from tidegate.names import region_queue


async def _sweep(client: Client, **fields: Any) -> Run:
    return await begin(client, "SweepSnapshots", SweepInput, **{"requested_by": "ana", **fields})


async def test_it_looks_sweeps_and_reports(client: Client, world: World) -> None:
    run = await _sweep(client)
    result = await run.done()
    assert result.outcome is Outcome.DONE
    assert result.summary.startswith("1.4 MiB freed: 2 snapshots, 15 files, 1 uploads given up; asked for meanwhile: ")
    assert world.names() == ["locate", "look_at_sweep", "sweep_snapshots", "write_report"]
    assert {queue for name, queue, _ in world.calls if "sweep" in name} == {region_queue("east")}
    assert world.record.holder is None
    (report,) = world.reports
    assert [(row.name, row.state) for row in report.steps][:2] == [("observe", StepState.OK), ("sweep", StepState.OK)]
    status = await run.status()
    assert [row.state for row in status.steps] == [StepState.OK] * 3


async def test_both_steps_count_ages_from_one_moment_also_in_another_region(client: Client, world: World) -> None:
    await (await _sweep(client, region="west", keep=2, older_than_s=60)).done()
    (look,), (sweep,) = world.requests("look_at_sweep"), world.requests("sweep_snapshots")
    assert look == sweep
    assert (sweep.region, sweep.keep, sweep.older_than_s) == ("west", 2, 60)
    await (await _sweep(client, as_of="2026-01-01T00:00:00Z")).done()
    assert f"{world.requests('sweep_snapshots')[-1].as_of:%Y-%m-%d}" == "2026-01-01"


async def test_a_dry_run_removes_nothing_and_says_what_it_would(client: Client, world: World) -> None:
    result = await (await _sweep(client, dry_run=True)).done()
    assert result.outcome is Outcome.PLANNED
    assert "in east would go: 3 snapshots (e6-chk-1, e6-chk-2), 7 stay" in result.summary
    assert "20 files, 1.9 MiB" in result.summary
    assert (world.swept, world.names()) == (0, ["locate", "look_at_sweep"])


async def test_held_is_a_refusal_and_any_other_one_in_the_middle_is_not(client: Client, world: World) -> None:
    world.will("sweep_snapshots", errors.Held("ledger is held by upgrade-1", hint="watch it"))
    result = await (await _sweep(client)).failed("Held")
    assert (result.outcome, result.summary) == (Outcome.REFUSED, "nothing was changed")
    world.will("sweep_snapshots", errors.Refused("a copy cannot be read"))
    result = await (await _sweep(client)).failed("Undone")
    assert result.summary == "not all that was to go is gone; what stays is whole"
    world.will("look_at_sweep", errors.Refused("a copy cannot be read"))
    result = await (await _sweep(client)).failed("Refused")
    assert result.summary == "nothing was changed"
    assert len(world.reports) == 3


async def test_a_store_that_is_away_is_tried_again(client: Client, world: World) -> None:
    world.will("sweep_snapshots", errors.Unavailable("east does not answer"), errors.Unavailable("nor now"))
    assert (await (await _sweep(client)).done()).outcome is Outcome.DONE
    assert world.names().count("sweep_snapshots") == 3


async def test_abort_and_cancel_stop_in_good_order_o11(client: Client, world: World) -> None:
    for cancel in (False, True):
        block = world.block("sweep_snapshots")
        run = await _sweep(client)
        await block.entered.wait()
        if cancel:
            await run.handle.cancel(reason="typo")
        else:
            assert "what stays is whole" in await run.update("abort", why="wrong region")
        result = await run.failed("Undone")
        assert result.summary == "not all that was to go is gone; what stays is whole"
        assert ("typo" if cancel else "wrong region") in result.why
    assert world.swept == 0
