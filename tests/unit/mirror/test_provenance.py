"""The form of the two headers, on the vectors that the Java side is held to as well (X20)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import OperationFailed
from tidegate.mirror.provenance import HOP, ORIGIN, Mirrored, Provenance, decode, encode, of_headers

VECTORS = Path(__file__).parents[3] / "mirror" / "src" / "test" / "resources" / "provenance-vectors.tsv"
ROWS = [line.split("\t") for line in VECTORS.read_text().splitlines() if not line.startswith("#")]
GOOD = [
    (bytes.fromhex(row[1]), Provenance(row[2], row[3], int(row[4]), int(row[5]))) for row in ROWS if row[0] == "good"
]
BAD = [(bytes.fromhex(row[1]), row[2]) for row in ROWS if row[0] == "bad"]


def test_there_are_vectors_of_both_kinds():
    assert len(GOOD) >= 5
    assert len(BAD) >= 8


@pytest.mark.parametrize(("data", "place"), GOOD)
def test_good_vectors_are_read_and_written_as_they_stand(data, place):
    assert decode(data) == place
    assert encode(place) == data


@pytest.mark.parametrize(("data", "why"), BAD, ids=[why for _, why in BAD])
def test_bad_vectors_are_refused(data, why):
    with pytest.raises(OperationFailed):
        decode(data)


@given(st.binary(max_size=60))
def test_anything_else_is_read_as_written_or_refused(data):
    try:
        place = decode(data)
    except OperationFailed:
        return
    assert encode(place) == data


@pytest.mark.parametrize(
    "place", [Provenance("", "t", 0, 0), Provenance("c" * 256, "t", 0, 0), Provenance("c", "t", -1, 0)]
)
def test_what_the_form_cannot_hold_is_refused(place):
    with pytest.raises(ValueError):
        encode(place)


def test_headers_of_a_native_and_of_a_mirrored_record():
    origin, hop = Provenance("east", "payments", 1, 7), Provenance("west", "payments", 1, 9)

    assert of_headers([("event-id", b"1")]) is None
    assert of_headers([(ORIGIN, encode(origin)), ("event-id", b"1"), (HOP, encode(hop))]) == Mirrored(origin, hop)


def test_one_header_without_the_other_is_refused():
    with pytest.raises(OperationFailed, match=r"tidegate\.hop alone"):
        of_headers([(HOP, encode(Provenance("east", "payments", 1, 7)))])
