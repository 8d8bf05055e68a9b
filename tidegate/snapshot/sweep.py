"""Which snapshots go, and which files with them. Pure: what is known goes in, what may be removed comes out.

A snapshot goes if nothing asks for it, it is older than the age, and enough newer ones are whole. A file goes with it
if it lies where the snapshot's own files lie, and nothing that stays names it. As long as there is a snapshot that
cannot be read nothing goes: nobody knows which files it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tidegate.clients.objects import ObjectInfo, S3Uri
from tidegate.clients.transfer import OpenUpload
from tidegate.snapshot.catalog import Entry, Kind
from tidegate.snapshot.files import METADATA_NAME
from tidegate.snapshot.listing import directory_prefix
from tidegate.snapshot.pins import Pin, protection
from tidegate.snapshot.transfer import sum_uri

COPY: Final = "copy-"
"""What the directory of an edited copy begins with: it names the original's files and is none to go back to."""
LEFTOVER_AGE: Final = timedelta(days=1)
"""What a ship left behind is never taken for abandoned before: it may be gone on with."""


@dataclass(frozen=True)
class Policy:
    """How much is kept. ``keep``: so many of the newest whole ones of each origin (here, or shipped from a region).

    ``older_than``: younger ones stay whatever their number. ``as_of``: the moment from which ages count; what came
    later stays, and does not push out older ones, so that what a person saw and confirmed is all that can go.
    """

    keep: int
    older_than: timedelta
    as_of: datetime

    @property
    def abandoned_before(self) -> datetime:
        """What a ship left and did not touch since this moment is abandoned."""
        return self.as_of - max(self.older_than, LEFTOVER_AGE)


@dataclass(frozen=True)
class Guard:
    """What stands against removing anything."""

    named: Mapping[S3Uri, str] = field(default_factory=dict)
    """What records and open intents name, of every deployment: a fork starts from another one's snapshot (X10)."""
    pins: Sequence[Pin] = ()
    points: Mapping[S3Uri, str] = field(default_factory=dict)
    """Recovery points of the region (X5)."""
    living: Collection[str] = ()
    """Jobs that run or may come back: their checkpoints are Flink's."""
    silent: str | None = None
    """Why Flink could not be asked which jobs run; None: it was."""

    def protects(self, location: S3Uri) -> str | None:
        """Why a snapshot must stay, whatever its age; None: nothing asks for it."""
        why = protection(location, dict(self.named), list(self.pins))
        return why or self.points.get(location)


@dataclass(frozen=True)
class Standing:
    """A snapshot that is there, and the files that it names; None: it cannot be read, so nobody knows."""

    entry: Entry
    files: frozenset[S3Uri] | None

    @property
    def family(self) -> S3Uri:
        """The directory that its files lie in, with those of the snapshots that it may share them with.

        Of a checkpoint its job's, of a shipped copy all that came from that region, of a savepoint its own.
        """
        shares = self.entry.shipped_from is not None or self.entry.kind is Kind.CHECKPOINT
        return self.entry.location.parent if shares else self.entry.location

    @property
    def flinks_own(self) -> bool:
        """Whether Flink wrote it as a checkpoint here, and may remove it itself."""
        return self.entry.kind is Kind.CHECKPOINT and self.entry.shipped_from is None


@dataclass(frozen=True)
class Choice:
    """A snapshot, and why it stays; None: it goes."""

    standing: Standing
    stays: str | None

    @property
    def entry(self) -> Entry:
        """The snapshot."""
        return self.standing.entry


def choose(standing: Iterable[Standing], policy: Policy, guard: Guard) -> list[Choice]:
    """Whether each snapshot goes, in the order given."""
    known = list(standing)
    obscure = next((one.entry for one in known if one.files is None), None)
    enough: dict[str | None, tuple[datetime, int, str]] = {}
    for origin in {one.entry.shipped_from for one in known}:
        whole = sorted(
            _age(one.entry)
            for one in known
            if one.entry.shipped_from == origin
            and one.entry.verified
            and one.entry.at <= policy.as_of
            and not one.entry.location.name.startswith(COPY)
        )
        if len(whole) >= policy.keep:
            enough[origin] = whole[-policy.keep]
    return [Choice(one, _stays(one, policy, guard, enough.get(one.entry.shipped_from), obscure)) for one in known]


