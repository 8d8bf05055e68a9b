"""The auditor by lineage: each range from the region that wrote it, or all from one region, with the same verdict."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest

from ledger.audit_lineage import LineageLog
from ledger.audit_log import Bounds
from ledger.audit_run import AuditRun, AuditSettings
from ledger.auditor import or_over_all
from ledger.faults import BadInput, CannotReach
from ledger.lineage import Lineage
from ledger.verdict import Verdict
from tests.unit.ledger.memory import PARTITIONS, MemoryLog, output_partition
from tests.unit.ledger.two_regions import a_lineage


class Regions:
    """Payments and balances in two regions. What is written in one is mirrored by hand, at other offsets."""

    def __init__(self) -> None:
        self.logs = {(topic, region): MemoryLog() for topic in ("in", "out") for region in ("east", "west")}
        # Offsets of the two regions never agree.
        for p in range(PARTITIONS):
            for topic in ("in", "out"):
                self.logs[topic, "west"]._ends[p] = 0
        self.totals: dict[str, int] = {}
        self.segments = {topic: {p: [(0, "east", 0, None)] for p in range(PARTITIONS)} for topic in ("in", "out")}  # type: dict[str, dict[int, list[tuple[int, str, int, int | None]]]]
        self.excluded: dict[str, dict[int, list[tuple[str, int, int]]]] = {"in": {}, "out": {}}
        self.turns = {"in": 0, "out": 0}
        self.now_ms = 1_700_000_000_000
        self.opened: list[str] = []

    def pay(self, rid: str, *regions: str) -> str:
        """Append a payment in these regions; the right output if it counts."""
        account, sequence = rid.split(":")
        amount = 5 + int(sequence)
        for region in regions:
            partition = zlib.crc32(account.encode()) % PARTITIONS
            self.logs["in", region].append(partition, account.encode(), f"{rid},{account},{sequence},{amount}".encode())
        self.totals[account] = self.totals.get(account, 0) + amount
        return f"{rid},{account},{sequence},{amount},{self.totals[account]},1"

    def answer(self, value: str, *regions: str, step_ms: int = 10) -> dict[str, tuple[int, int]]:
        rid, account, *_ = value.split(",")
        self.now_ms += step_ms
        p = output_partition(rid)
        return {
            region: (p, self.logs["out", region].append(p, account.encode(), value.encode(), self.now_ms))
            for region in regions
        }

    def ends(self, topic: str, region: str) -> dict[int, int]:
        return dict(self.logs[topic, region]._ends)

    def turn(self, topic: str, source: str, target: str, *, known: bool = True) -> None:
        self.turns[topic] += 1
        for p, segments in self.segments[topic].items():
            turn, region, first, _ = segments[-1]
            assert region == source
            segments[-1] = (turn, region, first, self.ends(topic, source)[p] if known else None)
            segments.append((self.turns[topic], target, self.ends(topic, target)[p], None))

    def exclude(self, topic: str, region: str, partition: int, first: int, last: int) -> None:
        self.excluded[topic].setdefault(partition, []).append((region, first, last))

    def lineage(self, topic: str) -> Lineage:
        region = self.segments[topic][0][-1][1]
        return a_lineage(
            self.turns[topic], topic=topic, region=region, segments=self.segments[topic], excluded=self.excluded[topic]
        )

    def log(self, topic: str, *, keep: bool, only: str | None = None) -> LineageLog:
        def open_log(region: str) -> MemoryLog:
            self.opened.append(region)
            return self.logs[topic, region]

        return LineageLog(lambda: self.lineage(topic), open_log, keep=keep, only=only)

    def audit(self, only: str | None = None, **more: object) -> Verdict:
        source, output = self.log("in", keep=False, only=only), self.log("out", keep=True, only=only)
        settings = AuditSettings(superseded=output.superseded, mirrored=only is not None, no_progress_s=0.2)
        return AuditRun(source, output, settings, **more).run()  # type: ignore[arg-type]


def switched(count: int = 30) -> Regions:
    """Half in the east and mirrored, then turned, the other half in the west."""
    regions = Regions()
    rids = [f"a{i % 5}:{i // 5 + 1}" for i in range(count)]
    both = ("east", "west")
    for rid in rids[: count // 2]:
        regions.answer(regions.pay(rid, *both), *both)
    for topic in ("in", "out"):
        regions.turn(topic, "east", "west")
    for rid in rids[count // 2 :]:
        regions.answer(regions.pay(rid, "west"), "west")
    return regions


VIEWS = pytest.mark.parametrize("only", [None, "west"])


@VIEWS
def test_x20_both_views_give_the_same_verdict(only):
    verdict = switched().audit(only)
    assert (verdict.verdict, verdict.input, verdict.output, verdict.exit_code) == ("0/0/0", 30, 30, 0)
    assert (verdict.input_holes, verdict.reordered, verdict.excluded, verdict.superseded) == (0, 0, 0, 0)


def test_by_lineage_nothing_of_a_region_is_read_that_another_wrote():
    regions = switched()
    # A mirror that has doubled a record shows in the view of the one region only.
    regions.answer("a0:1,a0,1,6,6,1", "east")
    assert regions.audit().verdict == "0/0/0"
    assert regions.audit("east").verdict != "0/0/0"


@VIEWS
def test_a_loss_behind_the_cut_is_found_and_its_place_is_that_of_a_region(only):
    regions = switched()
    regions.pay("a1:7", "west")
    value = regions.pay("a2:7", "west")
    where = regions.answer(value.replace("a2,7,12,", "a2,7,13,"), "west")["west"]
    verdict = regions.audit(only)
    assert verdict.verdict == "1/0/1"
    (wrong,) = verdict.samples["wrong"]
    assert (wrong.region, (wrong.partition, wrong.offset)) == ("west", where)
    assert "at west partition" in verdict.text()


def test_x23_a_tail_that_never_crossed_does_not_count_and_its_outputs_are_orphans():
    regions = switched()
    for rid in ("a9:1", "a9:2"):
        p, first = zlib.crc32(b"a9") % PARTITIONS, regions.ends("in", "east")
        value = regions.pay(rid, "east")
        regions.exclude("in", "east", p, first[p], regions.ends("in", "east")[p] - 1)
        where = regions.answer(value, "east", step_ms=60_000)["east"]
        regions.exclude("out", "east", where[0], where[1], where[1])
    verdict = regions.audit()
    assert (verdict.verdict, verdict.input, verdict.excluded) == ("0/0/0", 30, 2)
    assert (verdict.superseded, verdict.orphans, verdict.unexpected) == (2, 2, 0)
    assert verdict.gap_ms == 10  # What a dead region still wrote does not bound the gap of the one that took over.
    assert regions.audit("west").verdict == "0/0/0"


@VIEWS
def test_x21_what_the_new_job_does_again_is_a_replay(only):
    regions = Regions()
    both = ("east", "west")
    values = [regions.pay(f"a1:{n}", *both) for n in range(1, 11)]
    for value in values[:8]:
        places = regions.answer(value, *both)
        if value in values[5:8]:
            for region, (p, offset) in places.items():
                regions.exclude("out", region, p, offset, offset)
    for topic in ("in", "out"):
        regions.turn(topic, "east", "west")
    for value in values[5:]:
        regions.answer(value, "west")
    verdict = regions.audit(only)
    assert (verdict.verdict, verdict.replayed, verdict.superseded, verdict.orphans) == ("0/0/0", 3, 3, 0)


def test_x21_without_the_exclusion_it_is_a_duplicate():
    regions = switched()
    regions.answer("a0:1,a0,1,6,6,1", "west")
    assert regions.audit().verdict == "0/1/0"


def test_gaps_of_the_sequence_are_told_and_filled_late_they_are_reordered_and_right():
    """Payments confirmed by a region that was lost: a hole, no loss; fed later, in another order, no fault either."""
    regions = switched()
    lost = dict(regions.totals)
    regions.pay("a0:7", "east")
    regions.totals = lost
    regions.answer(regions.pay("a0:8", "west"), "west")
    p = zlib.crc32(b"a0") % PARTITIONS
    end = regions.ends("in", "east")[p]
    regions.exclude("in", "east", p, end - 1, end - 1)
    verdict = regions.audit()
    assert (verdict.verdict, verdict.input_holes, verdict.reordered, verdict.excluded) == ("0/0/0", 1, 0, 1)
    regions.answer(regions.pay("a0:7", "west"), "west")
    for log in regions.logs.values():
        log._positions = dict.fromkeys(log._positions, 0)
    verdict = regions.audit()
    assert (verdict.verdict, verdict.input_holes, verdict.reordered) == ("0/0/0", 0, 1)


def test_an_end_that_nobody_knows_is_read_where_it_crossed_and_the_lost_region_is_not_asked():
    regions = Regions()
    both = ("east", "west")
    for n in range(1, 6):
        regions.answer(regions.pay(f"a1:{n}", *both), *both)
    for topic in ("in", "out"):
        regions.turn(topic, "east", "west", known=False)
    regions.answer(regions.pay("a1:6", "west"), "west")
    verdict = regions.audit()
    assert (verdict.verdict, verdict.input) == ("0/0/0", 6)
    assert set(regions.opened) == {"west"}


def test_there_and_back_again():
    regions = switched()
    for log in (regions.logs["in", "west"], regions.logs["out", "west"]):
        log.reads = 0
    # The way back: the mirror brings to the east what the west has written, behind what the east still took.
    for topic in ("in", "out"):
        for p, records in regions.logs[topic, "west"].records.items():
            east = regions.logs[topic, "east"]
            cut = regions.segments[topic][p][-1][2]
            for record in [r for r in records if r[1] >= cut]:
                east.append(p, record[3] or b"", record[4], record[2])
        regions.turn(topic, "west", "east")
    for n in (7, 8):
        regions.answer(regions.pay(f"a3:{n}", "east"), "east")
    for only in (None, "east"):
        verdict = regions.audit(only)
        assert (verdict.verdict, verdict.input, verdict.output) == ("0/0/0", 32, 32)


def test_a_mirrored_output_may_come_before_its_payment():
    regions = switched()
    value = regions.pay("a1:7", "east")
    regions.answer(value, "west")
    ticks: list[float] = []

    def pause(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) == 1:
            regions.totals["a1"] -= 12
            regions.pay("a1:7", "west")

    verdict = regions.audit("west", pause=pause)
    assert (verdict.verdict, verdict.ahead, verdict.unexpected) == ("0/0/0", 1, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda log: log.start.update({0: 1}), "input partition 0 begins at offset 1"),
        (lambda log: log._ends.update({1: -5}), "region east: in partition 1 ends at offset"),
    ],
)
def test_what_is_gone_of_a_segment_is_no_verdict(spoil: Callable[[MemoryLog], None], message: str):
    regions = switched()
    spoil(regions.logs["in", "east"])
    with pytest.raises(CannotReach, match=message):
        regions.audit()


def test_the_beginning_of_a_later_segment_gone_is_named_with_its_region():
    regions = switched()
    regions.logs["in", "west"].start[0] = regions.segments["in"][0][-1][2] + 1
    with pytest.raises(CannotReach, match="region west: in partition 0 begins at offset"):
        regions.audit()


def test_a_region_that_cannot_be_reached_is_named():
    def open_log(region: str) -> MemoryLog:
        if region == "east":
            raise CannotReach("Kafka did not answer for 3 s")
        return MemoryLog()

    with pytest.raises(CannotReach, match="region east: Kafka did not answer") as caught:
        LineageLog(lambda: switched().lineage("in"), open_log)
    assert caught.value.exit_code == 5


def test_a_region_with_fewer_partitions_is_named():
    regions = switched()
    del regions.logs["in", "west"].records[2]
    with pytest.raises(BadInput, match="region west: in has no partition 2 there"):
        regions.audit()


def test_a_turn_while_it_is_audited_is_no_verdict():
    regions = switched()

    def turn() -> None:
        if regions.turns["out"] == 1:
            regions.turn("out", "west", "east")

    regions.logs["in", "west"].before_bounds = turn
    with pytest.raises(CannotReach, match="changed while it was audited"):
        regions.audit()


def test_what_is_undecided_in_a_closed_segment_is_not_read_past():
    regions = switched()
    regions.logs["out", "east"].open_from[1] = 2
    log = regions.log("out", keep=True)
    found = log.bounds()
    assert found[1].stable == 2
    assert isinstance(found[0], Bounds)
    assert found[0].stable == found[0].end > 0


def test_a_manifest_speaks_of_one_regions_offsets():
    log = switched().log("out", keep=True)
    cut = log._laid[0][1].first
    base = log._laid[0][1].base
    assert [(r.first, r.last) for r in log.ranges("west", 0, cut - 5, cut + 1)] == [(base, base + 1)]
    assert [(r.first, r.last) for r in log.ranges("east", 0, 0, base + 100)] == [(0, base - 1)]
    assert log.place(0, base) == ("west", cut)
    assert log.place(0, base - 1) == ("east", base - 1)


def ahead() -> Regions:
    """The state that the west went on from had read four payments that never came there, their outputs had."""
    regions = Regions()
    both = ("east", "west")
    for number in range(1, 11):
        where = both if number <= 6 else ("east",)
        regions.answer(regions.pay(f"a1:{number}", *where), *both)
    for topic in ("in", "out"):
        regions.turn(topic, "east", "west")
    for number in range(11, 15):
        regions.answer(regions.pay(f"a1:{number}", "west"), "west")
    return regions


def test_x22_inputs_that_count_where_they_stand_are_looked_for_there():
    regions = ahead()
    alone = regions.audit("west")
    assert (alone.lost, alone.duplicated, alone.unexpected) == (0, 0, 4)
    assert alone.exit_code == 7
    whole = or_over_all(alone, "west", regions.audit)
    assert (whole.verdict, whole.exit_code, whole.input, whole.output) == ("0/0/0", 0, 14, 14)
    assert "4 outputs in west are of payments that are not in its log" in whole.note
    assert whole.note in whole.text()


@pytest.mark.parametrize("fault", ["lost", "duplicated", "wrong over all", "away"])
def test_x22_what_else_is_wrong_stays_so(fault: str):
    """Only a lack of inputs is made good: nothing else is looked at in another region's light."""
    regions = ahead()
    if fault == "lost":
        regions.pay("a2:1", "west")
    elif fault == "duplicated":
        regions.answer("a1:1,a1,1,6,6,1", "west")
    elif fault == "wrong over all":
        regions.answer("a3:1,a3,1,6,6,1", "west")
    alone = regions.audit("west")
    asked = []

    def over_all() -> Verdict:
        asked.append(True)
        if fault == "away":
            raise CannotReach("region east: no answer")
        return regions.audit()

    assert or_over_all(alone, "west", over_all) is alone
    assert bool(asked) == (fault in {"wrong over all", "away"})


def test_x22_a_good_verdict_asks_nobody_else():
    good = switched().audit("west")

    def over_all() -> Verdict:
        raise AssertionError("nothing is to be asked")

    assert or_over_all(good, "west", over_all) is good
