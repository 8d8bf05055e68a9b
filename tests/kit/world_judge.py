"""The judge of a simulated region: exact, from the logs, the manifests and the versions of the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.kit.kafka_fake import FakeKafka
from tests.kit.objects import MemoryStore
from tests.kit.world_job import OUTPUT, PARTITIONS, Output
from tests.kit.world_loop import drive
from tidegate.clients.kafka_types import ControlType, TopicPartition
from tidegate.model.record import DeploymentRecord, IntentState
from tidegate.operation.note import notes_that_count


@dataclass(frozen=True)
class Judgement:
    """The verdict on the committed output (DESIGN.md): counts of records; ``announced`` were left out."""

    lost: int
    duplicated: int
    wrong: int
    announced: int
    good: int

    @property
    def clean(self) -> bool:
        return (self.lost, self.duplicated, self.wrong) == (0, 0, 0)


def committed(kafka: FakeKafka) -> list[tuple[int, int, Output]]:
    """(partition, offset, output) as a read_committed reader gets them."""
    found = []
    for partition in range(PARTITIONS):
        log = kafka._log(TopicPartition(OUTPUT, partition))
        ends: dict[int, list[Any]] = {}
        for batch in log.batches:
            if batch.is_control:
                ends.setdefault(batch.producer_id, []).append(batch)
        for batch in log.batches:
            if batch.is_control or batch.last_offset >= log.stable:
                continue
            end = next(e for e in ends[batch.producer_id] if e.base_offset > batch.last_offset)
            if end.control_type is ControlType.COMMIT:
                found += [(partition, o, log.values[o]) for o in range(batch.base_offset, batch.last_offset + 1)]
    return found


def superseded(control: MemoryStore, bucket: str, deployment: str) -> set[tuple[int, int]]:
    """(partition, offset) of what will come again, by the manifests that count."""
    return {
        (told.partition, offset)
        for note in drive(notes_that_count(control, bucket, deployment))
        for told in note.superseded
        for offset in range(told.first, told.last + 1)
    }


def judge(kafka: FakeKafka, skip: set[tuple[int, int]]) -> Judgement:
    """I2 on the committed output, up to the newest committed event of each input partition."""
    kept = [(p, o, out) for p, o, out in committed(kafka) if (p, o) not in skip]
    times = Counter((out.partition, out.event) for _, _, out in kept)
    lost = 0
    for partition in range(PARTITIONS):
        events = [event for of, event in times if of == partition]
        lost += (max(events) + 1 - len(events)) if events else 0
    return Judgement(
        lost=lost,
        duplicated=sum(n - 1 for n in times.values()),
        wrong=sum(out.count != out.event + 1 for _, _, out in kept),
        announced=len(skip),
        good=len(kept),
    )


def broken(old: DeploymentRecord, new: DeploymentRecord) -> Iterator[str]:
    """What O1 to O5 say of two versions that follow one another."""
    if new.seq != old.seq + 1:
        yield f"O1: seq {old.seq} became {new.seq}"
    if new.fence < old.fence or new.epoch < old.epoch:
        yield f"O2: fence {old.fence} to {new.fence}, epoch {old.epoch} to {new.epoch}"
    if new.holder is not None and old.holder is not None and new.holder != old.holder and new.fence == old.fence:
        yield f"O2: {new.holder.operation} took over at the same fence {new.fence}"
    if not set(old.denied_epochs) <= set(new.denied_epochs):
        yield f"O5: a DENY was lifted: {old.denied_epochs} became {new.denied_epochs}"
    for intent in old.intents:
        now = new.intent(intent.id)
        if intent.state is IntentState.OPEN and now is None:
            yield f"O5: an open {intent.kind} of epoch {intent.epoch} vanished"
        if intent.state is not IntentState.OPEN and now is not None and now != intent:
            yield f"O5: a closed {intent.kind} of epoch {intent.epoch} changed"
    if new.writer is not None and new.writer.epoch in new.denied_epochs and new.writer != old.writer:
        yield f"X14: the writer's epoch {new.writer.epoch} is denied"
    if new.writer is not None and old.writer is not None and new.writer.epoch < old.writer.epoch:
        yield f"O2: the writer went back from epoch {old.writer.epoch} to {new.writer.epoch}"
