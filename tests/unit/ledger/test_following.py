"""The generator that follows a lineage: each payment once and in order, whatever region is gone or refuses."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ledger.faults import BadInput, CannotReach
from ledger.follow_kafka import find_in, newest
from ledger.following import FollowingGenerator
from ledger.lineage import LineageFollower, pieces
from ledger.payments import PaymentSettings, Position
from ledger.producing import GeneratorSettings
from tests.unit.ledger.two_regions import PARTITIONS, MemoryBucket, MemorySender, Region, a_lineage


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.005)


class Bench:
    """East and west, a generator that begins in the east, and the operator who turns the topic."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.bucket = MemoryBucket()
        self.regions = {"east": Region(), "west": Region()}
        self.buffer = 1_000
        self.acked = folder / "acked"
        self.state = folder / "state.json"
        self.cut: dict[int, int] = {}
        settings = GeneratorSettings(
            "", rate_per_s=2_000, payments=PaymentSettings(20), acked=self.acked, state=self.state, **more
        )
        follower = LineageFollower(self.bucket, poll_s=0.01)
        self.generator = FollowingGenerator(
            settings,
            {"east": "east:1", "west": "west:1"},
            follower,
            sender=lambda region: MemorySender(self.regions[region], buffer=self.buffer),
            log=lambda region: self.regions[region],
        )

    @property
    def east(self) -> Region:
        return self.regions["east"]

    @property
    def west(self) -> Region:
        return self.regions["west"]

    def mirror(self, *, but_last: int = 0) -> None:
        """All of the east to the west, but so many of each partition's last."""
        for p, records in self.east.records.items():
            self.west.records[p] = list(records[: len(records) - but_last])

    def turn(self, *, gate: str = "open", **more: Any) -> None:
        self.cut = {p: len(records) for p, records in self.west.records.items()}
        segments = {p: [(0, "east", 0, end), (1, "west", end, None)] for p, end in self.cut.items()}
        word = a_lineage(1, region="west", gate=gate, segments=segments, **more)
        self.bucket.tell(**word.model_dump(exclude={"seq"}))

    def wait_for(self, more: int) -> None:
        self.generator.wait_for_acked(self.generator.acked + more, timeout_s=60)

    def check(self, region: Region, *, gone: set[bytes] = frozenset()) -> None:  # type: ignore[assignment]
        """Each payment that was made is in that region's log once, each account in order, but for those gone."""
        ids = region.ids()
        assert not [rid for rid, count in Counter(ids).items() if count > 1]
        position = Position.load(self.state)
        made = {f"{name}:{n}".encode() for name, last in position.sequences.items() for n in range(1, last + 1)}
        assert made == set(ids) | set(gone)
        last: dict[bytes, int] = {}
        for records in region.records.values():
            for record in records:
                _, name, sequence, _ = record[4].split(b",")
                assert int(sequence) > last.get(name, 0)
                last[name] = int(sequence)
        lines = [line.split(",") for line in self.acked.read_text().splitlines()]
        assert Counter(line[0] for line in lines).most_common(1)[0][1] == 1
        assert {line[0].encode() for line in lines} == made
        for rid, name, partition, offset, _ in lines:
            held = self.regions[name].records[int(partition)]
            assert held[int(offset)][4].split(b",")[0] == rid.encode()


