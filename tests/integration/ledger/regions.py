"""Two regions for the ledger's tests: topics in both, a small mirror, a lineage, a DENY and its end."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ledger.audit_kafka import KafkaLog
from sandbox.api import Sandbox
from sandbox.layout import S3_ACCESS_KEY, S3_SECRET_KEY, kafka_password
from tests.integration.ledger.job import make_topic, right_outputs

PARTITIONS = 4


def login(user: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": kafka_password(user),
    }


class Topic:
    """One topic in both regions, with its lineage: begun in the east."""

    def __init__(self, regions: Regions, name: str) -> None:
        self.regions, self.name = regions, name
        for region in ("east", "west"):
            make_topic(regions.bootstrap[region], login("admin"), name, PARTITIONS)
        self.mirrored = dict.fromkeys(range(PARTITIONS), 0)
        self._producer = Producer({"bootstrap.servers": regions.bootstrap["west"], **login("admin"), "linger.ms": 5})
        self.word: dict[str, Any] = {
            "version": 1, "topic": name, "seq": 0, "turn": 0, "region": "east", "gate": "open", "turns": [],
            "partitions": {
                str(p): {"segments": [{"turn": 0, "region": "east", "epoch": None, "first": 0}], "excluded": []}
                for p in range(PARTITIONS)
            },
        }  # fmt: skip
        self.tell()

    def tell(self, **fields: object) -> None:
        self.word |= {"seq": self.word["seq"] + 1, **fields}
        self.regions.bucket.put_object(
            Bucket=self.regions.sandbox.endpoints.control_bucket,
            Key=f"lineage/{self.name}.json",
            Body=json.dumps(self.word).encode(),
        )

    def log(self, region: str) -> KafkaLog:
        return KafkaLog(self.regions.bootstrap[region], self.name, login("admin"), stall_s=10)

    def ends(self, region: str) -> dict[int, int]:
        log = self.log(region)
        try:
            return {p: b.end for p, b in log.bounds().items()}
        finally:
            log.close()

    def wait_stable(self, region: str, quiet_s: float = 0.5) -> dict[int, int]:
        """The end, once nothing has been appended for so long."""
        before, since = self.ends(region), time.monotonic()
        while time.monotonic() - since < quiet_s:
            now = self.ends(region)
            if now != before:
                before, since = now, time.monotonic()
        return before

    def mirror(self) -> int:
        """Copy what is new in the east to the west, record for record."""
        log, count = self.log("east"), 0
        try:
            ends = {p: b.stable for p, b in log.bounds().items()}
            for batch in log.read_from(self.mirrored, ends):
                for partition, _, _, key, value in batch:
                    self._producer.produce(self.name, value, key, partition)
                    count += 1
            assert self._producer.flush(20) == 0
        finally:
            log.close()
        self.mirrored = ends
        return count

    def turn(self, *, ends: dict[int, int] | None) -> dict[int, int]:
        """The cut: the east's segment ends, the west's begins at its log's end. Returns the cuts."""
        cuts = self.ends("west")
        for p, cut in cuts.items():
            segments = self.word["partitions"][str(p)]["segments"]
            segments[-1] |= {"end": None if ends is None else ends[p], "cut": cut}
            segments.append({"turn": 1, "region": "west", "epoch": 2, "first": cut})
        self.tell(turn=1, region="west", gate="closed")
        return cuts

    def exclude(self, region: str, ranges: dict[int, tuple[int, int]]) -> None:
        """First (included) and end (not included) per partition; empty ones are none."""
        for p, (first, end) in ranges.items():
            if first < end:
                self.word["partitions"][str(p)]["excluded"].append(
                    {"region": region, "first": first, "last": end - 1, "why": "tail", "by": "test"}
                )
        self.tell()

    def records(self, region: str) -> list[tuple[int, int, bytes]]:
        log = self.log(region)
        try:
            ends = {p: b.stable for p, b in log.bounds().items()}
            return [(r[0], r[1], r[4]) for batch in log.read(ends) for r in batch]
        finally:
            log.close()

    def deny(self, region: str) -> None:
        self.regions.acl(region, self.name, create=True)

    def allow(self, region: str) -> None:
        self.regions.acl(region, self.name, create=False)

    def right_outputs(self, region: str) -> list[tuple[bytes, bytes]]:
        return right_outputs(self.regions.bootstrap[region], login("admin"), self.name)


class Regions:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.bootstrap = {name: sandbox.endpoints.regions[name].kafka for name in ("east", "west")}
        self.bucket = boto3.session.Session().client(
            "s3",
            endpoint_url=sandbox.endpoints.control_s3,
            aws_access_key_id=S3_ACCESS_KEY,
            aws_secret_access_key=S3_SECRET_KEY,
            region_name="us-east-1",
        )

    @property
    def environment(self) -> dict[str, str]:
        return self.sandbox.endpoints.environment()

    @property
    def arguments(self) -> list[str]:
        return [part for name, address in self.bootstrap.items() for part in ("--region", f"{name}={address}")]

    def topics(self) -> tuple[Topic, Topic]:
        name = uuid.uuid4().hex[:8]
        return Topic(self, f"payments-{name}"), Topic(self, f"balances-{name}")

    def acl(self, region: str, topic: str, *, create: bool) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap[region], **login("admin")})
        fields = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ledger", "*", AclOperation.WRITE)
        if create:
            binding = AclBinding(*fields, AclPermissionType.DENY)
            admin.create_acls([binding])[binding].result(10)
        else:
            filter_ = AclBindingFilter(*fields, AclPermissionType.DENY)
            admin.delete_acls([filter_])[filter_].result(10)


class Mirroring:
    """Mirrors a topic all the while, until `stop`."""

    def __init__(self, *topics: Topic) -> None:
        self._topics = topics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            for topic in self._topics:
                topic.mirror()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def payments_of(records: list[tuple[int, int, bytes]]) -> Iterator[tuple[str, str, int]]:
    """(id, account, sequence)"""
    for _, _, value in records:
        rid, account, sequence, _ = value.decode().split(",")
        yield rid, account, int(sequence)
