"""The broker's word on what a snapshot wants committed (X3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.snapshot.sinks import Committable


class Word(StrEnum):
    """The broker's word on one transaction of a snapshot, by its producer id and epoch."""

    COMMITTED = "committed"
    COMMITTING = "being committed"
    ONGOING = "ongoing"
    """A restore commits it, if that is before its timeout."""
    ABORTED = "aborted"
    EMPTIED = "emptied"
    """The id was taken over by a new producer epoch: what became of the transaction is no longer said."""
    OTHER = "another producer"
    UNKNOWN = "unknown"
    """Brokers forget ids after a week; or it is the wrong cluster's broker."""

    @property
    def safe(self) -> bool:
        """Whether a start from the snapshot has these outputs for certain, whatever time passes."""
        return self in (Word.COMMITTED, Word.COMMITTING)

    @property
    def lost(self) -> bool:
        """Whether nothing that the broker says keeps these outputs. The markers in the log may still tell of them."""
        return self in (Word.ABORTED, Word.EMPTIED, Word.OTHER)

    @property
    def meaning(self) -> str:
        """For a person: the word, and what a start from the snapshot would have of it."""
        return _MEANING.get(self, self.value)


_MISSED = "lost: a start from here would miss these outputs"
_MEANING = {
    Word.ONGOING: "open: Flink commits it on restore, until its timeout",
    Word.ABORTED: f"aborted, {_MISSED}",
    Word.EMPTIED: f"emptied, {_MISSED}, unless the log says otherwise",
    Word.OTHER: f"of another producer, {_MISSED}, unless the log says otherwise",
    Word.UNKNOWN: "unknown to the broker: forgotten after a week, or another cluster",
}


@dataclass(frozen=True)
class Judged:
    """A committable, what the broker says of its id, and what that means. ``until``: when an open one is aborted."""

    committable: Committable
    status: TransactionState
    word: Word
    until: datetime | None = None


def word_on(status: TransactionState, committable: Committable) -> Word:
    """X3: the broker speaks of the *id*; that counts only for this producer id and epoch (a commit may raise it)."""
    if status.state is TxnState.UNKNOWN:
        return Word.UNKNOWN
    raised = status.producer_epoch - committable.producer_epoch
    if status.producer_id != committable.producer_id or raised not in {0, 1}:
        return Word.OTHER
    match status.state:
        case TxnState.COMPLETE_COMMIT:
            return Word.COMMITTED
        case TxnState.PREPARE_COMMIT:
            return Word.COMMITTING
        case TxnState.ONGOING if raised == 0:
            return Word.ONGOING
        case TxnState.COMPLETE_ABORT | TxnState.PREPARE_ABORT:
            return Word.ABORTED
        case _:
            return Word.EMPTIED


def judge(committables: Iterable[Committable], said: Mapping[str, TransactionState]) -> list[Judged]:
    """The broker's word on each. ``said`` is the answer of ``describe_transactions`` for their ids."""
    found: list[Judged] = []
    for committable in committables:
        status = said.get(committable.transactional_id) or TransactionState(
            committable.transactional_id, TxnState.UNKNOWN
        )
        word = word_on(status, committable)
        until = None
        if word is Word.ONGOING and status.started_ms is not None and status.timeout_ms >= 0:
            until = datetime.fromtimestamp(status.started_ms / 1000, UTC) + timedelta(milliseconds=status.timeout_ms)
        found.append(Judged(committable, status, word, until))
    return found
