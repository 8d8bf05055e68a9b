"""What a person and a program are told of a deployment's transactions."""

from __future__ import annotations

from tidegate.cli import kafka
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import TopicPartition, TransactionState, TxnState
from tidegate.model.record import DeploymentRecord
from tidegate.operation.transactions import Decision, Outlook, SeenTransaction

OPEN = SeenTransaction(
    status=TransactionState("tg.ledger.sink.e00000007.-0-12", TxnState.ONGOING, 1_003, 4, 600_000, 1_700_000_000_000),
    epoch=7,
    holds=((TopicPartition("balances", 1), 12_345),),
    listed_by=("e7-chk-12",),
    decision=Decision.COMMIT,
)
ENDED = SeenTransaction(
    status=TransactionState("tg.ledger.sink.e00000007.-0-11", TxnState.COMPLETE_COMMIT, 1_002, 5),
    epoch=7,
    holds=(),
    listed_by=(),
    decision=Decision.NOTHING,
)
OUTLOOK = Outlook((ENDED, OPEN), DeploymentRecord(deployment="ledger"), JobState.FAILED, "s3://east/c/j/chk-12")


def test_a_person_sees_whom_it_keeps_back_and_what_settling_would_do() -> None:
    told = kafka._describe(OUTLOOK, every=False)
    (line,) = [line for line in told.splitlines() if "-0-12" in line]
    assert line.split() == [
        "tg.ledger.sink.e00000007.-0-12", "Ongoing", "1003/4", *line.split()[3:-3],
        "balances-1@12,345", "e7-chk-12", "commit",
    ]  # fmt: skip
    assert "2023-11-14" in line
    assert "1 that have ended are not shown" in told
    assert "-0-11" in kafka._describe(OUTLOOK, every=True)


def test_a_program_gets_all_of_them() -> None:
    told = kafka._as_json(OUTLOOK)
    assert [one["settling"] for one in told["transactions"]] == ["nothing", "commit"]  # type: ignore[index]
    assert told["snapshot"] == OUTLOOK.snapshot
