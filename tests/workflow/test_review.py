"""ReviewReadiness: it asks, reports what was found, and holds nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.client import Client

from tests.kit.eventually import eventually
from tests.kit.temporal_env import Run, begin, start_server, upgrade, workers
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import REVIEW
from tidegate import errors
from tidegate.model.operation import Outcome, StepState
from tidegate.model.review import OUTAGE_S, REVIEW_READINESS, ReviewInput
from tidegate.names import CONTROL_QUEUE, region_queue
from tidegate.temporal.pollers import pollers


async def _review(client: Client, **fields: Any) -> Run:
    return await begin(client, REVIEW_READINESS, ReviewInput, **{"requested_by": "ana", **fields})


async def test_it_asks_and_reports_what_was_found_i8(client: Client, world: World) -> None:
    run = await _review(client, reason="monday")
    result = await run.done()
    assert (result.outcome, result.summary) == (Outcome.DONE, "76 of 100 · 1 breach · 1 warning")
    assert world.names() == ["locate", "review_readiness", "write_report"]
    # One region may be what is away: it is asked from where the workflows run.
    assert {queue for name, queue, _ in world.calls if name == "review_readiness"} == {CONTROL_QUEUE}
    (asked,) = world.requests("review_readiness")
    assert (asked.deployment, asked.outage_s) == ("ledger", OUTAGE_S)
    (report,) = world.reports
    assert (report.review, report.reason, report.runbook) == (REVIEW, "monday", REVIEW_READINESS)
    assert world.record.holder is None
    assert [row.state for row in (await run.status()).steps] == [StepState.OK] * 3


async def test_a_score_that_is_too_low_is_a_bad_verdict_with_a_report(client: Client, world: World) -> None:
    assert (await (await _review(client, fail_under=76)).done()).outcome is Outcome.DONE
    result = await (await _review(client, fail_under=77)).failed("BadVerdict")
    assert (result.outcome, result.why) == (Outcome.BAD_VERDICT, "the score is below 77: ready/no-room")
    assert result.report
    assert [report.outcome for report in world.reports] == [Outcome.DONE, Outcome.BAD_VERDICT]


async def test_what_it_found_of_drills_is_told_once_a_review_and_nothing_waits_for_it(
    client: Client, world: World
) -> None:
    """Which of it is new the step knows; one that does not answer keeps no review from its end and its report."""
    run = await _review(client)
    await run.done()
    (note,) = world.breaches
    assert (note.review, note.operation) == (REVIEW, run.handle.id)
    block = world.block("note_breaches")
    assert (await (await _review(client)).done()).outcome is Outcome.DONE
    assert world.names()[-1] == "write_report"
    block.released.set()


async def test_breaches_that_could_not_be_told_fail_nothing(client: Client, world: World) -> None:
    world.always["note_breaches"] = RuntimeError("a bug")
    result = await (await _review(client)).done()
    assert (result.outcome, bool(result.report)) == (Outcome.DONE, True)


async def test_it_runs_while_an_operation_holds_the_deployment(client: Client, world: World) -> None:
    block = world.block("switch")
    running = await upgrade(client)
    await block.entered.wait()
    assert (await (await _review(client)).done()).outcome is Outcome.DONE
    assert world.record.holder is not None
    block.released.set()
    await running.done()


async def test_abort_stops_it_at_once_and_it_is_reported(client: Client, world: World) -> None:
    block = world.block("review_readiness")
    run = await _review(client)
    await block.entered.wait()
    assert "nothing was changed" in await run.update("abort", why="not now")
    result = await run.failed("Undone")
    assert result.summary == "not everything was asked; nothing was changed"
    assert "not now" in result.why
    assert world.reports[-1].review is None


async def test_i6_what_never_answers_ends_it_when_its_time_is_over() -> None:
    """Retries to the deadline, in skipped time: it ends undone, says what did not answer, and is reported."""
    async with await start_server(time_skipping=True) as env:
        world = World()
        world.will("review_readiness", *[errors.Unavailable("the control bucket does not answer")] * 500)
        async with workers(env.client, world):
            run = await _review(env.client, deadline_s=30)
            result = await asyncio.wait_for(run.failed("Undone"), 60.0)
    assert "the control bucket does not answer" in result.why
    assert world.names().count("review_readiness") > 3
    assert world.reports[-1].outcome is Outcome.UNDONE


async def test_who_polls_a_queue_is_counted(client: Client, world: World) -> None:
    assert world.record.holder is None

    async def seen() -> None:
        assert await pollers(client, CONTROL_QUEUE) >= 1
        assert await pollers(client, region_queue("east")) >= 1

    await eventually(seen)
    assert await pollers(client, region_queue("nowhere")) == 0
