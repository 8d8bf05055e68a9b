"""The rules of a game day: each is broken by what is beyond its limit, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegate.drill.rules import (
    MOST_SAMPLES,
    NOT_KNOWN,
    Memory,
    Reading,
    broken,
    broken_by_way,
    keep,
    sample_of,
    see,
    slim,
    union,
)
from tidegate.model.gameday import Rule, Rules, Sample, Way
from tidegate.model.operation import MemberResult, Outcome, Verdict

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES = Rules(max_gap_s=30, max_lag_records=1_000, max_lag_s=60)


def at(second: float) -> datetime:
    return AT + timedelta(seconds=second)


def reading(second: float, **fields: Any) -> Reading:
    """A good look: it runs, and one record came in and out since a second ago."""
    told: dict[str, Any] = {
        "at": at(second), "state": "RUNNING", "checkpoints": 4, "lag": 3, "lag_s": 0.5,
        "inputs": int(second), "outputs": int(second),
    }  # fmt: skip
    return Reading(**(told | fields))


def played(readings: list[Reading], *, moving: bool = False, rules: Rules = RULES) -> Any:
    """The first rule that these readings break, one after the other."""
    memory: Memory | None = None
    for one in readings:
        memory = see(memory, one)
        trip = broken(rules, "ledger", memory, one, moving=moving)
        if trip is not None:
            return trip
    return None


def test_what_is_within_the_limits_breaks_nothing() -> None:
    at_the_limit = {"lag": 1_000, "lag_s": 60.0, "restarts": 2, "failed_checkpoints": 3}
    assert played([reading(0), *(reading(n, **at_the_limit) for n in range(1, 120))]) is None


@pytest.mark.parametrize(
    ("fields", "rule", "said"),
    [
        ({"lag": 1_001}, Rule.LAG, "ledger is 1,001 records behind (limit 1,000)"),
        ({"lag_s": 60.1}, Rule.LAG, "ledger is 60.1 s behind its input (limit 60 s)"),
        ({"restarts": 3}, Rule.RESTARTS, "ledger restarted 3 times (limit 2)"),
        (
            {"restarts": 3, "first_error": "java.io.IOException: gone"},
            Rule.RESTARTS,
            "ledger restarted 3 times (limit 2). java.io.IOException: gone",
        ),
        ({"failed_checkpoints": 4}, Rule.CHECKPOINTS, "ledger has 4 failed checkpoints (limit 3)"),
        ({"state": "FAILED", "first_error": "OutOfMemoryError"}, Rule.JOB, "ledger is FAILED. OutOfMemoryError"),
        ({"state": NOT_KNOWN}, Rule.JOB, f"ledger is {NOT_KNOWN}."),
        ({"taken": "was moved or restarted by x"}, Rule.TAKEN, "ledger was moved or restarted by x"),
    ],
)
def test_each_rule_is_broken_one_beyond_its_limit(fields: dict[str, Any], rule: Rule, said: str) -> None:
    trip = played([reading(0), reading(1, **fields)])
    assert (trip.rule, trip.what, trip.at, trip.deployment) == (rule, said, at(1), "ledger")
    assert trip.text == f"rule {rule.value}: {said}"


@pytest.mark.parametrize("state", ["RESTARTING", "RUNNING", "CREATED"])
def test_a_job_that_comes_back_by_itself_has_not_ended(state: str) -> None:
    assert played([reading(0), reading(1, state=state)]) is None


def test_a_rule_that_is_not_set_is_not_looked_at() -> None:
    off = Rules(max_gap_s=None, max_lag_records=None, max_lag_s=None)
    late = [reading(n, lag=10**9, lag_s=10**6, outputs=0, inputs=n) for n in range(0, 1_000, 10)]
    assert played(late, rules=off) is None


def test_what_flink_has_counted_before_the_first_look_is_not_counted() -> None:
    """A slow start alone fails a dozen checkpoints: seen on real parts."""
    assert played([reading(n, failed_checkpoints=12, restarts=5) for n in range(20)]) is None
    trip = played([reading(0, failed_checkpoints=12), reading(1, failed_checkpoints=16)])
    assert trip.what == "ledger has 4 failed checkpoints (limit 3)"
    trip = played([reading(0, restarts=5), reading(1, restarts=8)])
    assert trip.what == "ledger restarted 3 times (limit 2)"
    first_away = [Reading(at=at(0), away="no answer"), reading(1, failed_checkpoints=12, restarts=5)]
    assert played([*first_away, reading(2, failed_checkpoints=12, restarts=5)]) is None


def test_checkpoints_that_fail_while_it_restarts_are_the_restarts() -> None:
    restart = [
        reading(0),
        reading(1, state="RESTARTING", restarts=1, failed_checkpoints=2),
        reading(2, restarts=1, failed_checkpoints=9),
        reading(3, restarts=1, failed_checkpoints=14),
        reading(4, restarts=1, failed_checkpoints=15, checkpoints=5),
        reading(5, restarts=1, failed_checkpoints=18, checkpoints=5),
    ]
    assert played(restart) is None
    trip = played([*restart, reading(6, restarts=1, failed_checkpoints=19, checkpoints=5)])
    assert trip.what == "ledger has 4 failed checkpoints (limit 3)"


def test_no_output_counts_while_input_waits_and_not_in_a_quiet_night() -> None:
    moves = [reading(n) for n in range(5)]
    night = [reading(n, inputs=4, outputs=4) for n in range(5, 500)]
    assert played([*moves, *night]) is None
    stands = [reading(n, outputs=4) for n in range(5, 500)]
    trip = played([*moves, *stands])
    assert trip.rule is Rule.GAP
    assert trip.at == at(5 + 31), "from the first input that waits"
    assert trip.what == "ledger has had no output for 31.0 s though input waits (limit 30 s)"


def test_input_after_a_quiet_night_has_its_time_from_when_it_came() -> None:
    for before in ([], [reading(n) for n in range(10)]):
        quiet = [reading(10 + n, inputs=9, outputs=9) for n in range(200)]
        woken = [reading(210 + n, inputs=10 + n, outputs=9) for n in range(31)]
        assert played([*before, *quiet, *woken]) is None
        assert played([*before, *quiet, *woken, reading(241, inputs=90, outputs=9)]).rule is Rule.GAP


def test_on_the_way_the_gap_counts_without_input_once_output_was_seen_to_move() -> None:
    moves = [reading(n) for n in range(5)]
    stands = [reading(n, inputs=0, outputs=4) for n in range(5, 100)]
    trip = played([*moves, *stands], moving=True)
    assert (trip.rule, trip.at) == (Rule.GAP, at(35))
    assert trip.what == "ledger has had no output for 31.0 s (limit 30 s)"
    assert played([reading(n, inputs=0, outputs=4) for n in range(500)], moving=True) is None, "there was no traffic"


def test_on_the_way_nothing_else_counts() -> None:
    """Its job is stopped there, and the failover knows what to do without a part."""
    bad = {"state": "", "restarts": 9, "failed_checkpoints": 9, "lag": 10**6, "lag_s": 10**6}
    assert played([reading(n, **bad) for n in range(10)], moving=True) is None
    assert played([Reading(at=at(n), away="no answer") for n in range(0, 1_000, 10)], moving=True) is None


def test_a_region_that_does_not_answer_breaks_the_rule_by_its_time_and_an_answer_begins_it_anew() -> None:
    away = [Reading(at=at(n), away="connection refused") for n in range(1, 59)]
    assert played([reading(0), *away, reading(59), *(Reading(at=at(60 + n), away="again") for n in range(59))]) is None
    trip = played([reading(0), *(Reading(at=at(n), away="connection refused") for n in range(1, 200))])
    assert (trip.rule, trip.at) == (Rule.AWAY, at(61))
    assert trip.what == "ledger cannot be looked at for 60 s (limit 60 s): connection refused"
    blind = played([Reading(at=at(n), away="never answered") for n in range(200)])
    assert (blind.rule, blind.at) == (Rule.AWAY, at(60))


# -- samples


def test_of_a_long_stay_the_worst_is_kept_and_their_number_is_bounded() -> None:
    memory = see(None, reading(0))
    for n in range(20_000):
        one = reading(n, restarts=int(n >= 7_000), lag=900 if n == 12_345 else 3)
        memory = keep(see(memory, one), sample_of("ledger", memory, one))
    samples = memory.behind
    assert len(samples) <= MOST_SAMPLES
    assert len(samples) >= MOST_SAMPLES // 4
    assert max(one.lag or 0 for one in samples) == 900
    assert (samples[0].at, samples[-1].restarts) == (at(0), 1)
    assert [one.at for one in samples] == sorted(one.at for one in samples)


def test_a_state_that_was_not_running_is_not_lost_among_those_that_were() -> None:
    memory = see(None, reading(0))
    for n in range(500):
        one = reading(n, state="RESTARTING" if n == 250 else "RUNNING")
        memory = keep(see(memory, one), sample_of("ledger", memory, one))
    assert "RESTARTING" in {one.state for one in memory.behind}


def test_the_memory_survives_the_heartbeat() -> None:
    one = reading(3, lag=7)
    memory = see(None, reading(0))
    memory = keep(see(memory, one), sample_of("ledger", memory, one))
    assert Memory.model_validate(memory.model_dump(mode="json")) == memory


# -- at the end of a way


def member(name: str, outcome: Outcome = Outcome.DONE, **verdict: Any) -> MemberResult:
    told = Verdict(**({"audited": True, "input": 10, "output": 10} | verdict))
    return MemberResult(deployment=name, operation=f"failover-{name}", outcome=outcome, summary="s", verdict=told)


def way(*members: MemberResult, outcome: Outcome | None = Outcome.DONE, summary: str = "s") -> Way:
    return Way(
        source="east", target="west", operation="op", began=at(0), ended=at(60), outcome=outcome, summary=summary,
        members=members,
    )  # fmt: skip


def test_i2_anything_lost_duplicated_wrong_or_unexpected_breaks_it_whatever_the_rules() -> None:
    off = Rules(max_gap_s=None)
    for name in ("lost", "duplicated", "wrong", "unexpected"):
        (trip,) = broken_by_way(off, way(member("a"), member("b", **{name: 1})), "there")
        assert (trip.rule, trip.deployment, trip.at) == (Rule.VERDICT, "b", at(60))
    assert broken_by_way(off, way(member("a", gap_ms=10**9)), "there") == ()


def test_a_verdict_that_could_not_be_had_is_no_good_one_and_one_that_nobody_asked_for_is() -> None:
    note = "no verdict could be had: the audit did not come to an end"
    (trip,) = broken_by_way(RULES, way(member("a", audited=False, note=note)), "there")
    assert trip.rule is Rule.VERDICT
    assert broken_by_way(RULES, way(member("a", audited=False, note="the fleet file names no audit")), "there") == ()


def test_the_measured_gap_counts_at_the_end_of_a_way() -> None:
    (trip,) = broken_by_way(RULES, way(member("a", gap_ms=30_000), member("b", gap_ms=30_100)), "on the way back")
    assert trip.what == "b had a gap of 30.1 s on the way back (limit 30 s)"


@pytest.mark.parametrize("outcome", [Outcome.UNDONE, Outcome.REFUSED, Outcome.SUPERSEDED, None])
def test_a_failover_that_is_not_done_says_for_whom_and_why(outcome: Outcome | None) -> None:
    told = broken_by_way(RULES, way(outcome=outcome, summary="nothing was changed; no room in west"), "there")
    assert [one.rule for one in told] == [Rule.FAILOVER]
    assert "no room in west" in told[0].what


def test_one_verdict_over_both_ways_counts_what_an_audit_finds_again_once() -> None:
    there = way(member("a", lost=1, gap_ms=9_000, rate=((1, 5), (2, 6))), member("b", gap_ms=4_000))
    back = way(member("a", lost=1, wrong=2, gap_ms=8_000, input=20, output=21))
    found = union([there, back])
    assert found is not None
    assert found.text == "1/0/2"
    assert (found.input, found.output, found.gap_ms) == (30, 31, 9_000)
    assert found.rate == (), "between the ways nobody has counted"
    assert found.audited
    assert union([]) is None
    assert union([way()]) is None


def test_one_that_was_not_audited_makes_all_of_it_not_audited() -> None:
    found = union([way(member("a"), member("b", audited=False, note="no command"))])
    assert found is not None
    assert (found.audited, found.note, found.good) == (False, "no command", True)


def test_what_goes_into_the_report_leaves_the_rates_where_they_are() -> None:
    full = member("a", lost=1, rate=((1, 5),), checked_to={"t/0": 5}, samples=tuple("abcdefgh"))
    assert slim(full).verdict == full.verdict.model_copy(  # type: ignore[union-attr]
        update={"rate": (), "checked_to": {}, "samples": tuple("abcde")}
    )


def test_a_sample_is_made_of_what_was_read() -> None:
    one = reading(7, restarts=1, lag=4, lag_s=1.5)
    memory = see(see(None, reading(0)), one)
    assert sample_of("ledger", memory, one) == Sample(
        at=at(7), deployment="ledger", state="RUNNING", restarts=1, checkpoints=4, lag=4, lag_s=1.5
    )
