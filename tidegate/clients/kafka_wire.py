"""Requests to a Kafka cluster over asyncio: kafka-python's messages and SASL mechanisms, one connection a broker.

kafka-python's own clients keep a failed log-in for ever, back off up to 30 s and hide whether a request was sent. An
operation needs to know all three, so only its codecs (``kafka.protocol``) and mechanisms (``kafka.net.sasl``) are used.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from tidegate.clients.kafka_messages import (
    ApiVersionsRequest,
    BrokerVersionData,
    KafkaProtocol,
    MetadataRequest,
    SaslAuthenticateRequest,
    SaslHandshakeRequest,
    get_sasl_mechanism,
    kafka_errors,
)
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.errors import InvalidInput, Refused, TidegateError, Unavailable

T = TypeVar("T")
Address = tuple[str, int]
Message: TypeAlias = Any
"""kafka-python makes its requests and responses from Kafka's JSON schemas at run time: there is no type to name."""

# At debug level this logger prints every byte sent, the password too.
logging.getLogger("kafka.protocol.parser").setLevel(logging.INFO)

READ_BYTES = 1 << 18
PAUSE_S = 0.02
PAUSE_MAX_S = 0.2
RETRIABLE = frozenset(
    {
        "CoordinatorLoadInProgressError",
        "CoordinatorNotAvailableError",
        "NotCoordinatorError",
        "NotCoordinatorForGroupError",
        "LeaderNotAvailableError",
        "NotLeaderForPartitionError",
        "NotLeaderOrFollowerError",
        "FencedLeaderEpochError",
        "UnknownLeaderEpochError",
        "ReplicaNotAvailableError",
        "OffsetNotAvailableError",
        "KafkaStorageError",
        "NotControllerError",
        "RequestTimedOutError",
        "ConcurrentTransactionsError",
        "BrokerNotAvailableError",
        "NetworkExceptionError",
    }
)


class Again(Exception):
    """Not now: try again until the deadline. ``sent``: the broker may have acted on the request."""

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


def topic_id_text(topic_id: UUID | None) -> str | None:
    """A topic's id as Kafka's own tools print it; None for that of a broker which is too old to have any."""
    if topic_id is None or topic_id.int == 0:
        return None
    return base64.urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")


def error_of(code: int) -> str:
    """The name of a broker's error code in kafka-python's words; empty for 0."""
    return "" if code == 0 else str(kafka_errors.for_code(code).__name__)


