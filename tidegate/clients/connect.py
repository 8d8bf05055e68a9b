"""Kafka Connect's REST API, as far as a mirror needs it. No retries: an error says whether asking again may help.

Source: org.apache.kafka.connect.runtime.rest.resources.ConnectorsResource (KIP-875 for stop and offsets). What Connect
4.3.1 was seen to answer: 409 while a rebalance is under way (ask again), 404 for an unknown connector, 400 with
``{"error_code", "message"}`` for a bad configuration or offsets that are set while not STOPPED; and, while a worker
starts, errors whose body is HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import TracebackType
from typing import Annotated, Literal, Self, TypeVar

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import InvalidInput, Refused, TidegateError, Unavailable

T = TypeVar("T")
MESSAGE_CHARS = 2_000
_SURELY_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class ConnectState(StrEnum):
    """State of a connector or a task (``AbstractStatus.State``). Read from a topic: stale after a worker's death."""

    UNASSIGNED = "UNASSIGNED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    DESTROYED = "DESTROYED"
    RESTARTING = "RESTARTING"
    OTHER = "OTHER"
    """A state that this version does not know."""


def _known(value: object) -> object:
    return value if value in set(ConnectState) else ConnectState.OTHER


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Worker(_Answer):
    """``GET /``: the worker's version and the id of the Kafka cluster that it keeps its own topics in."""

    version: str
    kafka_cluster_id: str


class TaskStatus(_Answer):
    """One task. ``trace`` is the Java stack of a FAILED one."""

    id: int
    state: Annotated[ConnectState, BeforeValidator(_known)]
    worker_id: str = ""
    trace: str = ""


class ConnectorState(_Answer):
    """The connector itself, without its tasks."""

    state: Annotated[ConnectState, BeforeValidator(_known)]
    worker_id: str = ""
    trace: str = ""


class ConnectorStatus(_Answer):
    """``GET /connectors/NAME/status``."""

    name: str
    connector: ConnectorState
    tasks: tuple[TaskStatus, ...] = ()

    @property
    def stopped(self) -> bool:
        """STOPPED, with no task left: the target state was taken up, and it survives restarts (X17)."""
        return self.connector.state is ConnectState.STOPPED and not self.tasks

    @property
    def running(self) -> bool:
        """The connector and every one of its tasks run; there is at least one task."""
        states = {self.connector.state, *(task.state for task in self.tasks)}
        return bool(self.tasks) and states == {ConnectState.RUNNING}

    @property
    def failures(self) -> list[str]:
        """The first line of each failure, the connector's first."""
        found = [f"connector: {_first_line(self.connector.trace)}"] if self.connector.trace else []
        failed = (task for task in self.tasks if task.state is ConnectState.FAILED)
        return [*found, *(f"task {task.id}: {_first_line(task.trace)}" for task in failed)]


class _OffsetsRow(_Answer):
    partition: dict[str, object]
    offset: dict[str, object] | None = None


class _Offsets(_Answer):
    offsets: tuple[_OffsetsRow, ...]


