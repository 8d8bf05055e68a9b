"""What going on from a snapshot would cost: outputs that are lost, outputs that come again, in records (X3, X26)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.errors import Refused
from tidegate.model.operation import ReplayRange
from tidegate.model.record import utc_now
from tidegate.operation.note import notes_that_count
from tidegate.operation.outputs import BROKER_FORGETS, Fate, Outputs, read_outputs
from tidegate.operation.site import Site
from tidegate.snapshot.files import Snapshot, metadata_uri
from tidegate.snapshot.place import location_of, short_id
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.sinks import Committable, Ownership, committables, writer_states
from tidegate.snapshot.word import Word, word_on

_NAMED_IDS = 3


@dataclass(frozen=True)
class Wanted:
    """A snapshot whose price is asked. ``epoch`` is of the job that wrote it."""

    snapshot: Snapshot
    epoch: int
    completed_at: datetime


@dataclass
class Price:
    """What going on from a snapshot costs, as record and world stand now."""

    words: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    lost_ids: list[str] = field(default_factory=list)
    """Transactions whose outputs no start from it brings back."""
    uncounted: int = 0
    """How many of them nobody can count any more."""
    forgotten: list[str] = field(default_factory=list)
    """Committed, as the log says, though the broker no longer does: Flink would try them in vain, or for ever (X3)."""
    again: tuple[ReplayRange, ...] = ()
    superseded: bool = False
    """Its own output was announced as superseded: it does not count, so nothing may go on from here."""

    @property
    def loses(self) -> bool:
        """Whether output is lost if one starts from it."""
        return bool(self.lost or self.uncounted)

    @property
    def replayed(self) -> int:
        """Committed output records that come again."""
        return sum(told.records for told in self.again)

    @property
    def named_ids(self) -> tuple[str, ...]:
        """The first few of the lost ones."""
        return tuple(self.lost_ids[:_NAMED_IDS])


async def epoch_of(site: Site, snapshot: Snapshot) -> int | None:
    """The epoch that wrote a snapshot, by the transactional prefix in its writers' state; None if no sink says.

    Raises:
        Refused: it is of another deployment, or of one that did not run under Tidegate; or its names are pooled, so
            that no transaction tells which checkpoint it belongs to (X13).

    """
    found: set[int] = set()
    for state in await writer_states(site.snapshots, snapshot):
        if state.ownership is Ownership.EXPLICIT_BY_WRITER_STATE:
            raise Refused(
                f"the transactional ids of {state.sink_uid or state.operator_id} are pooled: they do not say which "
                f"checkpoint an output belongs to, so no price can be told",
                hint="use TransactionNamingStrategy.INCREMENTING in the job's KafkaSink",
            )
        epoch = names.epoch_of_transactional_id(state.prefix)
        ours = {names.transactional_prefix(site.deployment, sink.uid, epoch) for sink in site.spec.sinks if epoch}
        if epoch is None or state.prefix not in ours:
            raise Refused(f"it is not of {site.deployment}: its transactional prefix is {state.prefix}")
        found.add(epoch)
    return max(found, default=None)


async def outputs_since(site: Site, wanted: Sequence[Wanted]) -> Outputs:
    """The output logs as far back as these snapshots need them; a copy's time says nothing, so then from the start."""
    own = (S3Uri.parse(site.checkpoints), S3Uri.parse(site.savepoints))
    since: datetime | None = utc_now()
    for one in wanted:
        at_home = any(str(one.snapshot.directory).startswith(f"{base}".rstrip("/") + "/") for base in own)
        since = min(since, one.completed_at) if since is not None and at_home else None
    told = [
        r
        for note in await notes_that_count(site.control, site.control_bucket, site.deployment)
        for r in note.superseded
    ]
    return await read_outputs(site, since, told)


async def price(site: Site, wanted: Wanted, outputs: Outputs) -> Price:
    """The price of one snapshot.

    Raises:
        Refused: it cannot be told: the broker has forgotten what came after it, or the log no longer reaches back.
        SnapshotError: its state cannot be read.
        Unavailable: Kafka or S3 did not answer.

    """
    _refuse_too_old(wanted, outputs)
    result = Price()
    own = await committables(site.snapshots, wanted.snapshot)
    states = await site.kafka.describe_transactions(sorted({committable.transactional_id for committable in own}))
    for committable in own:
        word = word_on(states[committable.transactional_id], committable)
        result.words[word.value] += 1
        result.superseded = result.superseded or outputs.is_superseded(committable)
        if word.lost or word is Word.UNKNOWN:
            _by_the_log(outputs, committable, result, said_aborted=word is Word.ABORTED)
    result.again = outputs.after(wanted.epoch, wanted.snapshot.metadata.checkpoint_id)
    return result


def _by_the_log(outputs: Outputs, committable: Committable, result: Price, *, said_aborted: bool) -> None:
    """The broker no longer says that it will be, or was, committed. The log has the marker, as long as it stands."""
    fate, records = outputs.fate_of(committable)
    if fate is Fate.COMMITTED and not said_aborted:
        result.forgotten.append(committable.transactional_id)
        return
    result.lost_ids.append(committable.transactional_id)
    if fate is None:
        result.uncounted += 1
    result.lost += records


def _refuse_too_old(wanted: Wanted, outputs: Outputs) -> None:
    if utc_now() - wanted.completed_at > BROKER_FORGETS:
        raise Refused(
            f"what was committed after it cannot be counted: it is older than {BROKER_FORGETS.days} days, and brokers "
            f"forget transactional ids after a week"
        )
    completed_ms = wanted.completed_at.timestamp() * 1000
    for tp, log in outputs.logs.items():
        first = log[0].batch if log else None
        if first is not None and first.base_offset == outputs.starts[tp] > 0 and first.max_timestamp_ms > completed_ms:
            raise Refused(
                f"what was committed after it cannot be counted: {tp} begins at offset {first.base_offset:,}, which "
                f"was written later (retention)"
            )


async def inputs_after(site: Site, snapshot: Snapshot) -> int:
    """Positions from the snapshot's own to the ends of the inputs; markers and gaps count as one each."""
    ends = await site.kafka.end_offsets(site.input_topics)
    by_partition = {(tp.topic, tp.partition): end for tp, end in ends.items()}
    found = 0
    for positions in (await kafka_positions(site.snapshots, snapshot)).values():
        for partition, position in positions.items():
            found += max(0, by_partition.get(partition, 0) - max(position, 0))
    return found


async def completed_at(site: Site, location: str) -> datetime | None:
    """When the ``_metadata`` of a location was written, which Flink does last; None if there is none."""
    info = await site.snapshots.head(metadata_uri(location))
    return info.last_modified if info else None


def name_of(location: str, epoch: int) -> str:
    """What a snapshot is called: ``e7-chk-212``, as ``tidegate snapshot list`` says."""
    return short_id(location_of(location), epoch or None, None)
