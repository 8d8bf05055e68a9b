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
    """``pins/<deployment>/<id>.json``: a person's word that a snapshot stays. ``who`` is a claim (O14)."""

    deployment: str
    location: str
    why: str
    who: str
    at: datetime


def pin_prefix(deployment: str) -> str:
    """All pins of a deployment."""
    return f"pins/{deployment}/"


def pin_key(deployment: str, location: Uri) -> str:
    """One key a snapshot, so that two people never write the same one with different meanings."""
    at = location_of(location)
    return f"{pin_prefix(deployment)}{names.derive_id(at.bucket, at.key)}.json"


async def pin(control: ObjectStore, bucket: str, wanted: Pin) -> Pin:
    """Pin a snapshot; the pin that stands afterwards. Pinned already: the first one stands.

    Raises Unavailable (pinning again is harmless), InvalidInput for a pin that is damaged.
    """
    uri = S3Uri(bucket, pin_key(wanted.deployment, wanted.location))
    try:
        await control.create(uri, wanted.model_dump_json(indent=1).encode() + b"\n")
    except PreconditionFailed:
        found = await control.get_or_none(uri)
        if found is not None:
            return _read(uri, found.body)
    return wanted


async def unpin(control: ObjectStore, bucket: str, deployment: str, location: Uri) -> Pin | None:
    """Take a pin away; the pin that stood there, None if there was none. Raises Unavailable."""
    uri = S3Uri(bucket, pin_key(deployment, location))
    found = await control.get_or_none(uri)
    if found is None:
        return None
    await control.delete(uri)
    return _read(uri, found.body)


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
