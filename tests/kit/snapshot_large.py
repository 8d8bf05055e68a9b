"""Writes a large ``_metadata`` of one operator, subtask by subtask, as a job with much RocksDB or inline state has."""

from __future__ import annotations

from pathlib import Path

from tests.kit import snapshot_bytes as w
from tidegate.snapshot.metadata import parse

FILES_A_SUBTASK = 1000
INLINE_BYTES = 20_000


def subtask_body(files: int = FILES_A_SUBTASK, inline_bytes: int = INLINE_BYTES) -> bytes:
    """All but the index of a subtask: shared files by whole paths, and inline operator state."""
    shared = {
        f"{n:06}.sst": w.file(f"s3://bucket/checkpoints/0123456789abcdef0123456789abcdef/shared/{n:036}", 1000 + n)
        for n in range(files)
    }
    keyed = w.incremental(w.relative("meta", 11), shared, {"MANIFEST": w.relative("0" * 36, 5)})
    return w.subtask(0, managed=w.operator_state({"s": [5, 9]}, w.inline(bytes(inline_bytes))), keyed=keyed)[4:]


def write(path: Path, size_bytes: int, body: bytes, tail: bytes = w.TAIL) -> tuple[int, int]:
    """At least ``size_bytes``; returns how many subtasks and bytes. ``tail``: the properties, as ``properties_of``."""
    subtasks = size_bytes // len(body) + 1
    head = w.operator("large", [], parallelism=subtasks, max_parallelism=1 << 15)[:-4] + w.i32(subtasks)
    start, end = w.metadata(head, tail=b""), tail
    with path.open("wb") as file:
        file.write(start)
        for index in range(subtasks):
            file.write(w.i32(index) + body)
        file.write(end)
    return subtasks, len(start) + subtasks * (4 + len(body)) + len(end)


def properties_of(path: Path) -> bytes:
    """The properties of a ``_metadata`` of Flink's own: it reads no others, since they are Java objects."""
    metadata = parse(path.read_bytes())
    return metadata.tail.of(metadata.data)