@contextmanager
def running(bench: Bench) -> Iterator[FollowingGenerator]:
    bench.generator.start()
    try:
        yield bench.generator
    finally:
        if not bench.generator._stop.is_set():
            bench.generator.stop(flush_s=0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_x18_it_stops_at_the_closed_gate_and_goes_on_where_it_opens(bench):
    with running(bench) as generator:
        bench.wait_for(200)
        bench.bucket.tell(gate="closed")
        until(lambda: generator.region is None)
        until(lambda: generator.acked == generator.sent)
        held = len(bench.east.ids())
        bench.mirror()
        bench.turn(gate="closed")
        time.sleep(0.1)
        assert (generator.region, len(bench.west.ids()), len(bench.east.ids())) == (None, held, held)
        bench.bucket.tell(gate="open")
        until(lambda: generator.region == "west")
        bench.wait_for(200)
        totals = generator.stop()
    assert (totals.switches, totals.resent, totals.refused, totals.found_there, totals.unresolved) == (1, 0, 0, 0, 0)
    assert (totals.sent, bench.west.looked_up, len(bench.east.ids())) == (totals.acked, 0, held)
    bench.check(bench.west)


def test_x18_what_kafka_refuses_is_handed_over_again_in_order_before_anything_new(bench):
    with running(bench) as generator:
        bench.wait_for(200)
        with bench.east.lock:
            bench.east.denied = True
        until(lambda: generator.refused)
        bench.bucket.tell(gate="closed")
        until(lambda: generator._sender is None)
        sent = generator.sent
        bench.mirror()
        bench.turn()
        bench.wait_for(200)
        totals = generator.stop()
    assert totals.resent >= totals.refused > 0
    assert (totals.switches, totals.found_there, totals.errors) == (1, 0, 0)
    assert totals.sent > sent
    bench.check(bench.west)


def test_refused_it_waits_for_a_word_that_is_younger_than_the_refusal(bench):
    with running(bench) as generator:
        bench.wait_for(100)
        bench.bucket.away = True
        time.sleep(0.05)
        bench.wait_for(100)  # The last word stands while nobody can be asked.
        bench.east.denied = True
        until(lambda: generator.region is None)
        bench.east.denied = False
        held = len(bench.east.ids())
        time.sleep(0.4)
        assert len(bench.east.ids()) == held
        bench.bucket.away = False
        until(lambda: generator.region == "east")
        bench.wait_for(100)
        totals = generator.stop()
    assert (totals.switches, totals.unresolved) == (0, 0)
    bench.check(bench.east)


def test_the_way_back_the_gate_opens_again_where_it_was_closed(bench):
    with running(bench) as generator:
        bench.wait_for(100)
        bench.bucket.tell(gate="closed")
        until(lambda: generator.region is None)
        bench.bucket.tell(gate="open")
        bench.wait_for(100)
        totals = generator.stop()
    assert (totals.switches, totals.resent) == (0, 0)
    bench.check(bench.east)


@pytest.mark.parametrize("arrived", [0, 40, 10_000])
def test_x18_a_region_without_an_answer_what_is_not_in_the_new_one_is_sent_again(bench, arrived):
    with running(bench) as generator:
        bench.wait_for(200)
        bench.east.silent = True
        until(lambda: generator.sent - generator.acked > 100)
        # Some of what gets no answer was taken, and the mirror brought it over.
        with bench.east.lock:
            for key, value, at_ms, _ in list(generator._sender._under_way)[:arrived]:  # type: ignore[union-attr]
                bench.east.append(key, value, at_ms)
        there = len(bench.east.ids())
        bench.mirror()
        confirmed = generator.acked
        bench.turn()
        until(lambda: generator.region == "west")
        bench.wait_for(200)
        totals = generator.stop()
    assert totals.found_there == there - confirmed
    assert (totals.found_there > 0) == (arrived > 0)
    assert (totals.switches, totals.unresolved, totals.acked) == (1, 0, totals.sent)
    bench.check(bench.west)


def test_x18_what_was_confirmed_and_never_crossed_is_not_sent_again(bench):
    with running(bench) as generator:
        bench.wait_for(200)
        bench.east.silent = True
        until(lambda: generator.sent - generator.acked > 50)
        bench.mirror(but_last=5)
        gone = {r[4].split(b",")[0] for p, records in bench.east.records.items() for r in records[len(records) - 5 :]}
        bench.turn()
        bench.wait_for(200)
        generator.stop()
    assert len(gone) == 5 * PARTITIONS
    bench.check(bench.west, gone=gone)


def test_what_the_new_region_holds_in_an_excluded_range_is_not_there(bench):
    with running(bench) as generator:
        bench.wait_for(100)
        bench.east.silent = True
        until(lambda: len(generator._outbox) > 20)
        lost = [w.value for w in generator._outbox.all()[:3]]
        for waiting in generator._outbox.all()[:3]:
            bench.west.append(waiting.key, waiting.value, waiting.at_ms)
        tail = {p: [("west", 0, len(r) - 1)] for p, r in bench.west.records.items() if r}
        bench.turn(excluded=tail)
        bench.wait_for(100)
        totals = generator.stop()
    assert totals.found_there == 0
    count = Counter(bench.west.ids())
    assert [count[value.split(b",")[0]] for value in lost] == [2, 2, 2]


def test_a_new_region_whose_log_cannot_be_read_is_not_written_to(bench):
    with running(bench) as generator:
        bench.wait_for(100)
        bench.east.silent = bench.west.silent = True
        until(lambda: len(generator._outbox) > 20)
        bench.turn()
        time.sleep(0.5)
        assert generator.region is None
        bench.mirror()
        bench.west.silent = False
        bench.wait_for(100)
        totals = generator.stop()
    assert totals.switches == 1
    bench.check(bench.west)


def test_stopped_before_the_gate_opens_the_rest_is_unresolved_and_the_state_not_clean(bench):
    with running(bench) as generator:
        bench.wait_for(100)
        bench.east.denied = True
        until(lambda: generator.refused)
        bench.bucket.tell(gate="closed")
        until(lambda: generator._sender is None)
        totals = generator.stop(flush_s=0.1)
    assert totals.unresolved == totals.sent - totals.acked > 0
    assert not Position.load(bench.state).clean


def test_stopped_it_hands_over_what_is_left_if_the_gate_opens_in_time(tmp_path):
    bench = Bench(tmp_path, count=300)
    with running(bench) as generator:
        bench.wait_for(100)
        bench.east.denied = True
        until(lambda: generator.region is None)
        bench.mirror()
        bench.turn()
        assert generator.wait(timeout_s=10)
        totals = generator.stop()
    assert (totals.sent, totals.acked, totals.unresolved) == (300, 300, 0)
    assert json.loads(bench.state.read_text())["clean"]
    bench.check(bench.west)


def test_stopped_while_it_hands_over_again_the_order_holds_though_the_buffer_is_full(bench):
    with running(bench) as generator:
        bench.wait_for(100)
        bench.east.silent = True
        until(lambda: len(generator._outbox) > 300)
        bench.mirror()
        bench.buffer = 40
        with ThreadPoolExecutor() as pool:
            stopping = pool.submit(generator.stop, flush_s=10)
            until(generator._stop.is_set)
            bench.turn()
            totals = stopping.result()
    assert (totals.unresolved, totals.switches) == (0, 1)
    assert totals.resent > 300
    bench.check(bench.west)


def test_a_full_buffer_holds_it_up_and_does_not_hold_it_back_from_switching(bench):
    with running(bench) as generator:
        bench.wait_for(100)
        bench.east.silent = True
        until(lambda: len(generator._outbox) >= 1_000)
        bench.mirror()
        bench.turn()
        bench.wait_for(1_500)
        totals = generator.stop()
    assert totals.resent >= 1_000
    bench.check(bench.west)


def test_without_a_lineage_or_its_region_it_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr("ledger.following.REACH_S", 0.1)
    bench = Bench(tmp_path)
    bench.bucket.word = None
    with pytest.raises(CannotReach, match=r"holds no lineage/payments\.json"):
        bench.generator.start()
    bench.generator._follower.stop()
    other = Bench(tmp_path)
    other.bucket.tell(region="north")
    with pytest.raises(BadInput, match="name its Kafka with --region north="):
        other.generator.start()
    other.generator._follower.stop()


def test_after_a_crash_no_sequence_is_used_twice_though_the_tail_is_gone():
    saved = Position(clean=False, made=10, sequences={"a": 7, "b": 3})
    found = newest(saved, Position(made=9, sequences={"a": 5, "b": 4, "c": 1}))
    assert found.sequences == {"a": 7, "b": 4, "c": 1}
    assert found.made == 10


def test_while_a_transaction_is_open_nothing_is_said_to_be_missing():
    region = Region()
    region.append(b"a", b"a:1,a,1,5", 1)
    bounds = region.bounds()
    open_ = {p: b._replace(stable=b.end - 1) for p, b in bounds.items()}
    region.bounds = lambda: open_  # type: ignore[method-assign]
    with pytest.raises(CannotReach, match="a transaction is open"):
        find_in(region, {b"a:1"}, 0)


@pytest.mark.parametrize("seed", range(6))
def test_x18_there_and_back_whatever_happens_on_the_way(tmp_path, seed):
    """Three switches, each planned, refused or without an answer, as the seed says. What counts, by lineage, holds each
    payment once and in order, but for what was confirmed and never crossed.
    """
    random = Random(seed)
    bench = Bench(tmp_path)
    at: dict[str, dict[int, int]] = {name: dict.fromkeys(range(PARTITIONS), 0) for name in bench.regions}
    segments: dict[int, list[tuple[int, str, int, int | None]]] = {p: [(0, "east", 0, None)] for p in range(PARTITIONS)}
    excluded: dict[int, list[tuple[str, int, int]]] = {p: [] for p in range(PARTITIONS)}
    gone: set[bytes] = set()
    with running(bench) as generator:
        for turn, (old, new) in enumerate([("east", "west"), ("west", "east"), ("east", "west")], 1):
            source, target = bench.regions[old], bench.regions[new]
            source.denied = source.silent = target.denied = target.silent = False
            bench.wait_for(random.randint(50, 300))
            how = random.choice(["planned", "refused", "silent"])
            tail = 0
            if how == "silent":
                with source.lock:
                    source.silent = True
                tail = random.randint(0, 20)
            else:
                source.denied = how == "refused"
                bench.bucket.tell(gate="closed")
                until(lambda: generator.region is None and not len(generator._sender or ()))
            with source.lock:
                for p, records in source.records.items():
                    # The mirror brings what this region has written since it was turned to, but for the tail.
                    end = max(at[old][p], len(records) - tail)
                    gone |= {r[4].split(b",")[0] for r in records[end:]}
                    for record in records[at[old][p] : end]:
                        target.records[p].append((p, len(target.records[p]), *record[2:]))
                    cut = len(target.records[p])
                    number, region, first, _ = segments[p][-1]
                    segments[p][-1] = (number, region, first, end)
                    segments[p].append((turn, new, cut, None))
                    if end < len(records):
                        excluded[p].append((old, end, len(records) - 1))
                    at[new][p] = cut
            word = a_lineage(turn, region=new, segments=segments, excluded=excluded)
            bench.bucket.tell(**word.model_dump(exclude={"seq"}))
            until(lambda name=new: generator.region == name)
        bench.wait_for(100)
        totals = generator.stop()
    assert (totals.switches, totals.unresolved, totals.acked) == (3, 0, totals.sent)
    assert bench.bucket.word is not None
    counted = Region()
    for p, known in bench.bucket.word.partitions.items():
        for region, first, end in pieces(known):
            counted.records[p] += bench.regions[region].records[p][first:end]
    bench.check(counted, gone=gone - set(counted.ids()))
