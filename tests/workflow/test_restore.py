"""RestoreDeployment: priced before it is planned, refused before anything is changed, and the way back."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client

from tests.kit.temporal_env import Run, begin
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import artifact, choice, pinned
from tidegate import errors
from tidegate.model.inputs import RestoreInput
from tidegate.model.operation import Outcome, Phase
from tidegate.model.steps import EVERY_EPOCH, RestoreFrom


async def _restore(client: Client, **fields: Any) -> Run:
    return await begin(client, "RestoreDeployment", RestoreInput, **{"requested_by": "ana", "bake_s": 5, **fields})


async def test_the_newest_after_a_crash(client: Client, world: World) -> None:
    world.job_state = "FAILED"
    result = await (await _restore(client)).done()
    assert result.outcome is Outcome.DONE
    assert world.names() == [
        "locate", "observe", "appraise", "take", "observe", "appraise", "prepare", "ensure_running", "prove",
        "audit", "write_report", "release",
    ]  # fmt: skip
    (ensure,) = world.requests("ensure_running")
    assert ensure.artifact == artifact("v1")
    assert ensure.restore == RestoreFrom(until_epoch=7)


async def test_x26_an_older_one_is_refused_before_anything_is_changed(client: Client, world: World) -> None:
    result = await (await _restore(client, source="e7-chk-11")).failed("Refused")
    assert "would repeat committed output: lost 0, replayed 40" in result.why
    assert "tidegate restore ledger --from e7-chk-11 --accept-replay e7-chk-11   (lost 0, replayed 40)" in result.why
    assert "tidegate restore ledger   (lost 0, replayed 0)" in result.why
    assert "take" not in world.names()


async def test_x3_a_loss_is_refused_with_the_price_of_each_choice(client: Client, world: World) -> None:
    world.choices = (
        choice(12, newest=True, lost=30, lost_ids=("tg-1",), transactions={"aborted": 1, "committed": 1}),
        choice(11, replayed=40),
    )
    result = await (await _restore(client)).failed("Refused")
    assert (
        "would lose output: lost 30, replayed 0 (transactions: 1 aborted, 1 committed; first lost: tg-1)" in result.why
    )
    assert "tidegate restore ledger --accept-loss e7-chk-12   (lost 30, replayed 0)" in result.why
    assert "--from e7-chk-11 --accept-replay e7-chk-11   (lost 0, replayed 40)" in result.why
    accepted = await (await _restore(client, accept_loss="e7-chk-12")).done()
    assert accepted.outcome is Outcome.DONE
    assert world.requests("ensure_running")[-1].restore.loss_accepted


async def test_as_of_says_what_comes_again(client: Client, world: World) -> None:
    at = choice(10).completed_at.isoformat()
    run = await _restore(client, as_of=at, accept_replay="e7-chk-10", dry_run=True)
    plan = (await run.done()).plan
    assert plan is not None
    assert plan.basis.snapshot == choice(10).location
    assert "e7-chk-10" in plan.steps[1].what
    assert "replayed 90" in plan.steps[1].what
    assert world.names() == ["locate", "observe", "appraise"]


async def test_i7_a_job_that_ran_is_put_back(client: Client, world: World) -> None:
    world.will("prove", errors.ProofFailed("3 restarts"))
    result = await (await _restore(client, source="11", accept_replay="e7-chk-11")).failed("Undone")
    assert result.summary.startswith("v1 runs again since")
    forward, back = world.requests("ensure_running")
    assert forward.restore.snapshot == choice(11).location
    assert back.restore == RestoreFrom(until_epoch=EVERY_EPOCH)  # the job that did not hold is ended first


async def test_where_nothing_ran_nothing_runs_after(client: Client, world: World) -> None:
    world.job_state = None
    world.will("prove", errors.ProofFailed("3 restarts"))
    result = await (await _restore(client)).failed("Undone")
    assert result.summary == "ledger does not run, as before"
    assert world.names()[-3:] == ["ensure_stopped", "write_report", "release"]


async def test_a_price_that_has_changed_halts_and_can_be_aborted(client: Client, world: World) -> None:
    world.job_state = None
    world.will("ensure_running", errors.MustHalt("would lose 12 output records"))
    run = await _restore(client)
    assert (await run.phase(Phase.HALTED)).why == "would lose 12 output records"
    await run.update("abort")
    assert (await run.failed("Undone")).summary == "ledger does not run, as before"


async def test_o8_superseded_does_nothing_more(client: Client, world: World) -> None:
    world.will("ensure_running", errors.Superseded("fence 4 has become 5"))
    await (await _restore(client)).failed("Superseded")
    assert "release" not in world.names()


async def test_o13_another_snapshot_as_of_the_same_time_voids_an_approval(client: Client, world: World) -> None:
    world.choices = (choice(12, newest=True), choice(11), choice(10))
    run = await _restore(client, source="e7-chk-11", require_approval=True)
    plan = (await run.phase(Phase.WAITING_FOR_APPROVAL)).plan
    assert plan is not None
    assert plan.basis.snapshot == choice(11).location
    world.choices = (choice(12, newest=True), choice(11, location="s3://east/other/chk-11"))
    await run.update("approve", plan_hash=plan.hash)
    await run.failed("BasisChanged")


async def test_i1_in_another_region_it_goes_on_from_the_copy_and_every_step_is_done_there(
    client: Client, world: World
) -> None:
    copy = "s3://west/savepoints/ledger/copy-e7-savepoint-1-1a2b3c4d"
    world.job_state = None
    world.record = world.record.model_copy(update={"pinned": pinned()})
    result = await (await _restore(client, region="west", source=copy)).done()
    assert result.outcome is Outcome.DONE
    assert "appraise" not in world.names()
    assert world.requests("look_across")[0].source == copy
    steps = ("look_across", "prepare", "ensure_running", "prove", "audit")
    assert {request.at for name in steps for request in world.requests(name)} == {"west/cell-1"}
    restore = world.requests("ensure_running")[0].restore
    assert (restore.snapshot, restore.until_epoch) == (copy, 7)


async def test_x24_what_does_not_hold_there_is_ended_there_and_nothing_runs(client: Client, world: World) -> None:
    world.job_state = None
    world.record = world.record.model_copy(update={"pinned": pinned()})
    world.will("prove", errors.ProofFailed("3 restarts in 20 s (limit 2)"))
    result = await (await _restore(client, region="west", source="s3://west/copy")).failed("Undone")
    assert result.summary == "ledger does not run, as before"
    assert [request.at for request in world.requests("ensure_stopped")] == ["west/cell-1"]


async def test_i1_a_job_that_was_not_seen_to_end_is_refused(client: Client, world: World) -> None:
    result = await (await _restore(client, region="west", source="s3://west/copy")).failed("Refused")
    assert "was not seen to end" in result.why
    assert "take" not in world.names()
