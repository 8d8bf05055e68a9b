"""The auditor finds what is planted, names it, and finds nothing where nothing is (I2, X21, X26)."""

from __future__ import annotations

import pytest

from ledger.audit_manifest import Superseded, SupersededRange
from ledger.audit_run import AuditSettings
from ledger.faults import CannotReach
from ledger.verdict import Verdict
from tests.unit.ledger.memory import World, several


def manifest(*ranges: tuple[int, int, int]) -> AuditSettings:
    return AuditSettings(
        superseded=Superseded(SupersededRange(partition=p, first=first, last=last) for p, first, last in ranges)
    )


def ids(verdict: Verdict, kind: str) -> list[str]:
    return [sample.id for sample in verdict.samples.get(kind, [])]  # type: ignore[call-overload]


def test_a_right_output_is_0_0_0():
    world = World()
    for value in world.make(several()).values():
        world.answer(value)
    verdict = world.audit()
    assert (verdict.verdict, verdict.input, verdict.output, verdict.exit_code) == ("0/0/0", 30, 30, 0)
    assert verdict.samples == {}
    for checked, log in ((verdict.checked_to, world.output), (verdict.input_to, world.source)):
        assert checked.keys() == log.records.keys()
        assert all(checked[p] > records[-1][1] for p, records in log.records.items() if records)


def test_order_across_partitions_means_nothing():
    world = World()
    for value in reversed(list(world.make(several()).values())):
        world.answer(value)
    assert world.audit().verdict == "0/0/0"


def test_a_loss_is_found():
    world = World()
    outputs = world.make(several())
    expected = outputs.pop("a00002:7")
    for value in outputs.values():
        world.answer(value)
    verdict = world.audit()
    assert (verdict.verdict, verdict.output, verdict.exit_code) == ("1/0/0", 29, 7)
    assert ids(verdict, "lost") == ["a00002:7"]
    assert expected.split(",")[4] in verdict.samples["lost"][0].expected


@pytest.mark.parametrize("lost", ["a00001:1", "a00003:10"])
def test_a_loss_at_either_end_is_found(lost):
    world = World()
    for rid, value in world.make(several()).items():
        if rid != lost:
            world.answer(value)
    assert ids(world.audit(), "lost") == [lost]


def test_a_duplicate_is_found():
    world = World()
    outputs = world.make(several())
    for value in outputs.values():
        world.answer(value)
    partition, offset = world.answer(outputs["a00001:4"])
    verdict = world.audit()
    assert (verdict.verdict, verdict.output, verdict.wrong, verdict.exit_code) == ("0/1/0", 31, 0, 7)
    (sample,) = verdict.samples["duplicated"]
    assert (sample.id, sample.partition, sample.offset) == ("a00001:4", partition, offset)


def test_a_wrong_balance_is_found_with_both_values():
    world = World()
    outputs = world.make(several())
    right = int(outputs["a00001:4"].split(",")[4])
    outputs["a00001:4"] = f"a00001:4,a00001,4,9,{right + 1},1"
    for value in outputs.values():
        world.answer(value)
    verdict = world.audit()
    assert (verdict.verdict, verdict.exit_code) == ("0/0/1", 7)
    (sample,) = verdict.samples["wrong"]
    assert sample.id == "a00001:4"
    assert f"balance {right}" in sample.expected
    assert f"balance {right + 1}" in sample.found


@pytest.mark.parametrize("value", ["a00001:4,a00001,4,8,26,1", "a00001:4,a00001,4,9,x,1", "a00001:4,a00001,4,,26,1"])
def test_a_wrong_amount_and_an_unreadable_value_are_found(value):
    world = World()
    outputs = world.make(several())
    assert outputs["a00001:4"] == "a00001:4,a00001,4,9,30,1"
    for rid, right in outputs.items():
        world.answer(value if rid == "a00001:4" else right)
    verdict = world.audit()
    assert (verdict.verdict, ids(verdict, "wrong")) == ("0/0/1", ["a00001:4"])


