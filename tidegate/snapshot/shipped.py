"""The record of a shipped snapshot: what came from where, file by file. It lies beside the copy's ``_metadata``."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import ValidationError

from tidegate.clients.objects import ObjectStore, S3Uri, Uri
from tidegate.errors import InvalidInput
from tidegate.model.record import Frozen

SHIPPED_NAME: Final = "shipped.json"
FILES_NAME: Final = "files"
"""Folder of the files that shipped snapshots share."""


class ShippedFile(Frozen):
    """A file of state that was copied. ``size`` in bytes; ``sha256`` (64 hex digits) is of the bytes that were sent."""

    source: str
    target: str
    size: int
    sha256: str


class Shipped(Frozen):
    """``shipped.json``: written before the copy's ``_metadata``, create-only, so that the first one stands."""

    version: Literal[1] = 1
    deployment: str
    id: str
    """The snapshot's id in its own region, which is its id here, too."""
    kind: Literal["savepoint", "checkpoint"]
    epoch: int | None
    job_id: str | None
    checkpoint_id: int
    source_region: str
    source: str
    """Location of the original."""
    source_etag: str
    target: str
    taken_at: datetime
    """When the original's ``_metadata`` was written, by that region's S3: the age of the copy counts from here."""
    shipped_at: datetime
    metadata_sha256: str
    """Of the copy's ``_metadata``."""
    files: tuple[ShippedFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files together, ``_metadata`` not counted."""
        return sum(file.size for file in self.files)


async def read_shipped(store: ObjectStore, location: Uri) -> Shipped | None:
    """The record beside a copy; None if this is no shipped snapshot. Raises InvalidInput for one that is damaged."""
    uri = S3Uri.parse(location).join(SHIPPED_NAME)
    found = await store.get_or_none(uri)
    if found is None:
        return None
    try:
        return Shipped.model_validate_json(found.body)
    except ValidationError as error:
        raise InvalidInput(f"{uri}: damaged: {error.errors()[0]['msg']}") from error
