"""Where a topic is written now, as the lineage in the control bucket says it: for producers that follow it.

The object is ``lineage/<topic>.json``: ``region``, ``gate`` (open or closed), ``turn``, and by partition its segments.
It is read anew a few times a second, by its ETag; while the bucket does not answer, what was last said counts.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ledger.faults import BadInput, CannotReach

POLL_S = 0.2
FIRST_S = 60.0
NOT_MODIFIED = 304

logger = logging.getLogger("ledger.lineage")


@dataclass(frozen=True)
class Place:
    """Where a topic is written: ``cuts`` is, by partition, the first offset there since it is."""

    region: str
    open: bool
    turn: int
    cuts: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Bucket:
    """The control bucket."""

    endpoint: str
    name: str
    access_key: str
    secret_key: str

    @classmethod
    def from_environment(cls) -> Bucket:
        """From ``TIDEGATE_CONTROL_*``. Raises `BadInput` with the name that is missing."""
        names = ("S3", "BUCKET", "ACCESS_KEY", "SECRET_KEY")
        missing = [name for name in names if not os.environ.get(f"TIDEGATE_CONTROL_{name}")]
        if missing:
            raise BadInput(f"--follow: TIDEGATE_CONTROL_{missing[0]} is not set: where is the control bucket?")
        return cls(*(os.environ[f"TIDEGATE_CONTROL_{name}"] for name in names))


class Follower:
    """Reads a topic's lineage in a thread of its own; ``place`` is what was last said."""

    def __init__(self, bucket: Bucket, topic: str) -> None:
        self._bucket, self._topic = bucket, topic
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=bucket.endpoint,
            aws_access_key_id=bucket.access_key,
            aws_secret_access_key=bucket.secret_key,
            region_name="us-east-1",
            config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
        )
        self._etag: str | None = None
        self._place: Place | None = None
        self._known = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-lineage", daemon=True)

    def start(self) -> Place:
        """Begin to follow. Raises `CannotReach` if nothing was said for a minute."""
        self._thread.start()
        if not self._known.wait(FIRST_S):
            raise CannotReach(f"no lineage of topic {self._topic} in {self._bucket.endpoint}/{self._bucket.name}")
        return self.place

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    @property
    def place(self) -> Place:
        """What was last said."""
        if self._place is None:
            raise CannotReach(f"no lineage of topic {self._topic} was read yet")
        return self._place

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except (BotoCoreError, ClientError) as error:
                logger.debug("the control bucket does not answer: %s", error)
            self._stop.wait(POLL_S)

    def _read(self) -> None:
        wanted = {"Bucket": self._bucket.name, "Key": f"lineage/{self._topic}.json"}
        if self._etag is not None:
            wanted["IfNoneMatch"] = self._etag
        try:
            found = self._client.get_object(**wanted)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == NOT_MODIFIED:
                return
            raise
        place = place_of(json.loads(found["Body"].read()))
        if place != self._place:
            logger.info("%s: written in %s, gate %s", self._topic, place.region, "open" if place.open else "closed")
        self._etag, self._place = found["ETag"], place
        self._known.set()


def place_of(lineage: Mapping[str, Any]) -> Place:
    """Where a topic is written, from its lineage object."""
    return Place(
        region=lineage["region"],
        open=lineage["gate"] == "open",
        turn=lineage["turn"],
        cuts={
            int(number): partition["segments"][-1]["first"]
            for number, partition in lineage["partitions"].items()
            if partition["segments"]
        },
    )