def test_a_wrong_key_is_found():
    world = World()
    for rid, value in world.make(several()).items():
        world.answer(value, key="a00002" if rid == "a00001:4" else None)
    verdict = world.audit()
    assert (verdict.verdict, ids(verdict, "wrong")) == ("0/0/1", ["a00001:4"])
    assert "key a00002" in verdict.samples["wrong"][0].found


def test_an_output_in_the_order_of_another_sum_is_wrong():
    """Two payments of an account whose outputs were computed in the other order: both balances cannot be right."""
    world = World()
    world.pay("a1", 1, 10)
    world.pay("a1", 2, 7)
    world.answer("a1:2,a1,2,7,7,1")
    world.answer("a1:1,a1,1,10,17,1")
    verdict = world.audit()
    assert verdict.verdict == "0/0/2"
    assert set(ids(verdict, "wrong")) == {"a1:1", "a1:2"}


@pytest.mark.parametrize(
    "value",
    [
        "a00001:11,a00001,11,5,5,1",
        "a09999:1,a09999,1,5,5,1",
        "a00001:0,a00001,0,5,5,1",
        "a00001:-1,a00001,-1,5,5,1",
        "a00001:5,a00001,4,9,30,1",
        "nonsense",
        "",
        "a00001:x,a00001,x,1,1,1",
    ],
)
def test_an_output_without_a_payment_is_unexpected(value):
    world = World()
    for right in world.make(several()).values():
        world.answer(right)
    world.answer(value)
    verdict = world.audit()
    assert (verdict.unexpected, verdict.verdict, verdict.output, verdict.exit_code) == (1, "0/0/0", 31, 7)
    assert ids(verdict, "unexpected") == [value.split(",")[0]]


def test_more_fields_after_the_artifact_number_are_ignored():
    world = World()
    for value in world.make(several()).values():
        world.answer(f"{value},9,any,thing")
    assert world.audit().verdict == "0/0/0"


def test_a_reorder_of_the_input_is_found_and_the_balances_follow_the_log():
    world = World()
    values = dict(world.pay("a1", s, s * 10) for s in (1, 2, 4, 3, 5, 6))
    for value in values.values():
        world.answer(value)
    verdict = world.audit()
    assert (verdict.reordered, ids(verdict, "reordered"), verdict.input_holes) == (1, ["a1:3"], 0)
    assert verdict.verdict == "0/0/0"


def test_a_repeat_in_the_input_may_have_two_outputs_and_not_three():
    world = World()
    pairs = [world.pay("a1", s, s) for s in (1, 2, 2, 3)]
    for _, value in pairs:
        world.answer(value)
    verdict = world.audit()
    assert (verdict.verdict, verdict.reordered) == ("0/0/0", 1)
    world = World()
    pairs = [world.pay("a1", s, s) for s in (1, 2, 2, 3)]
    for _, value in [*pairs, pairs[1]]:
        world.answer(value)
    assert world.audit().verdict == "0/1/0"


def test_a_hole_in_the_input_is_told_and_is_no_loss():
    world = World()
    for _, value in [world.pay("a1", s, s) for s in (1, 2, 5, 6)]:
        world.answer(value)
    verdict = world.audit()
    assert (verdict.verdict, verdict.input, verdict.input_holes, verdict.exit_code) == ("0/0/0", 4, 2, 0)


def test_input_that_is_no_payment_is_counted():
    world = World()
    world.source.append(0, b"a1", b"garbage")
    world.source.append(0, b"a1", b"a1:7,a1,8,5")
    verdict = world.audit()
    assert (verdict.input, verdict.input_unreadable) == (0, 2)


