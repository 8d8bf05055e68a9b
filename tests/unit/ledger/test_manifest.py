"""Reading replay manifests (X21, X26): exact edges, and mistakes named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit_manifest import Superseded, SupersededRange, read_manifests
from ledger.faults import BadInput

RANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 5)), max_size=8)


@given(RANGES)
def test_covers_exactly_the_ranges(ranges):
    superseded = Superseded(SupersededRange(partition=p, first=f, last=f + n) for p, f, n in ranges)
    for partition in range(3):
        for offset in range(30):
            expected = any(p == partition and f <= offset <= f + n for p, f, n in ranges)
            assert superseded.covers(partition, offset) == expected


@given(RANGES, RANGES)
def test_joined_covers_what_either_covers(ranges, more):
    both = [[SupersededRange(partition=p, first=f, last=f + n) for p, f, n in some] for some in (ranges, more)]
    joined = Superseded(both[0]).joined(both[1])
    for partition in range(3):
        for offset in range(30):
            assert joined.covers(partition, offset) == any(Superseded(r).covers(partition, offset) for r in both)


def test_several_files_add_up(tmp_path):
    paths = []
    for number, first in enumerate((5, 50)):
        path = tmp_path / f"{number}.json"
        content = {"topic": "balances", "superseded": [{"partition": 1, "first": first, "last": first}], "why": "x"}
        path.write_text(json.dumps(content))
        paths.append(path)
    superseded = Superseded(r for manifest in read_manifests(paths, topic="balances") for r in manifest.superseded)
    assert [offset for offset in range(60) if superseded.covers(1, offset)] == [5, 50]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"topic": "balances"}', "superseded: Field required"),
        ('{"topic": "other", "superseded": []}', "is about topic other; the output audited is balances"),
        (
            '{"topic": "balances", "superseded": [{"partition": 0, "first": 5, "last": 4}]}',
            "last 4 lies before first 5",
        ),
        ('{"topic": "balances", "superseded": [{"partition": -1, "first": 5, "last": 6}]}', "superseded.0.partition"),
    ],
)
def test_a_mistake_is_named(tmp_path, content, message):
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=message) as caught:
        read_manifests([path], topic="balances")
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.json: No such file"):
        read_manifests([tmp_path / "nowhere.json"], topic="balances")
