"""A ``_metadata`` of 100 MB is read and written in bounded memory, in no more processor time than its size warrants."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

from tests.kit import snapshot_large
from tidegate.snapshot.parts import SubtaskState
from tidegate.snapshot.reader import read_parts
from tidegate.snapshot.writer import write_parts

SIZE_BYTES = 100_000_000
PEAK_BYTES = 16_000_000
CPU_S = 60  # tracemalloc costs most of it; without, it is 2 s


def test_a_large_file_is_read_and_copied_in_bounded_memory(tmp_path: Path):
    path = tmp_path / "_metadata"
    body = snapshot_large.subtask_body(files=200, inline_bytes=200_000)
    subtasks, size = snapshot_large.write(path, SIZE_BYTES, body)
    assert size >= SIZE_BYTES
    files = states = written = 0
    began = time.process_time()
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            for part in read_parts(file):
                if isinstance(part, SubtaskState):
                    states += 1
                    files += sum(1 for _ in part.streams())
        with path.open("rb") as file:
            for piece in write_parts(read_parts(file)):
                written += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (states, files, written) == (subtasks, subtasks * (1 + 1 + 200 + 1), size)
    assert peak < PEAK_BYTES
    assert time.process_time() - began < CPU_S