class TestManifest:
    """X26: the dead epoch's outputs are superseded; the old artifact's repeat is the truth."""

    def world(self) -> tuple[World, dict[str, str], dict[str, tuple[int, int]]]:
        """All answered once; a00001:9 and a00001:10 again."""
        world = World()
        outputs = world.make(several())
        places = {rid: world.answer(value) for rid, value in outputs.items()}
        for rid in ("a00001:9", "a00001:10"):
            world.answer(outputs[rid])
        return world, outputs, places

    def test_exact_ranges_make_replays_of_duplicates(self):
        world, _, places = self.world()
        ranges = [(*places[rid], places[rid][1]) for rid in ("a00001:9", "a00001:10")]
        verdict = world.audit(manifest(*ranges))
        assert (verdict.verdict, verdict.replayed, verdict.superseded, verdict.output) == ("0/0/0", 2, 2, 30)
        assert set(ids(verdict, "replayed")) == {"a00001:9", "a00001:10"}

    def test_without_it_they_are_duplicates(self):
        world, _, _ = self.world()
        assert world.audit().verdict == "0/2/0"

    def test_one_range_short_leaves_a_duplicate(self):
        world, _, places = self.world()
        partition, offset = places["a00001:9"]
        verdict = world.audit(manifest((partition, offset, offset)))
        assert (verdict.verdict, verdict.replayed, ids(verdict, "duplicated")) == ("0/1/0", 1, ["a00001:10"])

    def test_one_offset_too_many_loses_what_was_true(self):
        world, _, places = self.world()
        partition, offset = places["a00001:9"]
        before = next(rid for rid, place in places.items() if place == (partition, offset - 1))
        verdict = world.audit(manifest((partition, offset - 1, offset), (*places["a00001:10"], places["a00001:10"][1])))
        assert (verdict.verdict, verdict.replayed, verdict.superseded) == ("1/0/0", 2, 3)
        assert ids(verdict, "lost") == [before]

    def test_a_superseded_copy_that_never_comes_again_is_lost(self):
        world = World()
        places = {rid: world.answer(value) for rid, value in world.make(several()).items()}
        partition, offset = places["a00002:10"]
        verdict = world.audit(manifest((partition, offset, offset)))
        assert (verdict.verdict, verdict.superseded, ids(verdict, "lost")) == ("1/0/0", 1, ["a00002:10"])

    def test_superseded_values_are_not_checked_and_orphans_are_counted_apart(self):
        world = World()
        outputs = world.make(several())
        bad = world.answer("a00001:1,a00001,1,999,999,2")
        orphan = world.answer("a07777:1,a07777,1,1,1,2")
        for value in outputs.values():
            world.answer(value)
        verdict = world.audit(manifest((*bad, bad[1]), (*orphan, orphan[1])))
        assert (verdict.verdict, verdict.unexpected, verdict.orphans, verdict.replayed) == ("0/0/0", 0, 1, 1)

    def test_a_superseded_copy_after_the_true_one_replays_nothing(self):
        world, _, _ = self.world()
        again = [
            (p, r[1], r[1])
            for p, records in world.output.records.items()
            for i, r in enumerate(records)
            if any(o[4] == r[4] for o in records[:i])
        ]
        verdict = world.audit(manifest(*again))
        assert (verdict.verdict, verdict.replayed, verdict.superseded) == ("0/0/0", 0, 2)


