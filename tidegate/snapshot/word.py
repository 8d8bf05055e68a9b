"""The broker's word on what a snapshot wants committed (X3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.snapshot.sinks import Committable


class Word(StrEnum):
    """What became, or can still become, of a committable's outputs."""

    COMMITTED = "committed"
    COMMITTING = "being committed"
    OPEN = "open: Flink commits it on restore, until its timeout"
    LOST = "lost: a start from here would miss these outputs"
    FORGOTTEN = "unknown to the broker: forgotten after a week, or another cluster"

    @property
    def safe(self) -> bool:
        """Whether a start from the snapshot has these outputs for certain, whatever time passes."""
        return self in (Word.COMMITTED, Word.COMMITTING)


@dataclass(frozen=True)
class Judged:
    """A committable, what the broker says of its id, and what that means. ``until``: when an open one is aborted."""

    committable: Committable
    status: TransactionState
    word: Word
    until: datetime | None = None


def word_of(committable: Committable, status: TransactionState) -> Word:
    """X3: the broker speaks of the *id*; that counts only for this producer id and epoch (a commit may raise it)."""
    if status.state is TxnState.UNKNOWN:
        return Word.FORGOTTEN
    same = status.producer_id == committable.producer_id
    exactly = same and status.producer_epoch == committable.producer_epoch
    if status.state is TxnState.ONGOING and exactly:
        return Word.OPEN
    if same and status.producer_epoch in (committable.producer_epoch, committable.producer_epoch + 1):
        if status.state is TxnState.COMPLETE_COMMIT:
            return Word.COMMITTED
        if status.state is TxnState.PREPARE_COMMIT:
            return Word.COMMITTING
    return Word.LOST


def judge(committables: Iterable[Committable], said: Mapping[str, TransactionState]) -> list[Judged]:
    """The broker's word on each. ``said`` is the answer of ``describe_transactions`` for their ids."""
    found: list[Judged] = []
    for committable in committables:
        status = said.get(committable.transactional_id) or TransactionState(
            committable.transactional_id, TxnState.UNKNOWN
        )
        word = word_of(committable, status)
        until = None
        if word is Word.OPEN and status.started_ms is not None and status.timeout_ms >= 0:
            until = datetime.fromtimestamp(status.started_ms / 1000, UTC) + timedelta(milliseconds=status.timeout_ms)
        found.append(Judged(committable, status, word, until))
    return found
