"""A topic's lineage as a program outside Tidegate reads it: where it is written now, and which ranges count (X18, X20).

The object is ``lineage/<topic>.json`` in the control bucket. Found by environment variables:

    TIDEGATE_CONTROL_S3, TIDEGATE_CONTROL_BUCKET                        endpoint's URL, bucket
    TIDEGATE_CONTROL_ACCESS_KEY, TIDEGATE_CONTROL_SECRET_KEY            or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
    TIDEGATE_CONTROL_REGION_NAME                                        us-east-1 if not set
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ledger.faults import BadInput, CannotReach

POLL_S = 0.25
QUIET_S = 5.0

logger = logging.getLogger("ledger.lineage")


class _Word(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Gate(StrEnum):
    """Whether the topic may be written where it lives."""

    OPEN = "open"
    CLOSED = "closed"


class Excluded(_Word):
    """Offsets ``first`` to ``last`` of one region's log, both included, that do not count."""

    region: str
    first: int
    last: int


class Segment(_Word):
    """What one region wrote between two turns, by the offsets of its own log; ``end`` is not included, None: not known
    or not yet. ``cut``: the first offset of the next segment, in the next region's log.
    """

    turn: int
    region: str
    first: int
    end: int | None = None
    cut: int | None = None


class Partition(_Word):
    """The segments of one partition, oldest first; the last one goes on."""

    segments: tuple[Segment, ...] = Field(min_length=1)
    excluded: tuple[Excluded, ...] = ()


class Lineage(_Word):
    """The object, as far as readers and writers of the topic need it."""

    topic: str
    seq: int = 0
    turn: int = 0
    region: str
    gate: Gate = Gate.OPEN
    partitions: dict[int, Partition] = Field(default_factory=dict)

    def is_excluded(self, region: str, partition: int, offset: int) -> bool:
        """Whether that record does not count."""
        known = self.partitions.get(partition)
        return known is not None and any(x.region == region and x.first <= offset <= x.last for x in known.excluded)


class Piece(NamedTuple):
    """A range of one region's log; ``end`` is not included, None: as far as it goes."""

    region: str
    first: int
    end: int | None


def pieces(partition: Partition) -> list[Piece]:
    """What of whose log is read, in this order, to have each record of the topic once (excluded ranges still in it).

    Each segment from the region that wrote it. The oldest begins where its log does: what stood there before the
    lineage was begun counts too. If of an earlier segment nobody knows the end, then what counts of it is what crossed:
    it is read from the log of the region that came next, which holds all that came before as well.
    """
    segments = partition.segments
    begin = max((i + 1 for i, segment in enumerate(segments[:-1]) if segment.end is None), default=0)
    read = segments[begin:]
    return [Piece(s.region, 0 if i == 0 else s.first, s.end) for i, s in enumerate(read)]


class Fetched(NamedTuple):
    """An answer of the bucket."""

    etag: str
    lineage: Lineage


class Away(Exception):
    """The control bucket did not answer, or holds no lineage of the topic. The message says which."""


class LineageSource(Protocol):
    """Where the lineage of one topic is read."""

    topic: str

    def fetch(self, etag: str | None) -> Fetched | None:
        """The object; None if it still is the one of ``etag``. Raises `Away`, `BadInput`."""
        ...


