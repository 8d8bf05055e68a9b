"""The checkpoint that the benchmarks lay out is one: what its ``_metadata`` names is what is put."""

from __future__ import annotations

from benchmarks.checkpoint import HERE, Checkpoint
from tidegate.snapshot.files import referenced_files
from tidegate.snapshot.metadata import parse


def test_every_file_is_named_once_at_its_size_and_lies_in_one_of_the_directories():
    checkpoint = Checkpoint("here", files=107, file_bytes=100, subtasks=4)
    refs = referenced_files(parse(checkpoint.metadata()), checkpoint.location)
    assert len(refs) == 107
    assert sum(ref.size or 0 for ref in refs) == checkpoint.total_bytes == 103 * 100 + 4 * 40
    below = {f"{ref.uri.parent}/".removeprefix(HERE) for ref in refs}
    assert below == set(checkpoint.directories)
