"""What programs outside read of a lineage: its pieces, the newest word, and the last one while the bucket is away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ledger.faults import BadInput, CannotReach
from ledger.lineage import Away, ControlBucket, LineageFollower, Partition, Segment, pieces, read_lineage
from tests.unit.ledger.two_regions import MemoryBucket, a_lineage
from tidegate.lineage import model


def partition(*segments: tuple[str, int, int | None]) -> Partition:
    return Partition(segments=tuple(Segment(turn=i, region=r, first=f, end=e) for i, (r, f, e) in enumerate(segments)))


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([("east", 0, None)], [("east", 0, None)]),
        ([("east", 7, None)], [("east", 0, None)]),
        ([("east", 0, 10), ("west", 9, None)], [("east", 0, 10), ("west", 9, None)]),
        ([("east", 0, None), ("west", 9, None)], [("west", 0, None)]),
        ([("east", 0, None), ("west", 9, 20), ("east", 30, None)], [("west", 0, 20), ("east", 30, None)]),
        ([("east", 0, 10), ("west", 9, None), ("east", 30, None)], [("east", 0, None)]),
    ],
)
def test_x20_pieces(segments, expected):
    assert pieces(partition(*segments)) == expected


def test_it_reads_what_tidegate_writes():
    written = model.TopicLineage(
        topic="balances",
        region="west",
        turn=1,
        gate=model.Gate.CLOSED,
        holder="op",
        partitions={
            "0": model.Partition(
                segments=(
                    model.Segment(turn=0, region="east", epoch=3, first=0, end=10, cut=9),
                    model.Segment(turn=1, region="west", epoch=4, first=9),
                ),
                excluded=(model.Excluded(region="east", first=10, last=12, why="tail", by="op"),),
            )
        },
        turns=(model.Turn(number=1, source="east", target="west", operation="op", planned=True),),
    )
    bucket = MemoryBucket(None)
    found = type(a_lineage()).model_validate_json(written.model_dump_json())
    assert (found.region, found.turn, found.gate, found.partitions[0].segments[0].cut) == ("west", 1, "closed", 9)
    assert [found.is_excluded("east", 0, offset) for offset in (9, 10, 12, 13)] == [False, True, True, False]
    assert not found.is_excluded("west", 0, 11)
    assert bucket.word is not None


class Store(BaseHTTPRequestHandler):
    """S3's answers for one object."""

    body: bytes | None = b"{}"
    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        etag = '"v1"'
        type(self).asked.append(self.headers.get("If-None-Match"))
        if self.body is None:
            answer = b"<Error><Code>NoSuchKey</Code></Error>"
            self.send_response(404)
        elif self.headers.get("If-None-Match") == etag:
            answer = b""
            self.send_response(304)
        else:
            answer = self.body
            self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def bucket() -> Iterator[ControlBucket]:
    Store.body, Store.asked = a_lineage().model_dump_json().encode(), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found = ControlBucket(
        "payments",
        {
            "TIDEGATE_CONTROL_S3": f"http://127.0.0.1:{server.server_address[1]}",
            "TIDEGATE_CONTROL_BUCKET": "control",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "y",
        },
    )
    yield found
    found._client.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_bucket_is_asked_for_changes_only(bucket):
    first = bucket.fetch(None)
    assert first is not None
    assert first.lineage == a_lineage()
    assert bucket.fetch(first.etag) is None
    assert Store.asked == [None, first.etag]


def test_what_is_not_there_or_no_lineage_is_named(bucket):
    Store.body = None
    with pytest.raises(Away, match=r"holds no lineage/payments\.json"):
        bucket.fetch(None)
    Store.body = json.dumps({"topic": "payments"}).encode()
    with pytest.raises(BadInput, match=r"lineage/payments\.json: region: Field required"):
        bucket.fetch(None)


def test_a_bucket_that_cannot_be_reached_is_away():
    names = ("S3", "BUCKET", "ACCESS_KEY", "SECRET_KEY")
    bucket = ControlBucket("payments", {f"TIDEGATE_CONTROL_{name}": "http://127.0.0.1:1" for name in names})
    with pytest.raises(CannotReach, match="lineage of payments: the control bucket cannot be reached"):
        read_lineage(bucket, timeout_s=0.1)
    bucket._client.close()


def test_the_last_word_stands_while_the_bucket_is_away_and_is_not_taken_for_a_new_one():
    bucket = MemoryBucket()
    follower = LineageFollower(bucket)
    follower.poll()
    first = follower.word
    assert first is not None
    bucket.away = True
    since = time.monotonic()
    follower.poll()
    assert follower.word == first
    assert follower.word_since(since) is None
    bucket.away = False
    follower.poll()
    assert follower.word_since(since) == first
    assert bucket.unchanged == 1
    bucket.tell(gate="closed")
    follower.poll()
    assert follower.word is not None
    assert follower.word.gate == "closed"


def test_an_older_word_is_passed_over():
    bucket = MemoryBucket()
    older = bucket.word
    bucket.tell(gate="closed")
    follower = LineageFollower(bucket)
    follower.poll()
    bucket.word = older
    follower.poll()
    assert follower.word is not None
    assert follower.word.gate == "closed"