class ConnectClient:
    """The REST of one Connect cluster. ``timeout_s`` bounds each request; use it from one event loop."""

    def __init__(
        self, base_url: str, *, timeout_s: float = 10.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout_s),
            transport=transport,
            trust_env=False,  # a proxy of the environment must not come between unasked
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def worker(self) -> Worker:
        """Who answers. Raises Unavailable."""
        return _parse(self.base_url, Worker, await self._must("GET", "/"))

    async def connectors(self) -> list[str]:
        """Names of all connectors; answers only once the worker is part of its group, so this is its readiness."""
        return sorted(_parse(self.base_url, list[str], await self._must("GET", "/connectors")))

    async def status(self, name: str) -> ConnectorStatus | None:
        """The connector and its tasks; None if there is no such connector (or none has a status yet)."""
        answer = await self._ask("GET", f"/connectors/{name}/status", none_if_missing=True)
        return None if answer is None else _parse(self.base_url, ConnectorStatus, answer)

    async def config(self, name: str) -> dict[str, str] | None:
        """The configuration as it stands, ``name`` in it; None if there is no such connector."""
        answer = await self._ask("GET", f"/connectors/{name}/config", none_if_missing=True)
        return None if answer is None else _parse(self.base_url, dict[str, str], answer)

    async def create(
        self, name: str, config: Mapping[str, str], *, initial_state: Literal["RUNNING", "STOPPED"]
    ) -> None:
        """Make a connector. STOPPED: it does nothing until it is resumed, and its offsets can be set before.

        Raises Unavailable (409: it exists already, or a rebalance: look again), InvalidInput for a bad configuration.
        """
        body = {"name": name, "config": dict(config), "initial_state": initial_state}
        await self._must("POST", "/connectors", body)

    async def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Replace the configuration; makes the connector, running, if there is none. Tasks are restarted."""
        await self._must("PUT", f"/connectors/{name}/config", dict(config))

    async def stop(self, name: str) -> None:
        """Target state STOPPED. Accepted is not done: read ``status`` until it is ``stopped``."""
        await self._must("PUT", f"/connectors/{name}/stop")

    async def resume(self, name: str) -> None:
        """Target state RUNNING. Accepted is not done."""
        await self._must("PUT", f"/connectors/{name}/resume")

    async def restart(self, name: str, *, only_failed: bool) -> None:
        """Restart the connector's instances, tasks included."""
        query = {"includeTasks": "true", "onlyFailed": str(only_failed).lower()}
        await self._must("POST", f"/connectors/{name}/restart", query=query)

    async def delete(self, name: str) -> None:
        """Remove the connector; done already is done. What it had mirrored, and its offsets, stay."""
        await self._ask("DELETE", f"/connectors/{name}", none_if_missing=True)

    async def mirror_offsets(self, name: str, source: str) -> dict[TopicPartition, int] | None:
        """Last mirrored *data* offset of each partition of cluster ``source``; None if there is no such connector.

        A partition of which nothing was mirrored yet is absent. With exactly once on, these are atomic with the data.
        """
        answer = await self._ask("GET", f"/connectors/{name}/offsets", none_if_missing=True)
        if answer is None:
            return None
        found: dict[TopicPartition, int] = {}
        for row in _parse(self.base_url, _Offsets, answer).offsets:
            topic, partition = row.partition.get("topic"), row.partition.get("partition")
            offset = (row.offset or {}).get("offset")
            if row.partition.get("cluster") != source or offset is None:
                continue
            if not (isinstance(topic, str) and isinstance(partition, int) and isinstance(offset, int)):
                raise Unavailable(f"Connect at {self.base_url}: offsets of {name} are not those of a mirror: {row}")
            found[TopicPartition(topic, partition)] = offset
        return dict(sorted(found.items()))

    async def set_mirror_offsets(self, name: str, source: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Set what was mirrored last; partitions that are not named keep theirs. Only while STOPPED.

        Raises InvalidInput if it is not stopped, or an offset is not one.
        """
        rows = [
            {
                "partition": {"cluster": source, "topic": tp.topic, "partition": tp.partition},
                "offset": {"offset": offset},
            }
            for tp, offset in sorted(offsets.items())
        ]
        await self._must("PATCH", f"/connectors/{name}/offsets", {"offsets": rows})

    async def _must(
        self, method: str, path: str, body: Mapping[str, object] | None = None, query: Mapping[str, str] | None = None
    ) -> bytes:
        answer = await self._ask(method, path, body, query)
        return answer or b""

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        *,
        none_if_missing: bool = False,
    ) -> bytes | None:
        what = f"{method} {path}"
        try:
            response = await self._http.request(method, path, json=body, params=query)
        except httpx.TransportError as error:
            sent = not isinstance(error, _SURELY_NOT_SENT)
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise Unavailable(
                f"Connect at {self.base_url} did not answer {what}: {why[:MESSAGE_CHARS]}",
                hint="it may have acted" if sent else f"is it up? curl {self.base_url}/",
                details={"sent": sent, "request": what},
            ) from error
        if response.is_success:
            return response.content
        said = _message(response)
        if response.status_code == httpx.codes.NOT_FOUND and said is not None and none_if_missing:
            return None
        raise _error(self.base_url, what, response.status_code, said)


def _message(response: httpx.Response) -> str | None:
    """Connect's own word; None if someone else answered (a starting worker's HTML, a proxy)."""
    try:
        body = response.json()
    except ValueError:
        return None
    if isinstance(body, dict) and isinstance(body.get("message"), str) and "error_code" in body:
        return str(body["message"])[:MESSAGE_CHARS]
    return None


def _error(base_url: str, what: str, status: int, said: str | None) -> TidegateError:
    details: dict[str, object] = {"status": status, "request": what}
    if said is None:
        return Unavailable(
            f"Connect at {base_url} answered {what} with {status} and no word of Connect's: is the worker starting?",
            details={**details, "sent": True},
        )
    text = f"Connect at {base_url}, {what}: {said}"
    if status == httpx.codes.CONFLICT or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable(text, details={**details, "sent": status != httpx.codes.CONFLICT})
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return Refused(text, details=details)
    return InvalidInput(text, details=details)


def _parse(base_url: str, kind: type[T], body: bytes) -> T:
    try:
        return TypeAdapter(kind).validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise Unavailable(
            f"Connect at {base_url} gave an answer that is not {kind.__name__}: {first['loc']} {first['msg']}",
            details={"sent": True},
        ) from error


def _first_line(trace: str) -> str:
    """What failed, and its root cause where it is another."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    first = lines[0] if lines else "no trace"
    return f"{first} — {causes[-1]}"[:MESSAGE_CHARS] if causes else first[:MESSAGE_CHARS]
