"""Where the snapshots of a deployment lie in a region, and what they are called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidegate import names
from tidegate.clients.objects import S3Uri, Uri
from tidegate.errors import InvalidInput
from tidegate.model.fleet import CellRef, Fleet
from tidegate.snapshot.files import METADATA_NAME

_EPOCH_DIR: Final = re.compile(r"[et](\d{8})-.+")
SHIPPED: Final = "from-"
"""What the directory of shipped snapshots begins with; the region that they came from follows."""


@dataclass(frozen=True)
class Place:
    """A deployment at a cell of a region: the directories that its fleet file names for savepoints and checkpoints."""

    deployment: str
    region: str
    savepoints: str
    checkpoints: str

    @property
    def savepoint_home(self) -> S3Uri:
        """All savepoints of the deployment, and all snapshots that were shipped here, lie below it."""
        return S3Uri.parse(self.savepoints).join(self.deployment)

    def shipped_from(self, region: str) -> S3Uri:
        """Where the snapshots lie that come from another region: their files, and a directory for each of them."""
        return self.savepoint_home.join(f"{SHIPPED}{region}")


def place_in(fleet: Fleet, deployment: str, region: str | None = None) -> Place:
    """Where the deployment's snapshots lie in a region (default: home), by the fleet file.

    At home that is its home cell; elsewhere the cell of the same name, or the region's first. Raises InvalidInput for
    an unknown name.
    """
    home = fleet.deployment(deployment).home_ref
    at = fleet.region(region or home.region)
    cell = home.cell if home.cell in at.cells else next(iter(at.cells))
    found = fleet.cell(CellRef(region or home.region, cell))
    return Place(deployment, region or home.region, found.savepoints, found.checkpoints)


def region_of(fleet: Fleet, location: Uri) -> str:
    """The region on whose S3 a location lies: that with a cell that writes there, or else into the same bucket.

    Raises InvalidInput if no region or more than one fits.
    """
    at = location_of(location)

    def fits(base: str, *, exactly: bool) -> bool:
        written = S3Uri.parse(base)
        below = at.key == written.key.rstrip("/") or at.key.startswith(f"{written.key.rstrip('/')}/")
        return written.bucket == at.bucket and (below or not exactly)

    for exactly in (True, False):
        found = [
            name
            for name, region in fleet.regions.items()
            if any(
                fits(base, exactly=exactly)
                for cell in region.cells.values()
                for base in (cell.savepoints, cell.checkpoints)
            )
        ]
        if len(found) == 1:
            return found[0]
        if found:
            break
    known = ", ".join(fleet.regions)
    raise InvalidInput(f"{at}: cannot tell which region's S3 that is", hint=f"name it with --region: {known}")


@dataclass(frozen=True)
class TransactionalPrefix:
    """``tg.<deployment>.<sink uid>.e<8 digits>.`` read back (X13)."""

    deployment: str
    sink_uid: str
    epoch: int


def read_prefix(prefix: str) -> TransactionalPrefix | None:
    """A transactional prefix of ours, parsed from the right; None for a foreign one.

    A deployment's name has no dot, a uid may have some.
    """
    epoch = names.epoch_of_transactional_id(prefix if prefix.endswith(".") else f"{prefix}.")
    parts = prefix.rstrip(".").split(".")
    if epoch is None or len(parts) < 4:
        return None
    return TransactionalPrefix(parts[1], ".".join(parts[2:-1]), epoch)


def epoch_of_directory(name: str) -> int | None:
    """The epoch in the directory of a stop, ``e00000007-<trigger>``, or of a taken one, ``t00000007-…``; else None."""
    match = _EPOCH_DIR.fullmatch(name)
    return int(match.group(1)) if match else None


def short_id(directory: S3Uri, epoch: int | None, job_id: str | None) -> str:
    """What a snapshot is called: ``e7-chk-12``, ``e7-savepoint-1a2b3c-…``; without an epoch the job's id stands there.

    One epoch has one job, and a job counts its checkpoints, so it is unique within a deployment and a region.
    """
    owner = f"e{epoch}" if epoch is not None else f"job-{job_id[:8]}" if job_id else ""
    return f"{owner}-{directory.name}" if owner else directory.name


def location_of(uri: Uri) -> S3Uri:
    """The directory of a snapshot, however it was written: with a slash at the end, or as its ``_metadata``."""
    at = S3Uri.parse(uri)
    at = S3Uri(at.bucket, at.key.rstrip("/"), at.scheme)
    return at.parent if at.name == METADATA_NAME else at