def _stays(
    one: Standing, policy: Policy, guard: Guard, enough: tuple[datetime, int, str] | None, obscure: Entry | None
) -> str | None:
    entry = one.entry
    asked_for = guard.protects(entry.location)
    if asked_for is not None:
        return asked_for
    if one.flinks_own and entry.job_id in guard.living:
        return "its job runs, or may: its checkpoints are Flink's"
    if one.flinks_own and guard.silent is not None:
        return f"nobody knows whether its job runs: {guard.silent}"
    if obscure is not None:
        return f"{obscure.id} cannot be read, so nobody knows which files it needs: {obscure.problem}"
    if entry.at > policy.as_of:
        return "it came since"
    if enough is None or _age(entry) >= enough:
        return f"no {policy.keep:,} newer ones are whole"
    if policy.as_of - entry.at < policy.older_than:
        return "younger than the age"
    return None


def _age(entry: Entry) -> tuple[datetime, int, str]:
    return entry.at, entry.checkpoint_id or 0, entry.id


def spare(choices: Iterable[Choice], elsewhere: Collection[S3Uri]) -> list[Choice]:
    """The same, but files that a copy names keep one snapshot beside them that names them, too: the original.

    A copy does not take along what lies elsewhere, so nobody would know of the files when it goes. ``elsewhere``: files
    that are named by snapshots which are not among these.
    """
    known = list(choices)
    staying = [choice.standing for choice in known if choice.stays is not None]
    spared: set[S3Uri] = set()
    for family in {choice.standing.family for choice in known if choice.stays is None}:
        foreign = set(elsewhere).union(*(one.files or () for one in staying if one.family != family))
        foreign -= set().union(*(one.files or () for one in staying if one.family == family))
        left = [choice.standing for choice in known if choice.stays is None and choice.standing.family == family]
        while best := max(left, key=lambda one: len(foreign & (one.files or frozenset())), default=None):
            if not foreign & (best.files or frozenset()):
                break
            spared.add(best.entry.location)
            foreign -= best.files or frozenset()
            left.remove(best)
    why = "a copy of it names its files"
    return [Choice(one.standing, why) if one.entry.location in spared else one for one in known]


def needed_files(choices: Iterable[Choice], others: Iterable[S3Uri] = ()) -> set[S3Uri]:
    """The files that something names which stays, with the sums beside shipped ones. ``others``: named elsewhere."""
    needed = set(others)
    for choice in choices:
        if choice.stays is not None:
            needed |= choice.standing.files or frozenset()
    return needed | {sum_uri(uri) for uri in needed}


def belongings(one: Standing, listed: Mapping[S3Uri, ObjectInfo], own: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """What lies there because of a snapshot, ``_metadata`` left out: files that it names, and all in its directory.

    A file outside its family is not its to remove: an edited copy names the original's files. ``listed``: what the
    store has in the family; ``own``: what it has in the snapshot's directory.
    """
    below = directory_prefix(one.family)
    named = one.files or frozenset()
    wanted = {uri for uri in named if uri.bucket == below.bucket and uri.key.startswith(below.key)}
    wanted |= {sum_uri(uri) for uri in wanted} | {item.uri for item in own}
    metadata = one.entry.location.join(METADATA_NAME)
    return [listed[uri] for uri in sorted(wanted) if uri in listed and uri != metadata]


def leftovers(
    shipped: Iterable[ObjectInfo], choices: Sequence[Choice], needed: Collection[S3Uri], policy: Policy
) -> list[ObjectInfo]:
    """What abandoned ships left: no snapshot stands in its directory, none that stays names it, untouched for long.

    ``shipped``: everything below the directory of one region that snapshots are shipped from.
    """
    if any(choice.standing.files is None for choice in choices):
        return []
    stands = {choice.entry.location for choice in choices}
    going = {uri for choice in choices if choice.stays is None for uri in choice.standing.files or ()}
    going |= {sum_uri(uri) for uri in going}
    return [
        item
        for item in shipped
        if item.last_modified < policy.abandoned_before
        and item.uri.parent not in stands
        and item.uri not in needed
        and item.uri not in going
    ]


def abandoned(uploads: Iterable[OpenUpload], policy: Policy) -> list[OpenUpload]:
    """The uploads that nobody has gone on with for so long; one whose age the store does not tell stays."""
    return [one for one in uploads if one.touched_at is not None and one.touched_at < policy.abandoned_before]
