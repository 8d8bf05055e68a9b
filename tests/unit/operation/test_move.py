"""A restore in another region: what is refused before anything is begun (I1, X5, X19, X20, X24)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.temporal_world_facts import AT, FLEET, SAVEPOINT, artifact, pinned, writer
from tidegate.errors import Held, InvalidInput, Refused
from tidegate.model.appraisal import Crossing
from tidegate.model.fleetfile import load_fleet
from tidegate.model.inputs import RestoreInput
from tidegate.model.operation import ArtifactFacts, Observation
from tidegate.model.record import (
    DeploymentRecord,
    Holder,
    RecordState,
    SettleIntent,
    StartIntent,
    StopIntent,
)
from tidegate.operation.move import home_of, moves, plan_move, standby_of

COPY = "s3://west/savepoints/ledger/copy-e7-savepoint-1-1a2b3c4d"


def seen(record: DeploymentRecord | None = None, **changes: Any) -> Observation:
    known: dict[str, Any] = {
        "at": AT, "fleet_digest": FLEET, "deployment": "ledger", "region": "west", "cell": "cell-1", "tier": 1,
        "parallelism": 2, "approval_required": False, "crossing": Crossing(location=COPY, original=SAVEPOINT),
        "record": record or DeploymentRecord(deployment="ledger", epoch=7, writer=writer("v1", 7), pinned=pinned()),
        "artifacts": tuple(ArtifactFacts(ref=artifact(name), size_bytes=1) for name in ("v1", "v2")),
    }  # fmt: skip
    return Observation.model_validate(known | changes)


def asked(**changes: Any) -> RestoreInput:
    return RestoreInput.model_validate({"deployment": "ledger", "region": "west", "source": COPY} | changes)


def record_with(**changes: Any) -> DeploymentRecord:
    return seen().record.model_copy(update=changes)


def start_in(region: str) -> StartIntent:
    return StartIntent(
        id="s", step="ensure", n=1, job_id="b" * 32, epoch=8, region=region, cell="cell-1", artifact=artifact("v1"),
        parallelism=2, snapshot=COPY,
    )  # fmt: skip


STOP = StopIntent(
    id="t", step="stop", n=1, job_id=f"{7:032x}", epoch=7, trigger_id="t", directory="s3://east/x",
    artifact=artifact("v1"), parallelism=2,
)  # fmt: skip


def test_the_plan_names_the_copy_and_its_hash_is_for_it():
    assert moves(seen())
    assert not moves(seen(region="east"))
    plan = plan_move(asked(), seen())
    assert [step.name for step in plan.steps] == ["observe", "start", "prove", "conclude"]
    assert plan.steps[1].what == f"start v1 in west/cell-1 as epoch 8 from {COPY}"
    other = seen(crossing=Crossing(location=f"{COPY}0", original=SAVEPOINT))
    assert plan_move(asked(), other).hash != plan.hash
    again = seen(crossing=Crossing(location=COPY, original=SAVEPOINT, replays=1_234))
    assert "1,234 input records are read a second time" in plan_move(asked(), again).steps[1].what


@pytest.mark.parametrize(
    "record",
    [
        record_with(pinned=None),
        record_with(pinned=pinned(epoch=6)),
        record_with(pinned=pinned(committed=False)),
    ],
    ids=["never stopped", "of an older epoch", "not committed"],
)
def test_i1_a_job_that_was_not_seen_to_end_is_not_followed_by_another(record: DeploymentRecord):
    with pytest.raises(Refused, match="was not seen to end with a savepoint") as refused:
        plan_move(asked(), seen(record))
    assert refused.value.hint == "stop it there:  tidegate stop ledger"


def test_x20_what_stands_against_the_copy_is_told():
    with pytest.raises(Refused, match="copy-e7-savepoint-1-1a2b3c4d cannot be used in west: s3://west/f is missing"):
        plan_move(asked(), seen(crossing=Crossing(location=COPY, problem="s3://west/f is missing")))


@pytest.mark.parametrize(("intent", "begun"), [(STOP, "stop"), (start_in("east"), "start")])
def test_o6_what_was_begun_in_the_old_region_is_finished_there_first(intent: Any, begun: str):
    with pytest.raises(Refused, match=f"begun in east and not finished: {begun}"):
        plan_move(asked(), seen(record_with(intents=(intent,))))


def test_o6_what_an_earlier_try_began_in_the_new_region_is_resolved_there():
    settle = SettleIntent(id="x", step="settle", n=1, epoch=7, snapshot=COPY)
    assert plan_move(asked(), seen(record_with(intents=(settle, start_in("west")))))


def test_the_copy_is_named_and_the_artifact_is_the_one_that_was_stopped():
    with pytest.raises(InvalidInput, match="name the copy that was rebased for west"):
        plan_move(asked(source="newest"), seen())
    with pytest.raises(InvalidInput, match="was stopped as v1, and goes on as that"):
        plan_move(asked(artifact="v2"), seen())


def test_o4_a_holder_is_not_passed_over():
    holder = Holder(
        operation="stop-1", run_id="r", runbook="StopDeployment", cluster_id="c", namespace="default", who="eve",
        why="", since=AT,
    )  # fmt: skip
    with pytest.raises(Held, match="stop-1"):
        plan_move(asked(), seen(record_with(holder=holder, state=RecordState.HELD)))


def test_after_a_move_its_home_is_where_it_lives_and_the_standby_the_other_one():
    fleet = load_fleet(Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml").fleet
    lives = seen().record
    assert (home_of(fleet, "ledger", None).region, standby_of(fleet, "ledger", "east")) == ("east", "west")
    assert home_of(fleet, "ledger", lives).region == "east"
    moved = record_with(writer=writer("v1", 8).model_copy(update={"region": "west", "cell": "cell-9"}))
    assert str(home_of(fleet, "ledger", moved)) == "west/cell-9"
    assert standby_of(fleet, "ledger", "west") == "east"
    begun = record_with(intents=(start_in("west"),))
    assert home_of(fleet, "ledger", begun).region == "west", "what is begun there may commit there"