class Link:
    """One logged-in connection to one broker. Requests go one after the other."""

    def __init__(self, address: Address, security: KafkaSecurity | None) -> None:
        self.address = address
        self._security = security
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._parser = KafkaProtocol(client_id="tidegate")
        self._versions: Any = None
        self._lock = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        """``host:port``."""
        return f"{self.address[0]}:{self.address[1]}"

    def usable(self) -> bool:
        """Whether the connection stands, as far as this side knows."""
        return self._writer is not None and self._reader is not None and not self._reader.at_eof()

    def close(self) -> None:
        """Drop the connection; the next request makes another."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()

    async def ask(self, request: Message) -> Message:
        """Send one request and give its response. Raises Again (connection), Refused (log-in)."""
        async with self._lock:
            if not self.usable():
                self.close()
                await self._open()
            return await self._exchange(request)

    async def _open(self) -> None:
        security = self._security
        context = ssl.create_default_context() if security and security.protocol.endswith("SSL") else None
        try:
            self._reader, self._writer = await asyncio.open_connection(*self.address, ssl=context)
        except OSError as cause:
            raise Again(f"{self.endpoint}: {_reason(cause)}") from cause
        self._parser = KafkaProtocol(client_id="tidegate")
        self._versions = BrokerVersionData(api_versions={18: (0, 3)})
        try:
            answer = await self._exchange(
                ApiVersionsRequest(version=3, client_software_name="tidegate", client_software_version="1")
            )
            self._versions = BrokerVersionData(
                api_versions={key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
            )
            if security is not None and security.protocol.startswith("SASL"):
                await self._log_in(security)
        except Again as lost:
            # Nothing that was asked for has been sent yet.
            raise Again(f"{lost.reason} while connecting (does the listener want SASL or TLS?)") from lost
        except BaseException:
            self.close()
            raise

    async def _log_in(self, security: KafkaSecurity) -> None:
        hello = await self._exchange(SaslHandshakeRequest(mechanism=security.mechanism, max_version=1))
        who = f"{security.principal} by {security.mechanism}"
        if hello.error_code:
            raise Refused(
                f"Kafka at {self.endpoint} does not log in {who}: it offers {', '.join(hello.mechanisms)}",
                hint="correct the mechanism of this region's Kafka in the fleet file",
            )
        mechanism = get_sasl_mechanism(security.mechanism)(
            host=self.address[0],
            sasl_mechanism=security.mechanism,
            sasl_plain_username=security.username,
            sasl_plain_password=security.password,
        )
        while not mechanism.is_done():
            answer = await self._exchange(SaslAuthenticateRequest(mechanism.auth_bytes(), max_version=2))
            if answer.error_code:
                raise Refused(
                    f"Kafka at {self.endpoint} refused the log-in of {who}: {answer.error_message}",
                    hint="check user and password of this principal",
                    details={"principal": security.principal, "endpoint": self.endpoint},
                )
            mechanism.receive(answer.auth_bytes)
        if not mechanism.is_authenticated():
            raise Refused(f"Kafka at {self.endpoint} could not prove itself to {who}")

    async def _exchange(self, request: Message) -> Message:
        if self._writer is None or self._reader is None:
            raise Again(f"{self.endpoint}: not connected")
        name = str(request.name)
        try:
            if request.API_VERSION is None:
                request.API_VERSION = self._versions.api_version(request)
        except kafka_errors.IncompatibleBrokerVersion as cause:
            raise Refused(f"Kafka at {self.endpoint} does not know {name} as Tidegate needs it: {cause}") from cause
        self._parser.send_request(request)
        try:
            self._writer.write(self._parser.send_bytes())
            await self._writer.drain()
            while True:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    asked = " (does it want a log-in?)" if self._security is None else ""
                    raise Again(f"{self.endpoint} closed the connection{asked}", sent=True)
                for _, response in self._parser.receive_bytes(data):
                    return response
        except OSError as cause:
            self.close()
            raise Again(f"{self.endpoint}: {_reason(cause)}", sent=True) from cause
        except BaseException:
            # A response that nobody waits for would be taken for the next one's.
            self.close()
            raise


class Wire:
    """A cluster: finds brokers from the bootstrap list, keeps a link to each, repeats until a deadline."""

    def __init__(self, bootstrap: str, security: KafkaSecurity | None, timeout_s: float) -> None:
        self.bootstrap = bootstrap
        self.security = security
        self.timeout_s = timeout_s
        self._seeds = [_address(part) for part in bootstrap.split(",")]
        self._brokers: dict[int, Address] = {}
        self._links: dict[Address, Link] = {}

    async def aclose(self) -> None:
        """Close all links."""
        for link in self._links.values():
            link.close()
        self._links.clear()

    async def ask(self, request: Message, node: int | None = None) -> Message:
        """One request to a broker (None: any). Raises Again or Refused; see ``until``."""
        if node is not None:
            if node not in self._brokers:
                await self.metadata([])
            if node not in self._brokers:
                raise Again(f"broker {node} is not there")
            return await self._link(self._brokers[node]).ask(request)
        reason: Again | None = None
        for address in [*dict.fromkeys([*self._seeds, *self._brokers.values()])]:
            try:
                return await self._link(address).ask(request)
            except Again as again:
                if again.sent:
                    raise
                reason = again
        raise reason or Again("no broker is known")

    async def metadata(self, topics: list[str] | None) -> Message:
        """Metadata of the topics (None: all; []: only the brokers)."""
        wanted = None if topics is None else [MetadataRequest.MetadataRequestTopic(name=name) for name in topics]
        answer = await self.ask(MetadataRequest(topics=wanted, allow_auto_topic_creation=False))
        self._brokers = {broker.node_id: (broker.host, broker.port) for broker in answer.brokers}
        return answer

    async def nodes(self) -> list[int]:
        """Ids of all brokers that are up."""
        await self.metadata([])
        return sorted(self._brokers)

    async def until(self, what: str, call: Callable[[], Awaitable[T]], *, sent_is_final: bool = False) -> T:
        """``call`` until it gives a result. After ``timeout_s``: Unavailable with ``what`` and the last reason.

        ``sent_is_final``: a connection lost after sending is not repeated here (whether it acted is the caller's to
        find out).
        """
        reason = "no answer"
        pause_s = PAUSE_S
        try:
            async with asyncio.timeout(self.timeout_s):
                while True:
                    try:
                        return await call()
                    except Again as again:
                        reason = again.reason
                        if again.sent and sent_is_final:
                            raise self.unavailable(what, f"{reason} before it answered: it may have acted") from again
                    await asyncio.sleep(pause_s)
                    pause_s = min(PAUSE_MAX_S, pause_s * 2)
        except TimeoutError as cause:
            raise self.unavailable(what, reason) from cause

    def unavailable(self, what: str, reason: str) -> Unavailable:
        """The error for a cluster that did not answer ``what``."""
        return Unavailable(
            f"Kafka at {self.bootstrap} did not answer within {self.timeout_s:g} s ({what}): {reason}",
            hint="it is asked again once the broker answers",
            details={"bootstrap": self.bootstrap, "asked": what},
        )

    def check(self, code: int, what: str) -> None:
        """Turn a broker's error code into Again, or the error that a person can act on; 0 passes."""
        name = error_of(code)
        if not name:
            return
        if name in RETRIABLE:
            raise Again(f"{what}: {name}")
        raise self._final(name, what)

    def _final(self, name: str, what: str) -> TidegateError:
        who = self.security.principal if self.security else "an anonymous client"
        if name == "UnknownTopicOrPartitionError":
            return InvalidInput(f"{what}: Kafka at {self.bootstrap} has no such topic or partition")
        if "Authorization" in name:
            return Refused(
                f"{what}: Kafka at {self.bootstrap} does not let {who} do this ({name})",
                hint=f"grant {who} the right on this cluster",
            )
        return Refused(f"{what}: Kafka at {self.bootstrap} refused: {name}")

    def _link(self, address: Address) -> Link:
        if address not in self._links:
            self._links[address] = Link(address, self.security)
        return self._links[address]


def _reason(error: OSError) -> str:
    """Asyncio puts the address where the words of the operating system should be."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _address(text: str) -> Address:
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInput(f"bootstrap {text!r}: expected host:port[,host:port…]")
    return host.strip("[]"), int(port)


def by_node(leaders: Mapping[T, int]) -> dict[int, list[T]]:
    """Group by broker."""
    groups: dict[int, list[T]] = {}
    for key, node in leaders.items():
        groups.setdefault(node, []).append(key)
    return groups


CONNECT_S = 1.0
"""A broker that takes no connection by then is gone; a client would go on trying."""


async def refuse_unreachable(bootstrap: str) -> None:
    """Raises Unavailable if none of these (``HOST:PORT``, with commas) takes a connection now."""

    async def reached(address: str) -> None:
        host, _, port = address.rpartition(":")
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()

    found = await asyncio.gather(*(reached(one) for one in bootstrap.split(",")), return_exceptions=True)
    if all(isinstance(one, OSError | TimeoutError) for one in found):
        raise Unavailable(f"Kafka at {bootstrap} takes no connection: {found[0] or 'no answer'}")
