"""The smallest channel handle there can be, at the very end of a file: its count is not taken for a damage."""

from __future__ import annotations

from tidegate.snapshot.channels import Direction, MergedChannelHandle
from tidegate.snapshot.cursor import Cursor
from tidegate.snapshot.decode import read_channels
from tidegate.snapshot.encode import write_channels
from tidegate.snapshot.handles import EmptySegmentHandle


def test_the_smallest_merged_handle_at_the_end_of_a_file_is_read():
    handle = MergedChannelHandle(Direction.OUTPUT, 0, 0, EmptySegmentHandle(), b"")
    out: list[bytes] = []
    write_channels(out, (handle,), Direction.OUTPUT, typed=True)
    (read,) = read_channels(Cursor(b"".join(out)), Direction.OUTPUT, typed=True)
    assert isinstance(read, MergedChannelHandle)
    assert (read.subtask, read.size, read.channel_offsets) == (0, 0, b"")
