"""Kafka Connect in memory, behind an httpx transport: its REST as the real worker was seen to answer, and a mirror.

``mirror`` does what MirrorSourceConnector with our transform does, exactly once, between two fake Kafkas.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from tests.kit.kafka_fake import FakeKafka
from tidegate.clients.connect import ConnectClient
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.provenance import HOP, ORIGIN, Provenance, encode, of_headers

URL = "http://connect.test"


@dataclass
class FakeConnector:
    config: dict[str, str]
    target: str = "RUNNING"
    offsets: dict[tuple[str, str, int], int] = field(default_factory=dict)
    failed: int = 0
    """So many times a task fails after it was started."""
    task: str = "RUNNING"
    strips: bool = False
    """What says where a record comes from is dropped again, by a transform behind ours."""

    def started(self) -> None:
        self.task = "RUNNING"
        if self.failed > 0:
            self.failed -= 1
            self.task = "FAILED"


class FakeConnect:
    """``down``: nothing listens. ``starting``: errors in HTML. ``conflicts``: so many next writes get a 409
    (and reads, by ``conflicts_to_reads``).

    ``lose_next``: the next write acts and its answer is lost. ``deaf_to_stop``: accepts a stop and does nothing.
    """

    def __init__(self) -> None:
        self.connectors: dict[str, FakeConnector] = {}
        self.down = self.starting = self.deaf_to_stop = self.lose_next = False
        self.conflicts = 0
        self.conflicts_to_reads = False
        self.fail_new = 0
        self.wrong_offsets = False
        self.calls: list[str] = []
        self._serial = 0

    def client(self) -> ConnectClient:
        return ConnectClient(URL, transport=httpx.MockTransport(self._handle))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.calls.append(f"{request.method} {path}")
        if self.down:
            raise httpx.ConnectError("connection refused")
        if self.starting:
            return httpx.Response(500, html="<html><body>Error 500</body></html>")
        if (request.method != "GET" or self.conflicts_to_reads) and self.conflicts > 0:
            self.conflicts -= 1
            return _error(409, "Cannot complete request momentarily due to stale configuration")
        body = json.loads(request.content) if request.content else None
        answer = self._answer(request, [part for part in path.split("/") if part], body)
        if request.method != "GET" and self.lose_next:
            self.lose_next = False
            raise httpx.ReadError("connection reset")
        return answer

    def _answer(self, request: httpx.Request, parts: list[str], body: Any) -> httpx.Response:
        if not parts:
            return httpx.Response(200, json={"version": "4.3.1", "commit": "x", "kafka_cluster_id": "k"})
        if len(parts) == 1:
            if request.method == "GET":
                return httpx.Response(200, json=list(self.connectors))
            if body["name"] in self.connectors:
                return _error(409, f"Connector {body['name']} already exists")
            made = FakeConnector(dict(body["config"]), body["initial_state"], failed=self.fail_new)
            self.connectors[body["name"]] = made
            return httpx.Response(201, json={"name": body["name"]})
        name, verb = parts[1], parts[2] if len(parts) > 2 else ""
        known = self.connectors.get(name)
        if known is None and not (request.method == "PUT" and verb == "config"):
            return _error(404, f"Connector {name} not found")
        act: Callable[..., httpx.Response] = getattr(self, f"_{request.method.lower()}_{verb or 'connector'}")
        return act(name, known, body, request)

    def _get_status(self, name: str, known: FakeConnector, *_: object) -> httpx.Response:
        tasks = []
        if known.target != "STOPPED":
            tasks = [{"id": 0, "state": known.task, "worker_id": "w"}]
            if known.task == "FAILED":
                tasks[0]["trace"] = "org.x.ConnectException: no\n\tat a.b\nCaused by: org.x.Fenced: other epoch\n"
        state = {"state": known.target, "worker_id": "w"}
        return httpx.Response(200, json={"name": name, "connector": state, "tasks": tasks, "type": "source"})

    def _get_config(self, name: str, known: FakeConnector, *_: object) -> httpx.Response:
        return httpx.Response(200, json=known.config)

    def _put_config(self, name: str, known: FakeConnector | None, body: dict[str, str], *_: object) -> httpx.Response:
        if known is None:
            known = self.connectors[name] = FakeConnector({})
        known.config = dict(body)
        known.started()
        return httpx.Response(200, json={"name": name})

    def _put_stop(self, name: str, known: FakeConnector, *_: object) -> httpx.Response:
        if not self.deaf_to_stop:
            known.target = "STOPPED"
        return httpx.Response(204)

    def _put_resume(self, name: str, known: FakeConnector, *_: object) -> httpx.Response:
        if known.target != "RUNNING":
            known.target = "RUNNING"
            known.started()
        return httpx.Response(202)

    def _post_restart(self, name: str, known: FakeConnector, body: object, request: httpx.Request) -> httpx.Response:
        if known.task == "FAILED" or request.url.params["onlyFailed"] == "false":
            known.started()
        return httpx.Response(202)

    def _get_offsets(self, name: str, known: FakeConnector, *_: object) -> httpx.Response:
        rows = [
            {"partition": {"cluster": c, "topic": t, "partition": p}, "offset": {"offset": o}}
            for (c, t, p), o in known.offsets.items()
        ]
        return httpx.Response(200, json={"offsets": rows})

    def _patch_offsets(self, name: str, known: FakeConnector, body: dict[str, Any], *_: object) -> httpx.Response:
        if known.target != "STOPPED":
            return _error(400, "Connectors must be in the STOPPED state before their offsets can be modified.")
        for row in body["offsets"]:
            key = (row["partition"]["cluster"], row["partition"]["topic"], row["partition"]["partition"])
            known.offsets[key] = row["offset"]["offset"] + (1 if self.wrong_offsets else 0)
        return httpx.Response(200, json={"message": "The offsets for this connector have been altered successfully"})

    def _delete_connector(self, name: str, *_: object) -> httpx.Response:
        del self.connectors[name]
        return httpx.Response(204)

    # What the connector does

    async def mirror(self, link: MirrorLink, batch: int = 7, at_most: int = 1 << 30) -> int:
        """Mirror what is committed, up to ``at_most`` records a partition; how many were written."""
        known = self.connectors[link.connector]
        source, target = link.source_kafka, link.target_kafka
        assert isinstance(source, FakeKafka)
        assert isinstance(target, FakeKafka)
        written = 0
        for tp, end in (await source.last_stable_offsets(link.topics)).items():
            if tp.topic not in await target.topics():
                await target.create_topic(tp.topic, len(await source.partitions(tp.topic)))
            came = known.offsets.get((link.source, tp.topic, tp.partition), -1)
            todo = [record async for record in source.records(tp, came + 1, end)][:at_most]
            for first in range(0, len(todo), batch):
                written += await self._write(link, target, known, tp, todo[first : first + batch])
        return written

    async def _write(
        self, link: MirrorLink, target: FakeKafka, known: FakeConnector, tp: TopicPartition, todo: list[LogRecord]
    ) -> int:
        kept = [copy for record in todo if (copy := transformed(link, tp, record)) is not None]
        if not kept:
            return 0  # as seen: what is dropped does not move the offset
        self._serial += 1
        producer = target.producer(f"{link.group}-{link.connector}-0", "User:admin")
        await producer.init()
        await producer.write(tp.topic, tp.partition, [_stripped(one) for one in kept] if known.strips else kept)
        await producer.commit()
        offset = of_headers(kept[-1].headers)
        assert offset is not None
        known.offsets[(link.source, tp.topic, tp.partition)] = offset.hop.offset
        return len(kept)


def _stripped(record: LogRecord) -> LogRecord:
    own = tuple(header for header in record.headers if header[0] not in {ORIGIN, HOP})
    return replace(record, headers=own)


def transformed(link: MirrorLink, tp: TopicPartition, record: LogRecord) -> LogRecord | None:
    """What ProvenanceTransform makes of a record; None: dropped."""
    here = Provenance(link.source, tp.topic, tp.partition, record.offset)
    known = of_headers(record.headers)
    origin = here if known is None else known.origin
    if origin.cluster == link.target:
        return None
    own = tuple(header for header in record.headers if header[0] not in {ORIGIN, HOP})
    headers = (*own, (ORIGIN, encode(origin)), (HOP, encode(here)))
    return LogRecord(record.offset, record.timestamp_ms, record.key, record.value, headers)


def _error(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error_code": status, "message": message})