class ControlBucket:
    """The lineage of a topic in the control bucket. Give the environment of the process."""

    def __init__(self, topic: str, environment: Mapping[str, str] = os.environ) -> None:
        self.topic = topic
        self._key = f"lineage/{topic}.json"
        endpoint = environment.get("TIDEGATE_CONTROL_S3")
        bucket = environment.get("TIDEGATE_CONTROL_BUCKET")
        access_key = environment.get("TIDEGATE_CONTROL_ACCESS_KEY") or environment.get("AWS_ACCESS_KEY_ID")
        secret_key = environment.get("TIDEGATE_CONTROL_SECRET_KEY") or environment.get("AWS_SECRET_ACCESS_KEY")
        if not (endpoint and bucket and access_key and secret_key):
            raise BadInput(
                "to follow a lineage set TIDEGATE_CONTROL_S3, TIDEGATE_CONTROL_BUCKET, TIDEGATE_CONTROL_ACCESS_KEY and "
                "TIDEGATE_CONTROL_SECRET_KEY"
            )
        self._bucket = bucket
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=environment.get("TIDEGATE_CONTROL_REGION_NAME") or "us-east-1",
            config=Config(
                connect_timeout=1.0,
                read_timeout=2.0,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )

    def fetch(self, etag: str | None) -> Fetched | None:
        """Read it, if it is another than ``etag``. Raises `Away`, `BadInput`."""
        try:
            if etag is None:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key)
            else:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key, IfNoneMatch=etag)
            body = answer["Body"].read()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = error.response.get("Error", {}).get("Code", "?")
            if status == 304:
                return None
            if code == "NoSuchKey":
                raise Away(f"the control bucket holds no {self._key}") from error
            raise Away(f"the control bucket refused to hand out {self._key}: {code}") from error
        except BotoCoreError as error:
            raise Away(f"the control bucket cannot be reached: {error}") from error
        try:
            return Fetched(answer["ETag"], Lineage.model_validate_json(body))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the object"
            raise BadInput(f"{self._key}: {where}: {first['msg']}") from error


def read_lineage(source: LineageSource, *, timeout_s: float = 10.0) -> Lineage:
    """The lineage of now. Raises `CannotReach` if the bucket does not give it in time."""
    give_up_at = time.monotonic() + timeout_s
    wait = threading.Event()
    while True:
        try:
            found = source.fetch(None)
        except Away as error:
            if time.monotonic() >= give_up_at:
                raise CannotReach(f"lineage of {source.topic}: {error}") from error
            wait.wait(POLL_S)
            continue
        if found is not None:
            return found.lineage


class LineageFollower:
    """Keeps the newest word on a topic, in a thread of its own. While the bucket is away the last word stands."""

    def __init__(self, source: LineageSource, *, poll_s: float = POLL_S) -> None:
        self._source = source
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._word: Lineage | None = None
        self._etag: str | None = None
        self._asked_s = -1.0
        self._trouble = "nobody was asked yet"
        self._told_at = -QUIET_S
        self._thread = threading.Thread(target=self._run, name="ledger-lineage", daemon=True)

    @property
    def word(self) -> Lineage | None:
        """The last word; None before the first."""
        return self._word

    def word_since(self, at_s: float) -> Lineage | None:
        """The word, if the bucket was asked at ``at_s`` (monotonic) or later and stands by it."""
        with self._changed:
            return self._word if self._asked_s >= at_s else None

    def start(self, *, timeout_s: float = 30.0) -> Lineage:
        """Begin to follow; returns the first word. Raises `CannotReach` if none comes in time."""
        self._thread.start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._word is not None, timeout_s):
                raise CannotReach(f"lineage of {self._source.topic}: {self._trouble}")
            assert self._word is not None
            return self._word

    def wait(self, timeout_s: float) -> None:
        """Wait until the word changes, at most so long."""
        with self._changed:
            self._changed.wait(timeout_s)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """Ask once. What goes wrong is told and the last word stays."""
        asked_s = time.monotonic()
        try:
            found = self._source.fetch(self._etag)
        except (Away, BadInput) as error:
            self._trouble = str(error)
            if asked_s - self._told_at >= QUIET_S:
                self._told_at = asked_s
                logger.warning("%s; the last word stands", error)
            return
        with self._changed:
            if found is not None:
                if self._word is not None and found.lineage.seq < self._word.seq:
                    logger.warning("%s: an older word was read again and is passed over", self._source.topic)
                    return
                self._etag, self._word = found
                logger.info(
                    "%s: turn %d, %s in %s", self._word.topic, self._word.turn, self._word.gate, self._word.region
                )
                self._changed.notify_all()
            self._asked_s = asked_s

    def _run(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self._stop.wait(self._poll_s)
