"""What is done to a mirror: start, stop, set offsets, restart. Intent before the act, proof after it (O5, X17, X20).

Every verb is a target state: done twice it is done once, and whoever takes the link over does it again instead of
waiting for who began it (O6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from tidegate import names
from tidegate.clients.connect import ConnectorStatus, ConnectState
from tidegate.clients.kafka_types import Heartbeat, TopicPartition, TxnState
from tidegate.errors import InvalidInput, NoProgress, OperationFailed, Refused, Unavailable
from tidegate.mirror.link import MirrorLink, parse_partition, partition_text
from tidegate.model.mirror import LinkRecord, LinkState, MirrorIntent, MirrorVerb
from tidegate.model.record import IntentState
from tidegate.registry.links import LinkTenure

T = TypeVar("T")
START_S: Final = 60.0
STOP_S: Final = 30.0
RESTARTS: Final = 3
RESTART_SHOWN_S: Final = 2.0
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 0.5


def fresh_record(link: MirrorLink) -> LinkRecord:
    """The record of a link that was never taken."""
    return LinkRecord(link=link.name, source=link.source, target=link.target)


async def start(
    link: MirrorLink,
    tenure: LinkTenure,
    *,
    step: str = "start",
    n: int = 1,
    offsets: Mapping[TopicPartition, int] | None = None,
    both_ways: bool = False,
    deadline_s: float = START_S,
    heartbeat: Heartbeat | None = None,
) -> ConnectorStatus:
    """Have the link run; returns when the connector and all its tasks run.

    ``offsets``: the last source offset that counts as mirrored, per partition (cut - 1 at a reversal, X20): set and
    read back before anything is mirrored. Without them it goes on where it stopped, the first time at the log's start.
    ``both_ways``: the link of the other direction may run meanwhile (what it brings is dropped by the transform).

    Raises:
        Refused: the other direction is not stopped.
        InvalidInput: the source lacks a topic, or Connect refuses the configuration.
        OperationFailed: tasks fail again and again; with the first line of the trace.
        NoProgress: not running in time.
        Superseded, Unavailable.

    """
    await _check_topics(link)
    if not both_ways and link.returns:
        await _check_other_way(link)
    wanted = None if offsets is None else {partition_text(tp): offset for tp, offset in sorted(offsets.items())}
    intent = await _adopt(tenure, step, n, MirrorVerb.START, wanted)
    until = time.monotonic() + deadline_s
    await _syncs_topic(link)
    if not await _alive(link):
        await end_dead_transactions(link)
    set_to = {parse_partition(name): offset for name, offset in (intent.offsets or {}).items()}
    if intent.state is IntentState.OPEN:
        await _make(link, set_to, until)
    status = await _run(link, until, heartbeat)
    await tenure.close(intent, f"running, {len(status.tasks)} tasks", LinkState.RUNNING)
    return status


async def stop(
    link: MirrorLink,
    tenure: LinkTenure,
    *,
    step: str = "stop",
    n: int = 1,
    deadline_s: float = STOP_S,
    heartbeat: Heartbeat | None = None,
) -> ConnectorStatus | None:
    """X17: target state STOPPED, written and read back; it survives restarts of Connect. None: there is no connector.

    Positions in the target are final from then on.

    Raises:
        NoProgress: accepted but not seen in time.
        Unavailable: Connect does not answer; the link is not shut.
        Superseded.

    """
    intent = await _adopt(tenure, step, n, MirrorVerb.STOP, None)
    until = time.monotonic() + deadline_s
    status = await _stopped(link, until, heartbeat)
    # A task that was killed and not stopped may have left a transaction behind: it holds back readers of the target.
    ended = await end_dead_transactions(link)
    note = "no connector" if status is None else "STOPPED, read back"
    await tenure.close(intent, note + (f"; ended {', '.join(ended)}" if ended else ""), LinkState.STOPPED)
    return status


async def set_offsets(
    link: MirrorLink,
    tenure: LinkTenure,
    offsets: Mapping[TopicPartition, int],
    *,
    step: str = "set-offsets",
    n: int = 1,
    deadline_s: float = STOP_S,
) -> dict[TopicPartition, int]:
    """X20: set what counts as mirrored (cut - 1 per partition) while STOPPED, and read it back; all offsets then.

    Raises:
        Refused: the connector is not stopped.
        InvalidInput: there is no connector yet (a start with offsets makes one), or a partition is not the link's.
        OperationFailed: what is read back is something else.

    """
    status = await link.connect.status(link.connector)
    if status is None:
        raise InvalidInput(f"mirror link {link.name} has no connector yet", hint="a start with offsets makes it so")
    if not status.stopped:
        raise Refused(
            f"mirror link {link.name} is {status.connector.state}: offsets are set only while STOPPED",
            hint=f"tidegate mirror stop {link.name}",
        )
    wanted = {partition_text(tp): offset for tp, offset in sorted(offsets.items())}
    intent = await _adopt(tenure, step, n, MirrorVerb.SET_OFFSETS, wanted)
    found = await _set(link, offsets, time.monotonic() + deadline_s)
    await tenure.close(intent, f"{len(offsets)} offsets set and read back")
    return found


async def restart(
    link: MirrorLink,
    tenure: LinkTenure,
    *,
    step: str = "restart",
    n: int = 1,
    deadline_s: float = START_S,
    heartbeat: Heartbeat | None = None,
) -> ConnectorStatus:
    """Bring a link that shall run back after its worker or a task died, without a wait for time-outs.

    Raises as ``start``; Refused if the link is stopped: that is undone by ``start`` only.
    """
    record = await tenure.change(step, n, lambda known: known)
    if record.mirror is not LinkState.RUNNING:
        raise Refused(f"mirror link {link.name} is {record.mirror}", hint=f"tidegate mirror start {link.name}")
    intent = await _adopt(tenure, step, n, MirrorVerb.RESTART, None)
    if not await _alive(link):
        await end_dead_transactions(link)
    status = await _run(link, time.monotonic() + deadline_s, heartbeat)
    await tenure.close(intent, f"running, {len(status.tasks)} tasks", LinkState.RUNNING)
    return status


async def end_dead_transactions(link: MirrorLink) -> list[str]:
    """Abort what this link's dead tasks left open in the target; their transactional ids.

    A worker that starts reads its offsets topic up to an end that counts open transactions in, as a read_committed
    consumer: so it waits for a dead task's transaction until that times out. Ended by name (EndTxn, producer id and
    epoch as the broker says), the wait is over at once. Only where the tasks are known not to run: a live task whose
    transaction is ended fails (nothing is lost) and must be restarted.
    """
    kafka = link.target_kafka
    ended: list[str] = []
    for found in await kafka.list_transactions(names.connect_task_prefix(link.group, link.connector)):
        if found.state is TxnState.ONGOING:
            await kafka.end_transaction(found.transactional_id, found.producer_id, found.producer_epoch, commit=False)
            ended.append(found.transactional_id)
    return ended


async def _adopt(
    tenure: LinkTenure, step: str, n: int, verb: MirrorVerb, offsets: dict[str, int] | None
) -> MirrorIntent:
    """The intent of this verb. What others left open is overtaken by it: a start takes over offsets that were begun."""
    pending = [one for one in tenure.record.open_intents() if one.offsets is not None]
    if verb is MirrorVerb.START and offsets is None and pending:
        offsets = pending[-1].offsets
    intent = await tenure.begin(step, n, verb, offsets)
    for other in tenure.record.open_intents():
        if other.id == intent.id:
            continue
        if other.offsets is not None and verb is MirrorVerb.STOP:
            continue  # half-set offsets stay open: the next start finishes them
        await tenure.void(other, f"overtaken by {verb} of epoch {intent.epoch}")
    return intent


async def _check_topics(link: MirrorLink) -> None:
    there = set(await link.source_kafka.topics())
    missing = [topic for topic in link.topics if topic not in there]
    if missing:
        raise InvalidInput(
            f"mirror link {link.name}: no topic {', '.join(missing)} in {link.source}",
            hint="a topic that is not there is not mirrored, and nobody would notice: create it first",
        )


async def _check_other_way(link: MirrorLink) -> None:
    """X18, X20: at a reversal the old direction is shut first. Raises Unavailable if its Connect does not answer."""
    for other, connect in link.returns.items():
        status = await connect.status(names.mirror_connector(other))
        if status is not None and not status.stopped:
            raise Refused(
                f"mirror link {other} leads the other way and is {status.connector.state}",
                hint=f"shut it first:  tidegate mirror stop {other}",
            )


async def _syncs_topic(link: MirrorLink) -> None:
    """MirrorMaker would make it compacted, so that only the newest sync lived; it leaves one that is there alone."""
    if link.syncs_topic not in await link.target_kafka.topics():
        config = {"cleanup.policy": "delete", "retention.ms": "-1"}
        await link.target_kafka.create_topic(link.syncs_topic, 1, config)


async def _alive(link: MirrorLink) -> bool:
    """Whether a worker answers as a member of its group: only then tasks may run."""
    try:
        await link.connect.connectors()
    except Unavailable:
        return False
    return True


async def _make(link: MirrorLink, offsets: Mapping[TopicPartition, int], until: float) -> None:
    """The connector as configured, its offsets set, told to run."""
    connect, name = link.connect, link.connector
    known = await _asked(until, lambda: connect.config(name))
    if known is None:
        await _created(link, until)
    elif offsets:
        await _stopped(link, until, None)
    if known is not None and known != dict(link.config):
        await _asked(until, lambda: connect.put_config(name, link.config))
    if offsets:
        await _set(link, offsets, until)
    await _asked(until, lambda: connect.resume(name))


async def _created(link: MirrorLink, until: float) -> None:
    async def create() -> None:
        # A create whose answer was lost is found here, and not made again.
        if await link.connect.config(link.connector) is None:
            await link.connect.create(link.connector, link.config, initial_state="STOPPED")

    await _asked(until, create)


async def _set(link: MirrorLink, offsets: Mapping[TopicPartition, int], until: float) -> dict[TopicPartition, int]:
    connect, name = link.connect, link.connector
    strangers = sorted({tp.topic for tp in offsets} - set(link.topics))
    if strangers:
        raise InvalidInput(f"mirror link {link.name} does not mirror {', '.join(strangers)}")
    await _asked(until, lambda: connect.set_mirror_offsets(name, link.source, offsets))
    found = await _asked(until, lambda: connect.mirror_offsets(name, link.source)) or {}
    wrong = {str(tp): [offset, found.get(tp)] for tp, offset in offsets.items() if found.get(tp) != offset}
    if wrong:
        raise OperationFailed(
            f"mirror link {link.name}: offsets read back are not those that were set: {wrong}", details={"wrong": wrong}
        )
    return found


async def _stopped(link: MirrorLink, until: float, heartbeat: Heartbeat | None) -> ConnectorStatus | None:
    """Write STOPPED and read it back; None: there is no connector."""
    connect, name = link.connect, link.connector
    if await _asked(until, lambda: connect.config(name)) is None:
        return None
    await _asked(until, lambda: connect.stop(name))
    return await _until(link, until, "STOPPED", lambda status: status.stopped, heartbeat)


async def _run(link: MirrorLink, until: float, heartbeat: Heartbeat | None) -> ConnectorStatus:
    """Wait until all runs; failed tasks are restarted, what they left open is ended before."""
    restarts = 0
    while True:
        status = await _until(link, until, "RUNNING", lambda one: one.running or _failed(one), heartbeat)
        if not _failed(status):
            return status
        if restarts == RESTARTS:
            raise OperationFailed(
                f"mirror link {link.name} failed {restarts + 1} times: {'; '.join(status.failures)}",
                details={"failures": status.failures},
            )
        restarts += 1
        await _asked(until, lambda: link.connect.restart(link.connector, only_failed=True))
        await _taken_up(link, min(until, time.monotonic() + RESTART_SHOWN_S))


async def _taken_up(link: MirrorLink, until: float) -> None:
    """Wait until a restart shows; a task that fails again at once may never be seen as anything but FAILED."""
    while time.monotonic() < until:
        status = await _asked(until, lambda: link.connect.status(link.connector))
        if status is not None and not _failed(status):
            return
        await asyncio.sleep(_PAUSE_S)


def _failed(status: ConnectorStatus) -> bool:
    return ConnectState.FAILED in {status.connector.state, *(task.state for task in status.tasks)}


def _shown(status: ConnectorStatus) -> str:
    return f"{status.connector.state}, tasks {', '.join(task.state for task in status.tasks) or 'none'}"


async def _until(
    link: MirrorLink,
    until: float,
    wanted: str,
    good: Callable[[ConnectorStatus], bool],
    heartbeat: Heartbeat | None,
) -> ConnectorStatus:
    pause_s = _PAUSE_S
    while True:
        status = await _asked(until, lambda: link.connect.status(link.connector))
        if status is not None and good(status):
            return status
        shown = (
            "no status"
            if status is None
            else f"{status.connector.state}, tasks {[t.state.value for t in status.tasks]}"
        )
        if heartbeat is not None:
            heartbeat({"waiting_for": f"mirror {wanted}", "link": link.name, "seen": shown})
        if time.monotonic() > until:
            raise NoProgress(
                f"mirror link {link.name}: Connect accepted it, but it is not {wanted} in time: {shown}",
                hint=f"look at the worker's log; then:  tidegate mirror status {link.name}",
            )
        await asyncio.sleep(pause_s)
        pause_s = min(_PAUSE_MAX_S, pause_s * 1.5)


async def _asked(until: float, call: Callable[[], Awaitable[T]]) -> T:
    """A call again until it is answered or the time is over: workers rebalance (409), and restart. May be doubled."""
    pause_s = _PAUSE_S
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(_PAUSE_MAX_S, pause_s * 1.5)
