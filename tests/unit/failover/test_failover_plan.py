"""What the planner refuses, and what it says: pure functions of what was observed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import pytest

from tests.kit.temporal_world_facts import AT, POINT, TOPICS, artifact, pinned, writer
from tidegate.errors import Held, InvalidInput, Refused
from tidegate.failover.plan import VOID, plan_failover, plan_return
from tidegate.model.failover import Answers, FailoverInput, RegionsSeen
from tidegate.model.operation import ArtifactFacts, Observation, Plan
from tidegate.model.record import DeploymentRecord, Holder, Left
from tidegate.model.returning import ReturnInput
from tidegate.model.timers import OperatorTimers, TimersFound

RECORD = DeploymentRecord(deployment="ledger", fence=3, epoch=7, writer=writer("v1", 7))
SILENT = Answers(region="east", flink="no answer within 5 s", kafka="connection refused", s3="no answer within 5 s")


def _observed(**changes: Any) -> Observation:
    known = Observation(
        at=AT, fleet_digest="f", deployment="ledger", region="west", cell="cell-1", tier=1, parallelism=2,
        approval_required=False, record=RECORD, slots_free=4, slots_total=8,
        artifacts=(ArtifactFacts(ref=artifact("v1"), size_bytes=1_000),),
    )  # fmt: skip
    return known.model_copy(update=changes)


def _seen(**changes: Any) -> RegionsSeen:
    known = RegionsSeen(
        at=AT + timedelta(seconds=7), home=Answers(region="east"), standby=Answers(region="west"), topics=TOPICS,
        parallelism=2, slots_free=4, slots_total=8, mirror_lag={"east-to-west": 1_234},
    )  # fmt: skip
    return known.model_copy(update=changes)


def _plan(seen: RegionsSeen | None = None, observed: Observation | None = None, **asked: Any) -> Plan:
    request = FailoverInput(deployment="ledger", requested_by="ana", **asked)
    return plan_failover(request, observed or _observed(), seen or _seen())


def test_planned_there_is_a_way_back_until_the_producers_are_let_in():
    plan = _plan()
    names = [step.name for step in plan.steps]
    assert names[names.index("cut") : names.index("open") + 1] == ["cut", "start v1", "open"]
    assert {step.name for step in plan.steps if step.no_return} == {"open", "prove", "mirror", "conclude"}
    assert plan.to_artifact == artifact("v1")
    assert (plan.basis.region, plan.basis.epoch, plan.basis.snapshot) == ("west", 7, None)
    assert "mirror link east-to-west: 1,234 records to come" in plan.notes


def test_x24_unplanned_there_is_none_from_the_moment_home_is_given_up():
    plan = _plan(_seen(home=SILENT, points=(POINT,)), unplanned=True)
    assert [step.name for step in plan.steps if not step.no_return] == ["observe"]
    assert all(step.no_return for step in plan.steps if step.undo == VOID), "what has no undo has no way back after it"
    (start,) = [step for step in plan.steps if step.name.startswith("start")]
    assert "as epoch 8 from e7-chk-12, rebased; 4 outputs there are superseded" in start.what
    assert plan.basis.snapshot == POINT.snapshot
    assert "nothing there answers" in next(step.what for step in plan.steps if step.name == "shut")


def test_what_answers_at_home_is_used():
    plan = _plan(_seen(home=Answers(region="east", flink="down"), points=(POINT,)), unplanned=True)
    assert "what answers there is cancelled and denied" in next(s.what for s in plan.steps if s.name == "shut")


def test_the_notes_say_how_old_the_point_is_and_what_is_newer():
    newer = POINT.model_copy(update={"id": "e7-chk-13", "problem": "its outputs have not all come"})
    plan = _plan(_seen(home=SILENT, points=(newer, POINT), newest="e7-chk-14"), unplanned=True)
    told = "\n".join(plan.notes)
    assert "e7-chk-12 was taken 7.0 s ago" in told
    assert "newer, and cannot be gone on from: e7-chk-13: its outputs have not all come" in told
    assert "the newest that east has told of is e7-chk-14" in told
    assert "Kafka in east: connection refused" in told


@pytest.mark.parametrize(("exact", "many"), [(True, "1,234"), (False, "up to 1,234")])
def test_x22_a_state_that_is_ahead_of_the_mirror_is_told_before(exact: bool, many: str):
    ahead = POINT.model_copy(update={"ahead": 1_234, "ahead_exact": exact})
    plan = _plan(_seen(home=SILENT, points=(ahead,)), unplanned=True)
    assert any(f"e7-chk-12 has read {many} input records that have not come" in note for note in plan.notes)
    assert not any("have not come" in note for note in _plan(_seen(home=SILENT, points=(POINT,)), unplanned=True).notes)


@pytest.mark.parametrize("unplanned", [False, True])
def test_x20_without_provenance_it_is_refused_before_anything_is_given_up(unplanned: bool):
    seen = _seen(points=(POINT,), unproven=("payments-0",))
    with pytest.raises(Refused, match=r"does not say where it stood in east \(payments-0\)") as told:
        _plan(seen, unplanned=unplanned)
    assert "tidegate mirror start east-to-west" in (told.value.hint or "")


def test_x28_timers_and_windows_are_warned_of_and_the_tail_only_where_it_would_be_fed():
    both = OperatorTimers(operator="fraud", processing=True, event=True)
    timers = TimersFound(snapshot=POINT.snapshot, name=POINT.id, taken_at=POINT.taken_at, operators=(both,))
    plan = _plan(_seen(home=SILENT, points=(POINT,), timers=timers, tail="feed"), unplanned=True)
    (overdue,) = [note for note in plan.notes if "processing-time" in note]
    assert "those that fell due in the last 7 s (since e7-chk-12 of " in overdue
    (late,) = [note for note in plan.notes if "event-time" in note]
    assert "to hold it:  tidegate return region east --tail hold" in late
    held = _plan(_seen(home=SILENT, points=(POINT,), timers=timers), unplanned=True)
    assert held.hash == plan.hash
    assert not any("tail" in note for note in held.notes)
    planned = _plan(_seen(timers=timers.model_copy(update={"taken_at": None}), tail="feed"))
    assert any("those that fall due while it moves fire at once" in note for note in planned.notes)
    assert not any("X28" in note for note in _plan().notes)


def test_x28_a_return_warns_where_a_tail_would_be_fed_to_event_time_windows():
    window = OperatorTimers(operator="fraud", event=True, windows=True)
    seen = _seen(timers=TimersFound(snapshot="s3://west/x", name="e8-chk-3", operators=(window,)))

    def notes(tail: Literal["feed", "hold"] | None, policy: str) -> str:
        asked = ReturnInput(deployment="ledger", region="east", requested_by="ana", tail=tail)
        return "\n".join(plan_return(asked, _observed(), seen.model_copy(update={"tail": policy})).notes)

    told = "fed late may be dropped by them; to hold it:  tidegate return region east --deployment ledger --tail hold"
    assert told in notes("feed", "by-hand")
    assert told in notes(None, "feed")
    assert "X28" not in notes(None, "hold") + notes(None, "by-hand") + notes("hold", "feed")


def test_topics_that_stay_are_told():
    stay = TOPICS.model_copy(update={"turn": ("balances",), "stay": ("payments",)})
    assert any("payments stay in east" in note for note in _plan(_seen(topics=stay)).notes)


def test_without_room_the_slots_are_named():
    with pytest.raises(Refused, match="ledger needs 2 slots in west, and 1 of 8 are free") as told:
        _plan(_seen(slots_free=1))
    assert "--parallelism 1" in (told.value.hint or "")
    assert _plan(_seen(slots_free=1), parallelism=1).basis.parallelism == 1
    with pytest.raises(Refused, match="needs 5 slots"):
        _plan(parallelism=5)


def test_x21_what_was_given_up_is_not_left_as_planned_by_who_takes_over():
    left = Left(
        region="west", strength="stopped", point="e7-chk-12", snapshot="s", operation="failover-ledger-1/r1",
        taken_at=AT,
    )  # fmt: skip
    given_up = _observed(record=RECORD.model_copy(update={"pinned": pinned(left=left)}))
    with pytest.raises(Refused, match="east was given up by failover-ledger-1, from e7-chk-12 on") as told:
        _plan(observed=given_up)
    assert "failover deployment ledger --to west --unplanned --take-over" in (told.value.hint or "")
    assert _plan(_seen(home=SILENT, points=(POINT,)), given_up, unplanned=True).steps
    older = _observed(record=RECORD.model_copy(update={"pinned": pinned(left=left, epoch=6)}))
    assert _plan(observed=older).steps, "it has been started at home since"


def test_x23_a_region_that_was_given_up_is_returned_before_anything_goes_back_there_as_planned():
    """Also where what has come there last says nothing: to start its mirror would let its tail count."""
    seen = _seen(not_returned="failover-ledger-1", unproven=("payments-0",))
    with pytest.raises(Refused, match="west was given up by failover-ledger-1, and ledger has not been") as told:
        _plan(seen)
    assert told.value.hint == "once it answers:  tidegate return region west"
    lost = _seen(home=SILENT, points=(POINT,), not_returned="failover-ledger-1")
    assert any("has not been returned" in note for note in _plan(lost, unplanned=True).notes)


@pytest.mark.parametrize("part", ["flink", "kafka", "s3"])
def test_planned_any_part_that_is_silent_at_home_refuses_it_and_names_the_other_way(part: str):
    with pytest.raises(Refused, match="east does not answer as a planned failover needs it to") as told:
        _plan(_seen(home=Answers(region="east", **{part: "no answer within 5 s"})))
    assert "no answer within 5 s" in told.value.message
    assert "tidegate failover deployment ledger --unplanned" in (told.value.hint or "")


def test_x5_without_a_point_each_that_was_looked_at_is_named():
    points = (
        POINT.model_copy(update={"id": "e7-chk-13", "problem": "a file is missing"}),
        POINT.model_copy(update={"problem": "its outputs have not all come from east"}),
    )
    with pytest.raises(Refused, match="e7-chk-13: a file is missing; e7-chk-12: its outputs have not all"):
        _plan(_seen(home=SILENT, points=points), unplanned=True)


def test_x5_without_any_point_at_all_the_command_that_lists_them_is_named():
    with pytest.raises(Refused, match="ledger has no recovery point e7-chk-9 in west") as told:
        _plan(_seen(home=SILENT), unplanned=True, point="e7-chk-9")
    assert "tidegate points ledger" in (told.value.hint or "")


def test_what_never_ran_is_not_failed_over():
    with pytest.raises(InvalidInput, match="has never run") as told:
        _plan(observed=_observed(record=DeploymentRecord(deployment="ledger")))
    assert "tidegate start ledger" in (told.value.hint or "")


def test_where_it_runs_already_is_no_target():
    here = RECORD.model_copy(update={"writer": writer("v1", 7).model_copy(update={"region": "west"})})
    with pytest.raises(InvalidInput, match="runs in west already"):
        _plan(observed=_observed(record=here))


def test_what_another_operation_holds_is_held():
    holder = Holder(
        operation="upgrade-1", run_id="r", runbook="UpgradeDeployment", cluster_id="c", namespace="n", who="eve",
        why="", since=AT,
    )  # fmt: skip
    held = _observed(record=RECORD.model_copy(update={"holder": holder}))
    with pytest.raises(Held, match="upgrade-1"):
        _plan(observed=held)
    assert _plan(observed=held, take_over={"why": "that one is lost"}).steps


def test_o13_another_point_is_another_plan():
    other = POINT.model_copy(update={"id": "e7-chk-13", "snapshot": "s3://west/other"})
    one = _plan(_seen(home=SILENT, points=(POINT,)), unplanned=True)
    assert one.hash == _plan(_seen(home=SILENT, points=(POINT,), slots_free=3), unplanned=True).hash
    assert one.hash != _plan(_seen(home=SILENT, points=(other,)), unplanned=True).hash
    assert one.hash != _plan().hash


def test_a_job_whose_artifact_is_gone_from_the_fleet_file_goes_on_as_it_was():
    assert _plan(observed=_observed(artifacts=())).to_artifact == artifact("v1")


def test_one_that_was_stopped_there_may_go_on_elsewhere():
    stopped = RECORD.model_copy(update={"pinned": pinned()})
    assert _plan(observed=_observed(record=stopped)).steps