class TestUnderTraffic:
    def test_outputs_of_later_payments_are_judged_but_not_counted(self):
        """Payments that come after the input was frozen, with their outputs, while the audit reads."""
        world = World()
        for value in world.make(several()).values():
            world.answer(value)

        def later() -> None:
            world.output.before_bounds = lambda: None
            for s in (11, 12, 13):
                _, value = world.pay("a00001", s)
                world.answer(value if s != 12 else value.replace(",5,", ",6,"))
            _, value = world.pay("a00009", 1)
            world.answer(value)

        # Between the two freezes: the input's end is taken first.
        world.output.before_bounds = later
        verdict = world.audit()
        assert (verdict.input, verdict.output, verdict.lost, verdict.unexpected) == (30, 30, 0, 0)
        assert (verdict.ahead, verdict.replayed) == (4, 0)
        assert ids(verdict, "wrong") == ["a00001:12"]

    def test_it_waits_until_the_output_has_caught_up(self):
        world = World()
        waiting = list(world.make(several()).values())

        def more() -> None:
            for value in waiting[:4]:
                world.answer(value)
            del waiting[:4]

        world.output.before_bounds = more
        verdict = world.audit(AuditSettings(until_caught_up=True), pause=lambda _: None)
        assert (verdict.verdict, verdict.caught_up, waiting) == ("0/0/0", True, [])

    def test_without_progress_it_is_not_caught_up_and_never_green(self):
        world, now = World(), Clock()
        outputs = world.make(several())
        for rid, value in outputs.items():
            if int(rid.split(":")[1]) < 6:
                world.answer(value)
        verdict = world.audit(AuditSettings(until_caught_up=True), clock=now, pause=now.pass_by)
        assert (verdict.verdict, verdict.lost, verdict.behind) == ("not caught up", 0, 15)
        assert (verdict.caught_up, verdict.exit_code) == (False, 5)
        assert now() < 20, "the no-progress rule ends it, not the deadline"

    def test_what_later_outputs_have_passed_by_is_lost_and_the_rest_is_behind(self):
        world, now = World(), Clock()
        for rid, value in world.make(several()).items():
            if int(rid.split(":")[1]) < 6 and rid != "a00001:2":
                world.answer(value)
        verdict = world.audit(AuditSettings(until_caught_up=True), clock=now, pause=now.pass_by)
        assert (verdict.verdict, verdict.lost, verdict.behind, verdict.exit_code) == ("1/0/0", 1, 15, 7)
        assert ids(verdict, "lost") == ["a00001:2"]

    def test_the_last_payment_lost_shows_once_a_later_one_is_answered(self):
        world, now = World(), Clock()
        outputs = world.make(several())
        for rid, value in outputs.items():
            if rid != "a00001:10":
                world.answer(value)

        def later() -> None:
            world.output.before_bounds = lambda: None
            world.answer(world.pay("a00001", 11)[1])

        world.output.before_bounds = later
        verdict = world.audit(AuditSettings(until_caught_up=True), clock=now, pause=now.pass_by)
        assert (verdict.lost, verdict.behind, ids(verdict, "lost")) == (1, 0, ["a00001:10"])

    def test_while_a_transaction_is_open_nothing_is_called_lost(self):
        world, now = World(), Clock()
        for rid, value in world.make(several()).items():
            if rid != "a00001:2":
                world.answer(value)
        last = max(world.output.records, key=lambda p: len(world.output.records[p]))
        world.output.open_from = {last: world.output.records[last][-1][1] + 1}
        verdict = world.audit(AuditSettings(until_caught_up=True), clock=now, pause=now.pass_by)
        assert (verdict.lost, verdict.behind, verdict.exit_code) == (0, 1, 5)

    def test_the_deadline_holds_while_there_is_progress(self):
        world, now = World(), Clock()
        waiting = list(world.make(several(each=400)).values())

        def one_more() -> None:
            world.answer(waiting.pop(0))
            now.pass_by(1)

        world.output.before_bounds = one_more
        settings = AuditSettings(until_caught_up=True, timeout_s=30, no_progress_s=15)
        verdict = world.audit(settings, clock=now, pause=now.pass_by)
        assert (verdict.caught_up, verdict.lost, verdict.exit_code) == (False, 0, 5)
        assert 30 < now() < 35

    def test_the_deadline_holds_while_reading(self):
        world, now = World(), Clock()
        world.make(several())
        read = world.source.read

        def slow(to):
            for batch in read(to):
                now.pass_by(20)
                yield batch

        world.source.read = slow  # type: ignore[method-assign]
        with pytest.raises(CannotReach, match="--timeout-s"):
            world.audit(AuditSettings(timeout_s=30), clock=now)


@pytest.mark.parametrize("name", ["source", "output"])
def test_a_truncated_topic_is_refused(name):
    world = World()
    world.make(several())
    getattr(world, name).start = {1: 4}
    with pytest.raises(CannotReach, match="partition 1 begins at offset 4"):
        world.audit()


def test_at_most_twenty_samples_of_a_kind():
    world = World()
    world.make(several(each=100))
    verdict = world.audit()
    assert (verdict.lost, len(verdict.samples["lost"])) == (300, 20)


class Clock:
    """Seconds that pass only when something waits."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def pass_by(self, seconds: float) -> None:
        self._now += seconds
