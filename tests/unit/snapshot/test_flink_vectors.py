"""Snapshots of our own job on several versions of Flink, against what Flink's reader finds in each, field for field.

tests/vectors makes them; ``case.json`` is what was asked for, ``oracle.json`` what Flink read.
"""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.kit.snapshot_oracle import agree, seen
from tidegate.errors import SnapshotUnreadable
from tidegate.snapshot.channels import MergedChannelHandle
from tidegate.snapshot.handles import KEY_GROUPS_SAVEPOINT, ChangelogHandle, IncrementalHandle, KeyGroupsHandle
from tidegate.snapshot.metadata import Metadata, operator_id_of, parse, serialize
from tidegate.snapshot.reader import read_parts
from tidegate.snapshot.writer import write_parts

DATA = Path(__file__).parents[2] / "vectors" / "data"
VECTORS = sorted(str(path.parent.relative_to(DATA)) for path in DATA.glob("*/*/oracle.json"))
FORMATS = {"1.20.0": 4, "2.0.0": 5, "2.2.0": 6, "2.3.0": 6}
NEWEST = "2.3.0"
KINDS = {
    "CHECKPOINT": ("Checkpoint", False, None),
    "SAVEPOINT_NATIVE": ("Savepoint", True, "NATIVE"),
    "SAVEPOINT_CANONICAL": ("Savepoint", True, "CANONICAL"),
    "STOP_NATIVE": ("Suspend Savepoint", True, "NATIVE"),
    "STOP_CANONICAL_DRAIN": ("Terminate Savepoint", True, "CANONICAL"),
}


@cache
def vector(name: str) -> tuple[bytes, Metadata, dict[str, Any]]:
    data = (DATA / name / "_metadata").read_bytes()
    return data, parse(data), json.loads((DATA / name / "case.json").read_text())


def test_the_newest_version_has_every_kind():
    cases = {name.split("/")[1] for name in VECTORS if name.startswith(f"{NEWEST}/")}
    kinds = {
        "heap-checkpoint",
        "rocks-incremental",
        "rocks-full",
        "rocks-savepoint-native",
        "rocks-savepoint-canonical",
    }
    assert kinds | {"unaligned", "unaligned-rescaled", "rescaled", "changelog-rocks", "changelog-memory"} <= cases


@pytest.mark.parametrize("name", VECTORS)
def test_what_we_read_is_what_flink_reads(name: str):
    flinks = json.loads((DATA / name / "oracle.json").read_text())
    assert agree(seen(vector(name)[1]), flinks) == []


@pytest.mark.parametrize("name", VECTORS)
def test_read_and_written_unchanged_is_the_same_file(name: str):
    data, metadata, _ = vector(name)
    assert serialize(metadata) == data
    assert parse(serialize(metadata)) == metadata
    for window_bytes in (1, 1000):
        assert b"".join(write_parts(read_parts(io.BytesIO(data), window_bytes))) == data


@pytest.mark.parametrize("name", VECTORS)
def test_it_is_what_was_asked_for(name: str):
    _, metadata, case = vector(name)
    assert metadata.version == FORMATS[name.split("/", maxsplit=1)[0]]
    assert metadata.properties is not None
    expected = KINDS[case["kind"]]
    if case["kind"] != "CHECKPOINT":
        assert (metadata.properties.name, metadata.is_savepoint, metadata.properties.format) == expected
    else:
        assert metadata.is_savepoint is False
        assert case["location"].endswith(f"/chk-{metadata.checkpoint_id}")
    uids = {"numbers", "rules", "ruled", "lists", "counts", "files"}
    if metadata.version >= 5:
        assert uids <= {operator.uid for operator in metadata.operators}
    for uid in uids - {"rules"}:
        operator = metadata.operator(operator_id_of(uid))
        assert operator is not None
        assert operator.parallelism == case["parallelism"]
    counts = metadata.operator_of_uid("counts")
    assert counts is not None
    assert {state.index for state in counts.subtasks.values()} == set(range(case["parallelism"]))
    assert counts.name == ("counts é漢\U0001f642" if metadata.version >= 5 else None)
    rules = metadata.operator_of_uid("rules")
    assert rules is not None
    assert rules.finished or case["kind"] == "STOP_CANONICAL_DRAIN" or case["from"] is not None


def _keyed(name: str) -> list[object]:
    return [s.managed_keyed for _, s in vector(name)[1].subtask_states() if s.managed_keyed is not None]


@pytest.mark.parametrize("name", VECTORS)
def test_each_case_has_the_handles_that_it_is_for(name: str):
    case, states = name.split("/")[1], list(vector(name)[1].subtask_states())
    kinds = {type(handle) for handle in _keyed(name)}
    if case.startswith("changelog"):
        assert kinds == {ChangelogHandle}
        if case.endswith("rocks"):
            assert all(h.materialized and h.changes for h in _keyed(name) if isinstance(h, ChangelogHandle))
    elif "canonical" in case:
        assert {h.tag for h in _keyed(name) if isinstance(h, KeyGroupsHandle)} == {KEY_GROUPS_SAVEPOINT}
    elif case.startswith(("heap", "raw", "merging-heap")) or case in {"unaligned", "unaligned-rescaled", "timed-heap"}:
        assert kinds == {KeyGroupsHandle}
    else:
        assert kinds == {IncrementalHandle}
    if case == "raw-state":
        assert any(s.raw_keyed and s.raw_operator for _, s in states)
    if case.startswith("merging"):
        assert any(s.managed_operator and s.managed_operator.merged for _, s in states)
    channels = [channel for _, s in states for channel in (*s.input_channels, *s.output_channels)]
    assert bool(channels) is ("unaligned" in case)
    merged = {isinstance(channel, MergedChannelHandle) for channel in channels}
    assert merged <= {FORMATS[name.split("/", maxsplit=1)[0]] >= 6}
    assert sum(part.size for c in channels for part in c.parts()) == sum(c.size for c in channels)


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("2.3.0/")])
def test_a_cut_at_any_byte_is_seen(name: str):
    data, metadata, _ = vector(name)
    step = 1 if len(data) < 4000 else 7
    for length in (*range(0, len(data), step), *range(metadata.tail.start, len(data))):
        with pytest.raises(SnapshotUnreadable) as raised:
            parse(data[:length])
        assert raised.value.offset <= length
