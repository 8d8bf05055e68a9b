"""Generator and auditor across two real Kafkas: exactly once through a planned and an unplanned switch (X18, X20)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.following import FollowingGenerator
from ledger.lineage import ControlBucket, LineageFollower, read_lineage
from ledger.lineage_reader import LineageReader
from ledger.payments import PaymentSettings
from ledger.producing import GeneratorSettings
from ledger.verdict import Verdict
from tests.integration.ledger.job import Sink
from tests.integration.ledger.regions import Mirroring, Regions, Topic, login, payments_of
from tests.kit.sandbox import running_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    folder = tmp_path_factory.mktemp("regions") / "data"
    with running_sandbox(folder, "east", "west", taskmanagers=0) as sandbox:
        yield Regions(sandbox)


def command(regions: Regions, module: str, *arguments: str) -> list[str]:
    properties = [part for k, v in login("ledger").items() for part in ("--kafka-property", f"{k}={v}")]
    return [sys.executable, "-m", f"ledger.{module}", *regions.arguments, *properties, "-o", "json", *arguments]


def audit(regions: Regions, payments: Topic, balances: Topic, *arguments: str) -> tuple[int, Verdict]:
    done = subprocess.run(
        command(regions, "auditor", "--lineage", "--input", payments.name, "--output", balances.name, *arguments),
        env={**os.environ, **regions.environment}, capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    return done.returncode, Verdict.model_validate_json(done.stdout or done.stderr)


def acked(path: Path) -> list[tuple[str, str, int, int, str]]:
    return [
        (rid, region, int(partition), int(offset), how)
        for rid, region, partition, offset, how in (line.split(",") for line in path.read_text().splitlines())
    ]


def wait_for_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_in_order(records: list[tuple[int, int, bytes]]) -> None:
    newest: dict[str, int] = {}
    for _, account, sequence in payments_of(records):
        assert sequence > newest.get(account, 0), (account, sequence)
        newest[account] = sequence


def test_x18_a_planned_switch_loses_and_doubles_nothing_though_kafka_refuses_first(regions, tmp_path):
    payments, balances = regions.topics()
    file = tmp_path / "acked"
    process = subprocess.Popen(
        command(regions, "generator", "--follow", "--topic", payments.name, "--rate", "3000", "--accounts", "200",
                "--state", str(tmp_path / "state.json"), "--acked", str(file)),
        env={**os.environ, **regions.environment}, stdout=subprocess.PIPE,
    )  # fmt: skip
    wait_for_lines(file, 3_000)
    # Kafka refuses before the producer has heard that the gate is closed: some are refused under way.
    payments.deny("east")
    payments.tell(gate="closed")
    ends = payments.wait_stable("east")
    payments.mirror()
    cuts = payments.turn(ends=ends)
    opened_s = time.monotonic()
    payments.tell(gate="open")
    while payments.ends("west") == cuts:
        assert time.monotonic() - opened_s < 10
    took_s = time.monotonic() - opened_s
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    totals = json.loads(out)
    assert process.returncode == 0
    assert (totals["switches"], totals["unresolved"], totals["errors"]) == (1, 0, 0), totals
    assert totals["sent"] == totals["acked"]
    assert totals["refused"] > 0
    print(f"took {took_s:.2f} s")
    assert took_s < 5, took_s
    payments.allow("east")

    west = payments.records("west")
    assert payments.ends("east") == ends
    assert Counter(rid for rid, _, _ in payments_of(west)).most_common(1)[0][1] == 1
    assert {rid for rid, *_ in acked(file)} == {rid for rid, _, _ in payments_of(west)}
    assert_in_order(west)
    where = {(region, p, o): rid for rid, region, p, o, _ in acked(file)}
    for region in ("east", "west"):
        for p, o, value in payments.records(region):
            assert where.get((region, p, o), value.split(b",")[0].decode()) == value.split(b",")[0].decode()
    assert json.loads((tmp_path / "state.json").read_text())["clean"]

    outputs = payments.right_outputs("west")
    half = len(outputs) // 2
    sink = Sink(regions.bootstrap["east"], login("ledger"), balances.name, f"{balances.name}-e1")
    sink.write(outputs[:half])
    sink.commit()
    output_ends = balances.wait_stable("east")
    assert balances.mirror() == half
    balances.turn(ends=output_ends)
    balances.tell(gate="open")
    sink = Sink(regions.bootstrap["west"], login("ledger"), balances.name, f"{balances.name}-e2")
    sink.write(outputs[half:])
    sink.commit()
    for view in ([], ["--in", "west"]):
        status, verdict = audit(regions, payments, balances, "--until-caught-up", *view)
        assert (status, verdict.verdict, verdict.input, verdict.output) == (0, "0/0/0", totals["acked"], len(outputs))
        assert (verdict.reordered, verdict.input_holes, verdict.unexpected, verdict.excluded) == (0, 0, 0, 0)


def test_x18_an_unplanned_switch_sends_again_what_is_not_there_and_never_what_was_confirmed(regions, tmp_path):
    payments, balances = regions.topics()
    file = tmp_path / "acked"
    settings = GeneratorSettings(
        "", payments.name, login("ledger"), rate_per_s=3_000, payments=PaymentSettings(200, seed=4), acked=file,
        state=tmp_path / "state.json",
    )  # fmt: skip
    follower = LineageFollower(ControlBucket(payments.name, regions.environment))
    generator = FollowingGenerator(settings, regions.bootstrap, follower)
    generator.start()
    mirroring = Mirroring(payments)
    generator.wait_for_acked(4_000, timeout_s=30)
    mirroring.stop()
    at = generator.acked
    generator.wait_for_acked(at + 1_000, timeout_s=30)  # A tail that never crosses.
    mirrored = dict(payments.mirrored)
    regions.sandbox.pause("east/kafka")
    try:
        confirmed = generator.acked
        time.sleep(1)
        assert generator.acked - confirmed < 3_000
        payments.turn(ends=mirrored)
        opened_s = time.monotonic()
        before = generator.acked
        payments.tell(gate="open")
        generator.wait_for_acked(before + 3_000, timeout_s=20)
        took_s = time.monotonic() - opened_s
        totals = generator.stop()
    finally:
        regions.sandbox.resume("east/kafka")
    assert (totals.switches, totals.unresolved, totals.acked) == (1, 0, totals.sent), totals
    assert totals.resent > 0
    print(f"took {took_s:.2f} s")
    assert took_s < 5, took_s

    west = payments.records("west")
    assert Counter(rid for rid, _, _ in payments_of(west)).most_common(1)[0][1] == 1
    assert_in_order(west)
    east = payments.records("east")
    ends = payments.wait_stable("east")
    payments.exclude("east", {p: (mirrored[p], ends[p]) for p in ends})
    there = {rid for rid, _, _ in payments_of(west)}
    tail = {rid for (rid, _, _), (p, o, _) in zip(payments_of(east), east, strict=True) if o >= mirrored[p]}
    never = {rid for rid, *_ in acked(file)} - there
    assert never  # They were confirmed by the east and never crossed: not sent again, and all of them in its tail.
    assert never <= tail

    outputs = payments.right_outputs("west")
    first = len(outputs) // 3
    sink = Sink(regions.bootstrap["east"], login("ledger"), balances.name, f"{balances.name}-e1")
    sink.write(outputs[:first])
    sink.commit()
    output_ends = balances.wait_stable("east")
    balances.mirror()
    orphans = sorted(never)[:7]
    sink.write(
        [
            (rid.split(":")[0].encode(), f"{rid},{rid.split(':')[0]},{rid.split(':')[1]},1,1,1".encode())
            for rid in orphans
        ]
    )
    sink.commit()
    balances.turn(ends=output_ends)
    balances.exclude("east", {p: (output_ends[p], end) for p, end in balances.wait_stable("east").items()})
    balances.tell(gate="open")
    sink = Sink(regions.bootstrap["west"], login("ledger"), balances.name, f"{balances.name}-e2")
    sink.write(outputs[first:])
    sink.commit()
    status, verdict = audit(regions, payments, balances, "--until-caught-up")
    assert (status, verdict.verdict, verdict.input, verdict.output) == (0, "0/0/0", len(west), len(outputs))
    assert (verdict.excluded, verdict.superseded, verdict.orphans) == (len(tail), 7, 7)
    newest = Counter()  # type: Counter[str]
    for _, account, sequence in payments_of(west):
        newest[account] = max(newest[account], sequence)
    holes = {rid for rid in never if int(rid.split(":")[1]) < newest[rid.split(":")[0]]}
    assert verdict.input_holes == len(holes)
    status, verdict = audit(regions, payments, balances, "--until-caught-up", "--in", "west")
    assert (status, verdict.verdict, verdict.input, verdict.output) == (0, "0/0/0", len(west), len(outputs))


def test_x25_a_consumer_goes_along_and_reads_each_record_once(regions, tmp_path):
    _, balances = regions.topics()
    file = tmp_path / "read"
    values = [(b"a%d" % (i % 9), b"a%d:%d,x,1,1,1,1" % (i % 9, i)) for i in range(700)]
    east = Sink(regions.bootstrap["east"], login("ledger"), balances.name, f"{balances.name}-e1")
    east.write(values[:300])
    east.commit()
    process = subprocess.Popen(
        command(regions, "consumer", "--topic", balances.name, "--group", f"g-{balances.name}", "--out", str(file)),
        env={**os.environ, **regions.environment}, stdout=subprocess.PIPE,
    )  # fmt: skip
    wait_for_lines(file, 300)
    east.write(values[300:500])
    east.commit()
    balances.tell(gate="closed")
    ends = balances.wait_stable("east")
    balances.mirror()
    balances.turn(ends=ends)
    # Superseded before anybody has read it in the west.
    west = Sink(regions.bootstrap["west"], login("ledger"), balances.name, f"{balances.name}-e2")
    first = balances.ends("west")
    west.write([(b"x", b"x:%d,x,1,1,1,1" % i) for i in range(40)])
    west.commit()
    balances.exclude("west", {p: (first[p], end) for p, end in balances.wait_stable("west").items()})
    west.write(values[500:])
    west.commit()
    opened_s = time.monotonic()
    balances.tell(gate="open")
    wait_for_lines(file, 700)
    took_s = time.monotonic() - opened_s
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    totals = json.loads(out)
    assert process.returncode == 0
    assert (totals["read"], totals["switches"], totals["passed_over"]) == (700, 1, 0), totals
    assert totals["by_region"] == {"east": {"read": 500, "skipped": 0}, "west": {"read": 200, "skipped": 40}}
    read = [line.split(",", 3)[3] for line in file.read_text().splitlines()]
    assert sorted(read) == sorted(value.decode() for _, value in values)
    print(f"took {took_s:.2f} s")
    assert took_s < 5, took_s
    word = read_lineage(ControlBucket(balances.name, regions.environment))
    fresh = [record.value for record in LineageReader(word, regions.bootstrap, login("ledger"))]
    assert sorted(fresh) == sorted(value for _, value in values)


def test_a_region_that_cannot_be_reached_ends_with_5_and_is_named(regions):
    payments, balances = regions.topics()
    payments.turn(ends=payments.ends("east"))
    balances.turn(ends=balances.ends("east"))
    where = ["--region", "east=127.0.0.1:1", "--region", f"west={regions.bootstrap['west']}"]
    properties = [part for k, v in login("ledger").items() for part in ("--kafka-property", f"{k}={v}")]
    done = subprocess.run(
        [sys.executable, "-m", "ledger.auditor", "--lineage", *where, *properties, "--input", payments.name,
         "--output", balances.name, "--timeout-s", "3"],
        env={**os.environ, **regions.environment}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    assert b"region east: Kafka did not answer for 3 s" in done.stderr
