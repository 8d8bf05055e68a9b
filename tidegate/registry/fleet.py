"""The fleet file in the registry: create-only by digest, and a pointer to the current one by compare-and-swap (O21)."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tidegate.clients.objects import Object, ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import BasisChanged, InvalidInput, Unavailable
from tidegate.model.fleetfile import LoadedFleet, digest_of, load_fleet
from tidegate.names import FLEET_POINTER_KEY, fleet_key

_HEX = frozenset("0123456789abcdef")


class FleetPointer(BaseModel):
    """Which published fleet file is the current one. ``seq`` rises by one each time it changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    seq: int = Field(ge=1)
    who: str
    at: AwareDatetime


async def read_pointer(store: ObjectStore, bucket: str) -> FleetPointer | None:
    """The pointer, or None if no fleet file was ever published. Raises InvalidInput if it cannot be read."""
    found = await _pointer(store, bucket)
    return None if found is None else found[0]


async def read_current(store: ObjectStore, bucket: str) -> LoadedFleet:
    """The current fleet file. Raises InvalidInput if none was published."""
    pointer = await read_pointer(store, bucket)
    if pointer is None:
        msg = f"no fleet file has been published in s3://{bucket}"
        raise InvalidInput(msg, hint="publish one:  tidegate fleet apply FILE")
    return await read_digest(store, bucket, pointer.digest)


async def read_digest(store: ObjectStore, bucket: str, digest: str) -> LoadedFleet:
    """A published fleet file by its sha256, verified. Raises InvalidInput if there is none or its bytes are others."""
    if len(digest) != 64 or not _HEX.issuperset(digest):
        msg = f"not a fleet file's digest: {digest}; expected 64 hex digits"
        raise InvalidInput(msg)
    uri = S3Uri(bucket, fleet_key(digest))
    found = await store.get_or_none(uri)
    if found is None:
        msg = f"no such fleet file: {uri}"
        raise InvalidInput(msg, hint="publish it:  tidegate fleet apply FILE")
    try:
        text = found.body.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"{uri}: damaged: not UTF-8 text"
        raise InvalidInput(msg) from error
    if digest_of(text) != digest:
        msg = f"{uri}: damaged: its bytes have another sha256"
        raise InvalidInput(msg, hint="publish the file again under its own digest:  tidegate fleet apply FILE")
    return load_fleet(text, str(uri))


async def publish(store: ObjectStore, bucket: str, text: str, who: str, basis: str | None = None) -> FleetPointer:
    """Publish a fleet file and make it the current one; the pointer that stands afterwards. The same text: no change.

    ``basis`` is the digest that was current when the change was looked at.

    Raises:
        InvalidInput: the text has mistakes.
        BasisChanged: another fleet file was published in between.
        Unavailable: the control bucket did not answer; publishing again is harmless.

    """
    loaded = load_fleet(text)
    await _create_once(store, S3Uri(bucket, fleet_key(loaded.digest)), loaded)
    found = await _pointer(store, bucket)
    if found is not None and found[0].digest == loaded.digest:
        return found[0]
    if basis is not None and (found is None or found[0].digest != basis):
        raise _changed(None if found is None else found[0])
    mine = FleetPointer(
        digest=loaded.digest, seq=1 if found is None else found[0].seq + 1, who=who, at=datetime.now(UTC)
    )
    uri, body = S3Uri(bucket, FLEET_POINTER_KEY), mine.model_dump_json(indent=2).encode()
    try:
        if found is None:
            await store.create(uri, body)
        else:
            await store.replace(uri, body, if_match=found[1])
    except (PreconditionFailed, Unavailable) as error:
        # What was written is known only from what stands there now (O3).
        now = await _pointer(store, bucket)
        if now is not None and now[0].digest == mine.digest:
            return now[0]
        if isinstance(error, Unavailable):
            raise
        raise _changed(None if now is None else now[0]) from error
    return mine


async def _create_once(store: ObjectStore, uri: S3Uri, loaded: LoadedFleet) -> None:
    body = loaded.text.encode()
    try:
        await store.create(uri, body)
    except PreconditionFailed:
        if (await store.get(uri)).body != body:
            msg = f"{uri}: damaged: other bytes stand under this sha256"
            raise InvalidInput(msg, hint="remove that object, then publish again") from None


def _changed(now: FleetPointer | None) -> BasisChanged:
    what = f"{now.digest[:12]} by {now.who} at {now.at:%Y-%m-%d %H:%M:%S} UTC" if now is not None else "none"
    msg = f"the current fleet file has changed meanwhile: it is now {what}"
    return BasisChanged(msg, hint="look at the difference again:  tidegate fleet apply --dry-run FILE")


async def _pointer(store: ObjectStore, bucket: str) -> tuple[FleetPointer, str] | None:
    uri = S3Uri(bucket, FLEET_POINTER_KEY)
    found: Object | None = await store.get_or_none(uri)
    if found is None:
        return None
    try:
        return FleetPointer.model_validate_json(found.body), found.etag
    except ValidationError as error:
        msg = f"{uri}: damaged: {error.errors()[0]['msg']}"
        raise InvalidInput(msg, hint="expected JSON: {digest, seq, who, at}") from error
