"""Generator and auditor on a real broker: transactions committed, aborted and open, and the gap by its clock (I2)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter

import pytest

from ledger.audit_kafka import KafkaLog
from ledger.payments import PaymentSettings
from ledger.producing import Generator, GeneratorSettings
from ledger.verdict import Verdict
from tests.integration.ledger.job import Sink, make_topic, right_outputs

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(120)]


class Bench:
    """A broker and two topics of this test's own."""

    def __init__(self, bootstrap: str, properties: dict[str, str]) -> None:
        self.bootstrap, self.properties = bootstrap, properties
        name = uuid.uuid4().hex[:8]
        self.payments, self.balances = f"payments-{name}", f"balances-{name}"
        make_topic(bootstrap, properties, self.balances)

    def generate(self, count: int, **more: object) -> None:
        generator = Generator(self.settings(count=count, rate_per_s=50_000, **more))
        generator.start()
        assert generator.wait(timeout_s=60)
        totals = generator.stop()
        assert (totals.sent, totals.acked, totals.errors, totals.unresolved) == (count, count, 0, 0)

    def settings(self, **more: object) -> GeneratorSettings:
        payments = PaymentSettings(accounts=50, seed=3)
        return GeneratorSettings(self.bootstrap, self.payments, self.properties, payments=payments, **more)  # type: ignore[arg-type]

    def outputs(self) -> list[tuple[bytes, bytes]]:
        return right_outputs(self.bootstrap, self.properties, self.payments)

    def sink(self, name: str = "a") -> Sink:
        return Sink(self.bootstrap, self.properties, self.balances, f"{self.balances}-{name}")

    def command(self, module: str, *arguments: str) -> list[str]:
        properties = [part for k, v in self.properties.items() for part in ("--kafka-property", f"{k}={v}")]
        return [sys.executable, "-m", f"ledger.{module}", "--bootstrap", self.bootstrap, *properties, *arguments]

    def audit(self, *arguments: str) -> tuple[int, Verdict]:
        command = self.command("auditor", "--input", self.payments, "--output", self.balances, "-o", "json", *arguments)
        done = subprocess.run(command, capture_output=True, timeout=90, check=False)
        return done.returncode, Verdict.model_validate_json(done.stdout or done.stderr)


@pytest.fixture
def bench(kafka: tuple[str, dict[str, str]]) -> Bench:
    return Bench(*kafka)


def test_right_output_in_several_transactions_is_0_0_0_and_an_aborted_one_does_not_count(bench):
    bench.generate(3_000)
    outputs = bench.outputs()
    sink = bench.sink()
    for at in range(0, 3_000, 500):
        sink.write([(b"a", b"never:1,never,1,1,1,2")] * 20)
        sink.abort()
        sink.write(outputs[at : at + 500])
        sink.commit()
    # The log's end holds no record that counts: the reader must come to its end by the markers alone.
    sink.write([(b"a", b"never:%d,never,%d,1,1,2" % (i, i)) for i in range(50)])
    sink.abort()
    status, verdict = bench.audit("--until-caught-up")
    assert (status, verdict.verdict, verdict.input, verdict.output) == (0, "0/0/0", 3_000, 3_000)
    assert verdict.gap_ms is not None
    assert list(verdict.first_output_ms) == ["1"]
    assert sum(count for _, count in verdict.rate) == 3_000
    log = KafkaLog(bench.bootstrap, bench.balances, bench.properties)
    assert verdict.checked_to == {p: b.end for p, b in log.bounds().items()}
    log.close()


def test_planted_faults_are_found_on_kafka(bench):
    bench.generate(2_000)
    outputs = bench.outputs()
    lost, twice, (account, wrong) = outputs.pop(700), outputs[100], outputs[200]
    fields = wrong.split(b",")
    outputs[200] = (account, b",".join([*fields[:4], b"123456789", b"2"]))
    sink = bench.sink()
    sink.write([*outputs, twice, (b"zz", b"zz:1,zz,1,5,5,2")])
    sink.commit()
    status, verdict = bench.audit()
    assert (status, verdict.verdict, verdict.unexpected) == (7, "1/1/1", 1)
    found = {kind: [sample.id for sample in samples] for kind, samples in verdict.samples.items()}
    assert found == {
        "lost": [lost[1].split(b",")[0].decode()],
        "duplicated": [twice[1].split(b",")[0].decode()],
        "wrong": [fields[0].decode()],
        "unexpected": ["zz:1"],
    }


def test_a_manifest_from_the_last_stable_offsets_makes_replays(bench, tmp_path):
    """X26 on one cluster: what stands between two last stable offsets is superseded and comes again."""
    bench.generate(1_000)
    outputs = bench.outputs()
    log = KafkaLog(bench.bootstrap, bench.balances, bench.properties)
    sink = bench.sink()
    sink.write(outputs[:600])
    sink.commit()
    first = stable_at_end(log)
    sink.write([(k, v[:-1] + b"2") for k, v in outputs[600:750]])
    sink.commit()
    second = stable_at_end(log)
    log.close()
    sink.write(outputs[600:])
    sink.commit()
    superseded = [{"partition": p, "first": first[p], "last": second[p] - 1} for p in first if second[p] > first[p]]
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"topic": bench.balances, "superseded": superseded}))
    status, verdict = bench.audit("--manifest", str(manifest), "--until-caught-up")
    assert (status, verdict.verdict, verdict.replayed, verdict.superseded) == (0, "0/0/0", 150, 150)
    assert verdict.first_output_ms["1"] <= verdict.first_output_ms["2"]
    status, verdict = bench.audit()
    assert (status, verdict.verdict, verdict.replayed) == (7, "0/150/0", 0)


