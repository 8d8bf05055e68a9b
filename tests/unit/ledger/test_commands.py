"""What the commands say and end with when they cannot do their work, and the verdict as a person reads it."""

from __future__ import annotations

import json

import pytest

from ledger import auditor, consumer, generator
from ledger.verdict import Sample, Verdict

NOWHERE = ["--bootstrap", "127.0.0.1:1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from-ms", "5", "--to-ms", "4"], "--to-ms 4 lies before --from-ms 5"),
        (["--kafka-property", "x"], "--kafka-property x: expected KEY=VALUE"),
        (["--kafka-property", "no.such.thing=1"], "no.such.thing"),
        (["--manifest", "/nowhere/m.json"], "/nowhere/m.json: No such file"),
        (["--timeout-s", "0"], "--timeout-s: expected more than 0"),
    ],
)
def test_bad_arguments_of_the_auditor_end_with_2(capsys, arguments, message):
    assert auditor.main([*NOWHERE, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err


REGION = ["--region", "east=127.0.0.1:1"]


@pytest.mark.parametrize("command", [auditor.main, generator.main])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say where Kafka is: --bootstrap HOST:PORT, or"),
        ([*NOWHERE, *REGION], "--region goes with --"),
        (["BY"], "name each region's Kafka with --region NAME=HOST:PORT"),
        (["BY", *NOWHERE, *REGION], "not with --bootstrap"),
        (["BY", *REGION], "set TIDEGATE_CONTROL_S3"),
        (["BY", *REGION, *REGION], "--region east=127.0.0.1:1: east is there twice"),
        (["BY", "--region", "east"], "--region east: expected NAME=HOST:PORT"),
    ],
)
def test_bad_arguments_by_lineage_end_with_2(capsys, monkeypatch, command, arguments, message):
    monkeypatch.delenv("TIDEGATE_CONTROL_S3", raising=False)
    by = "--lineage" if command is auditor.main else "--follow"
    if "twice" in message or "expected" in message:
        for name in ("S3", "BUCKET", "ACCESS_KEY", "SECRET_KEY"):
            monkeypatch.setenv(f"TIDEGATE_CONTROL_{name}", "http://127.0.0.1:1")
    assert command([by if argument == "BY" else argument for argument in arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name each region's Kafka"),
        ([*REGION, "--count", "0"], "--count 0: expected more than 0"),
        (REGION, "set TIDEGATE_CONTROL_S3"),
    ],
)
def test_bad_arguments_of_the_consumer_end_with_2(capsys, monkeypatch, arguments, message):
    monkeypatch.delenv("TIDEGATE_CONTROL_S3", raising=False)
    assert consumer.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_region_nobody_named_is_none_to_read(capsys):
    assert auditor.main(["--lineage", *REGION, "--in", "west"]) == 2
    assert "--in west: no --region says where that is" in capsys.readouterr().err
    assert auditor.main([*NOWHERE, "--in", "west"]) == 2
    assert "--in goes with --lineage" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[*NOWHERE, "-o", "yaml"], [*NOWHERE, "--from-ms", "soon"]])
def test_arguments_that_cannot_be_parsed_end_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        auditor.main(arguments)
    assert caught.value.code == 2


def test_no_kafka_ends_with_5(capsys):
    assert auditor.main([*NOWHERE, "--timeout-s", "0.5", "-o", "json"]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert "Kafka did not answer for 0.5 s" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "--rate 0.0: expected at least 0.001"),
        (["--accounts", "0"], "--accounts 0: expected at least 1"),
        (["--kafka-property", "acks"], "expected KEY=VALUE"),
        (["--kafka-property", "no.such.thing=1"], "no.such.thing"),
    ],
)
def test_bad_arguments_of_the_generator_end_with_2(capsys, arguments, message):
    assert generator.main([*NOWHERE, *arguments]) == 2
    assert message in capsys.readouterr().err


def verdict(**fields: object) -> Verdict:
    counts = dict.fromkeys(
        ("lost", "duplicated", "wrong", "replayed", "unexpected", "superseded", "input", "output"), 0
    )
    return Verdict.model_validate({"verdict": "0/0/0", **counts, **fields})


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 0),
        ({"lost": 1}, 7),
        ({"duplicated": 1}, 7),
        ({"wrong": 1}, 7),
        ({"unexpected": 1}, 7),
        ({"replayed": 5, "superseded": 5, "reordered": 1}, 0),
        ({"caught_up": False, "behind": 3}, 5),
        ({"caught_up": False, "behind": 3, "wrong": 1}, 7),
    ],
)
def test_exit_status_by_verdict(fields, status):
    assert verdict(**fields).exit_code == status


def test_text_for_a_person():
    lines = verdict(
        lost=1,
        input=184_233,
        output=184_232,
        replayed=2_000,
        gap_ms=2_080,
        gap_from_ms=1_700_000_000_123,
        gap_to_ms=1_700_000_002_203,
        samples={"lost": [Sample(id="a00017:3", expected="amount 5 balance 10", found="no output")]},
    ).text()
    assert lines.splitlines() == [
        "verdict    lost 1 · duplicated 0 · wrong 0        input 184,233 · output 184,232 · checked to offset end",
        "gap        2.080 s, from 2023-11-14 22:13:20.123 UTC to 2023-11-14 22:13:22.203 UTC",
        "also       replayed 2,000",
        "lost       a00017:3   expected amount 5 balance 10, found no output",
    ]


def test_a_verdict_survives_json():
    before = verdict(checked_to={0: 5, 1: 7}, rate=[(1_700_000_000, 3)])
    assert Verdict.model_validate(json.loads(before.model_dump_json())) == before


def test_a_verdict_of_before_is_still_read():
    before = verdict().model_dump()
    del before["orphans"], before["excluded"]
    found = Verdict.model_validate({**before, "orphaned": 3})
    assert (found.orphans, found.excluded) == (3, 0)
