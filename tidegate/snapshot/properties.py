"""A checkpoint's properties: what kind of snapshot it is, and when Flink deletes it (format 4 on).

Source: org.apache.flink.runtime.checkpoint.{CheckpointProperties,CheckpointType,SavepointType}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tidegate.snapshot.cursor import Cursor
from tidegate.snapshot.javaobject import JavaEnum, JavaObject, JavaReader, JavaText, JavaValue, java_bytes

_PACKAGE: Final = "org.apache.flink.runtime.checkpoint."
_CLASS: Final = _PACKAGE + "CheckpointProperties"
_SAVEPOINT: Final = _PACKAGE + "SavepointType"
_MAX_BYTES: Final = 1 << 16
_FLAGS: Final = ("discardSubsumed", "discardFinished", "discardCancelled", "discardFailed", "discardSuspended")


@dataclass(frozen=True, slots=True)
class Properties:
    """CheckpointProperties, or the null that Flink's State Processor API leaves (``java`` None).

    ``name`` is Flink's ("Checkpoint", "Full Checkpoint", "Savepoint", "Terminate Savepoint"), ``format`` CANONICAL
    or NATIVE of a savepoint, ``action`` what follows it (NONE, SUSPEND, TERMINATE), ``sharing`` a checkpoint's use of
    shared files; ``discard`` the events after which Flink deletes it. ``java`` is the object, and what is written.
    """

    java: JavaObject | None
    is_savepoint: bool | None = None
    name: str | None = None
    format: str | None = None
    action: str | None = None
    sharing: str | None = None
    forced: bool | None = None
    unclaimed: bool | None = None
    discard: frozenset[str] = field(default_factory=frozenset)

    def to_bytes(self) -> bytes:
        """The object stream."""
        return java_bytes(self.java)


NO_PROPERTIES: Final = Properties(None)
"""The null object."""


def read_properties(cursor: Cursor) -> Properties:
    """The properties; the cursor stands behind them.

    Raises SnapshotUnreadable for another object, and as JavaReader does.
    """
    at = cursor.position
    whole = cursor.end, cursor.total
    # What Flink writes has 600 to 760 bytes; a bound keeps damage from being taken for a large object.
    cursor.end = min(cursor.end, at + _MAX_BYTES)
    cursor.total = min(cursor.total, cursor.origin + at + _MAX_BYTES)
    reader = JavaReader(cursor, "the checkpoint's properties")
    try:
        found = reader.read()
    finally:
        cursor.end, cursor.total = whole
    if found is None:
        return NO_PROPERTIES
    if not isinstance(found, JavaObject) or found.class_name != _CLASS:
        kind = found.class_name if isinstance(found, JavaObject) else type(found).__name__
        raise cursor.error(f"a Java object of another class, {kind}", "the checkpoint's properties", at)
    own = dict(found.fields())
    snapshot_type = reader.resolve(own.get("checkpointType"))
    if not isinstance(snapshot_type, JavaObject):
        # Before Flink 1.16 the type was an enum; such properties were never written, but say so if they were.
        raise cursor.error("they have no type of snapshot", "the checkpoint's properties", at)
    of_type = dict(snapshot_type.fields())

    def text(value: JavaValue) -> str | None:
        value = reader.resolve(value)
        if isinstance(value, JavaEnum):
            value = reader.resolve(value.constant)
        return value.text if isinstance(value, JavaText) else None

    def flag(name: str) -> bool | None:
        value = own.get(name)
        return value if isinstance(value, bool) else None

    return Properties(
        java=found,
        is_savepoint=snapshot_type.class_name == _SAVEPOINT,
        name=text(of_type.get("name")),
        format=text(of_type.get("formatType")),
        action=text(of_type.get("postCheckpointAction")),
        sharing=text(of_type.get("sharingFilesStrategy")),
        forced=flag("forced"),
        unclaimed=flag("unclaimed"),
        discard=frozenset(name.removeprefix("discard").lower() for name in _FLAGS if flag(name)),
    )