def test_an_open_transaction_is_waited_for_and_never_called_lost(bench):
    bench.generate(500)
    outputs = bench.outputs()
    done, open_ = bench.sink("done"), bench.sink("open")
    open_.write(outputs[300:])
    done.write(outputs[:300])
    done.commit()
    status, verdict = bench.audit("--until-caught-up", "--no-progress-s", "1")
    assert (status, verdict.verdict, verdict.lost, verdict.caught_up) == (5, "not caught up", 0, False)
    timer = threading.Timer(1.0, open_.commit)
    timer.start()
    status, verdict = bench.audit("--until-caught-up")
    timer.join()
    assert (status, verdict.verdict, verdict.output) == (0, "0/0/0", 500)


def test_the_gap_is_the_brokers_and_between_the_right_outputs(bench):
    bench.generate(400)
    outputs = bench.outputs()
    sink = bench.sink()
    sink.write(outputs[:200])
    sink.commit()
    before_ms = time.time() * 1000
    pause = threading.Event()
    pause.wait(1.5)
    after_ms = time.time() * 1000
    sink.write(outputs[200:])
    sink.commit()
    status, verdict = bench.audit("--from-ms", str(int(before_ms)), "--to-ms", str(int(after_ms)))
    assert status == 0
    assert verdict.gap_ms is not None
    assert verdict.gap_from_ms is not None
    assert verdict.gap_to_ms is not None
    assert verdict.gap_to_ms - verdict.gap_from_ms == verdict.gap_ms
    assert verdict.gap_ms >= 1_500
    assert verdict.gap_from_ms <= before_ms + 5
    assert verdict.gap_to_ms >= after_ms - 5


def test_an_audit_under_traffic(bench):
    """The generator runs on while outputs are written and audited: later payments disturb nothing."""
    generator = Generator(bench.settings(rate_per_s=2_000))
    generator.start()
    try:
        generator.wait_for_acked(2_000, timeout_s=30)
        sink, written = bench.sink(), 0
        stop = threading.Event()
        failures: list[BaseException] = []

        def work() -> None:
            nonlocal written
            answered: Counter[bytes] = Counter()
            try:
                while not stop.is_set():
                    fresh = []
                    for account, value in bench.outputs():
                        sequence = int(value.split(b",")[2])
                        if sequence == answered[account] + 1:
                            answered[account] = sequence
                            fresh.append((account, value))
                    sink.write(fresh)
                    sink.commit()
                    written += len(fresh)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        status, verdict = bench.audit("--until-caught-up")
        stop.set()
        worker.join()
        assert failures == []
        assert (status, verdict.verdict, verdict.unexpected) == (0, "0/0/0", 0)
        assert verdict.input == verdict.output >= 2_000
    finally:
        generator.stop()


def test_sigterm_flushes_and_a_later_run_goes_on_without_holes(bench, tmp_path):
    state = tmp_path / "state.json"
    arguments = ["--topic", bench.payments, "--rate", "2000", "--accounts", "30", "--state", str(state), "-o", "json"]
    sent = 0
    for kill in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen(bench.command("generator", *arguments), stdout=subprocess.PIPE)
        wait_for_input(bench, sent + 500)
        process.send_signal(kill)
        out, _ = process.communicate(timeout=60)
        if kill == signal.SIGTERM:
            totals = json.loads(out)
            assert process.returncode == 0
            assert totals["sent"] == totals["acked"] >= 500
            assert (totals["errors"], totals["unresolved"]) == (0, 0)
        sent = wait_for_input(bench, 0)
    _, verdict = bench.audit()
    # Counted exactly, also across the run that was killed: nothing twice, no hole.
    assert (verdict.input, verdict.reordered, verdict.input_holes) == (sent, 0, 0)


def test_a_topic_that_is_not_there_is_bad_input(bench):
    command = bench.command("auditor", "--input", "no-such-topic", "--output", bench.balances)
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"no such topic: no-such-topic" in done.stderr
    assert done.stdout == b""


def stable_at_end(log: KafkaLog) -> dict[int, int]:
    """The last stable offsets, once the markers have followed the commit's answer (X15)."""
    deadline = time.monotonic() + 10
    while True:
        bounds = log.bounds()
        if all(b.stable == b.end for b in bounds.values()):
            return {p: b.end for p, b in bounds.items()}
        assert time.monotonic() < deadline, bounds


def wait_for_input(bench: Bench, count: int) -> int:
    """Wait until the topic of payments holds so many records; returns how many."""
    deadline = time.monotonic() + 30
    while True:
        try:
            log = KafkaLog(bench.bootstrap, bench.payments, bench.properties)
            found = sum(b.end for b in log.bounds().values())
            log.close()
        except Exception:  # noqa: BLE001
            found = 0
        if found >= count:
            return found
        assert time.monotonic() < deadline, found
