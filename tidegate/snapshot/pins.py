"""Pins: what nothing may sweep. By a person, as create-only objects in the control bucket; and by the record itself."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri, Uri
from tidegate.errors import InvalidInput
from tidegate.model.record import DeploymentRecord, Frozen, SettleIntent, SnapshotIntent, StartIntent, StopIntent
from tidegate.snapshot.place import location_of


class Pin(Frozen):
    """``pins/<deployment>/<id>.json``: somebody's word that a snapshot stays. ``who`` is a claim (O14).

    Each who needs it has a pin of his own, so that nobody takes away another one's.
    """

    deployment: str
    location: str
    why: str
    who: str
    at: datetime
    user: str | None = None
    """What needs its files: the location of a copy that has none of its own. None: a person wants it to stay."""


def pin_prefix(deployment: str) -> str:
    """All pins of a deployment."""
    return f"pins/{deployment}/"


def pin_key(deployment: str, location: Uri, user: str | None = None) -> str:
    """One key a snapshot, so that two people never write the same one with different meanings; and one each user."""
    at = location_of(location)
    whose = (at.bucket, at.key) if user is None else (at.bucket, at.key, user)
    return f"{pin_prefix(deployment)}{names.derive_id(*whose)}.json"


async def pin(control: ObjectStore, bucket: str, wanted: Pin) -> Pin:
    """Pin a snapshot; the pin that stands afterwards. Pinned already for the same user: the first one stands.

    Raises Unavailable (pinning again is harmless), InvalidInput for a pin that is damaged.
    """
    uri = S3Uri(bucket, pin_key(wanted.deployment, wanted.location, wanted.user))
    try:
        await control.create(uri, wanted.model_dump_json(indent=1).encode() + b"\n")
    except PreconditionFailed:
        found = await control.get_or_none(uri)
        if found is not None:
            return _read(uri, found.body)
    return wanted


async def unpin(control: ObjectStore, bucket: str, deployment: str, location: Uri) -> Pin | None:
    """Take a person's pin away; where there is none, those of copies. A pin that stood there, None if there was none.

    A copy that a failover has started from stays, and so does its pin, until somebody says that it may go.

    Raises Unavailable.
    """
    uri = S3Uri(bucket, pin_key(deployment, location))
    found = await control.get_or_none(uri)
    if found is not None:
        await control.delete(uri)
        return _read(uri, found.body)
    left = await pins_on(control, bucket, deployment, location)
    for one in left:
        await control.delete(S3Uri(bucket, pin_key(deployment, location, one.user)))
    return left[0] if left else None


async def pins_on(control: ObjectStore, bucket: str, deployment: str, location: Uri) -> list[Pin]:
    """The pins that stand on a snapshot. Raises as ``read_pins``."""
    at = location_of(location)
    return [one for one in await read_pins(control, bucket, deployment) if location_of(one.location) == at]


async def read_pins(control: ObjectStore, bucket: str, deployment: str) -> list[Pin]:
    """Every pin of a deployment. Raises Unavailable, InvalidInput for one that is damaged."""
    found: list[Pin] = []
    async for item in control.list(S3Uri(bucket, pin_prefix(deployment))):
        there = await control.get_or_none(item.uri)
        if there is not None:
            found.append(_read(item.uri, there.body))
    return found


def _read(uri: S3Uri, body: bytes) -> Pin:
    try:
        return Pin.model_validate_json(body)
    except (ValidationError, json.JSONDecodeError) as error:
        raise InvalidInput(f"{uri}: no pin that this version can read: {error}") from error


def named_by(record: DeploymentRecord | None) -> dict[S3Uri, str]:
    """The snapshots that a record or an intent of it names, and as what: the way back may start from each (X10, X26).

    For a stop that may still be on its way the directory that it writes to.
    """
    if record is None:
        return {}
    found: dict[S3Uri, str] = {}

    def keep(location: str | None, why: str) -> None:
        if location:
            found.setdefault(location_of(location), why)

    if record.pinned is not None:
        keep(record.pinned.location, "the savepoint of the last stop")
    if record.base is not None:
        keep(record.base.location, "what the writer started from")
    if record.writer is not None:
        keep(record.writer.started_from, "what the writer started from")
    for region, gone in record.gone.items():
        for location in gone.snapshots:
            keep(location, f"it tells what had been read in {region}, until that has returned (X22)")
    for intent in record.intents:
        if isinstance(intent, StopIntent):
            keep(intent.location or intent.directory, f"a stop of epoch {intent.epoch}")
        elif isinstance(intent, StartIntent):
            keep(intent.snapshot, f"a start of epoch {intent.epoch}")
        elif isinstance(intent, SettleIntent):
            keep(intent.snapshot, f"settled for, epoch {intent.epoch}")
        elif isinstance(intent, SnapshotIntent):
            keep(intent.location or intent.directory, f"a snapshot of epoch {intent.epoch}")
    return found


def protection(location: Uri, named: dict[S3Uri, str], pins: list[Pin]) -> str | None:
    """Why a snapshot must stay; None if nothing asks for it. A named directory protects all that lies below it."""
    at = location_of(location)
    for pinned in pins:
        if location_of(pinned.location) == at:
            return f"pinned by {pinned.who}: {pinned.why}"
    for directory, why in named.items():
        if at == directory or (at.bucket == directory.bucket and at.key.startswith(f"{directory.key}/")):
            return why
    return None
