"""What is done to a mirror: start, stop, set offsets, restart. Intent before the act, proof after it (O5, X17, X20).

Every verb is a target state: done twice it is done once, and whoever takes the link over does it again instead of
waiting for who began it (O6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import httpx

from tidegate import names
from tidegate.clients.connect import ConnectorStatus, ConnectState
from tidegate.clients.kafka_types import Heartbeat, TopicPartition
from tidegate.errors import InvalidInput, NoProgress, OperationFailed, Refused, Unavailable
from tidegate.mirror.link import MirrorLink, parse_partition, partition_text
from tidegate.mirror.positions import last_hop, target_partitions
from tidegate.mirror.shut import (
    PAUSE_MAX_S,
    PAUSE_S,
    asked,
    deny,
    end_dead_transactions,
    in_hand,
    lift,
    shut_out,
)
from tidegate.model.mirror import LinkRecord, LinkState, MirrorIntent, MirrorVerb
from tidegate.model.record import IntentState
from tidegate.registry.links import LinkTenure

START_S: Final = 60.0
STOP_S: Final = 30.0
GIVEN_UP_S: Final = 0.3
"""So long a connector gets to end whose source is gone and that has nothing in hand."""
RESTARTS: Final = 3
RESTART_SHOWN_S: Final = 2.0


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
    lift_deny: bool = False,
    deadline_s: float = START_S,
    heartbeat: Heartbeat | None = None,
) -> ConnectorStatus:
    """Have the link run; returns when the connector and all its tasks run.

    ``offsets``: the last source offset that counts as mirrored, per partition (cut - 1 at a reversal, X20): set and
    read back before anything is mirrored. Without them it goes on where it stopped, the first time at the log's start.
    ``both_ways``: the link of the other direction may run meanwhile (what it brings is dropped by the transform).
    ``lift_deny``: it was shut out and shall run again: once Connect has it STOPPED, the DENY is taken away.

    Raises:
        Refused: the other direction is not stopped, or the link is shut out and nobody asked to lift that.
        InvalidInput: the source lacks a topic, or Connect refuses the configuration.
        OperationFailed: tasks fail again and again; with the first line of the trace.
        NoProgress: not running in time.
        Superseded, Unavailable.

    """
    await _check_topics(link)
    if not both_ways and link.returns:
        await _check_other_way(link)
    denied = tenure.record.shut_out
    if denied is not None and not lift_deny:
        raise _denied(link, denied)
    wanted = None if offsets is None else {partition_text(tp): offset for tp, offset in sorted(offsets.items())}
    intent = await _adopt(tenure, step, n, MirrorVerb.START, wanted)
    until = time.monotonic() + deadline_s
    await _syncs_topic(link)
    if denied is not None:
        # Before it may write again it stands still: what it had in hand when it was shut out is not what counts now.
        await _stopped(link, until, heartbeat)
        await lift(link, tenure, until)
    if await _dead(link):
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
    shut_out_if_slow: bool = False,
    source_gone: bool = False,
    heartbeat: Heartbeat | None = None,
) -> ConnectorStatus | None:
    """X17: target state STOPPED, written and read back; it survives restarts of Connect. None: there is no connector.

    If Connect does not answer in time, its principal is shut out on the target's Kafka (None then, and the record says
    SHUT_OUT). Either way, positions in the target are final from then on. ``shut_out_if_slow``: also if Connect has
    accepted it and the connector is not seen to stop in time, as one that waits for a source that is gone (*seen*).
    With ``source_gone`` that is not waited for: nothing comes any more, and if no transaction of its tasks is open, a
    wait could bring nothing in. What is open gets its time: it was read before the source went.

    Raises:
        NoProgress: accepted but not seen in time.
        Unavailable: Connect does not answer, nor does the target's Kafka, or no principal is known: it is not shut.
        Superseded.

    """
    intent = await _adopt(tenure, step, n, MirrorVerb.STOP, None)
    until = time.monotonic() + deadline_s
    try:
        status = await _stopped(link, until, heartbeat, given_up=shut_out_if_slow and source_gone)
    except (Unavailable, NoProgress) as error:
        if isinstance(error, NoProgress) and not shut_out_if_slow:
            raise
        away = error if isinstance(error, Unavailable) else Unavailable(error.message, hint=error.hint)
        note = await shut_out(link, tenure, away, step=step, n=n, heartbeat=heartbeat)
        why = "Connect does not answer" if away is error else "its connector does not end"
        why += ", nor does its source answer" if source_gone else ""
        await tenure.close(intent, f"{why}; {note}", LinkState.SHUT_OUT)
        return None
    for begun in tenure.record.open_intents():
        if begun.verb is MirrorVerb.DENY:
            await deny(link, tenure, begun, heartbeat)  # what was begun may land at any time: it is finished (O5)
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
    if record.shut_out is not None:
        raise _denied(link, record.shut_out)
    intent = await _adopt(tenure, step, n, MirrorVerb.RESTART, None)
    if await _dead(link):
        await end_dead_transactions(link)
    status = await _run(link, time.monotonic() + deadline_s, heartbeat)
    await tenure.close(intent, f"running, {len(status.tasks)} tasks", LinkState.RUNNING)
    return status


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
        if other.verb is MirrorVerb.DENY:
            continue  # finished by a stop, or lifted by a start that is asked to
        if other.offsets is not None and verb is MirrorVerb.STOP:
            continue  # half-set offsets stay open: the next start finishes them
        await tenure.void(other, f"overtaken by {verb} of epoch {intent.epoch}")
    return intent


def _denied(link: MirrorLink, principal: str) -> Refused:
    return Refused(
        f"mirror link {link.name} is shut out: {link.target}'s Kafka refuses User:{principal} its transactions since "
        "Connect did not answer when it was to stop (X17)",
        hint=f"to have it run again, and the DENY taken away:  tidegate mirror start {link.name} --lift-deny",
    )


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


async def _dead(link: MirrorLink) -> bool:
    """Whether no worker answers as a member of its group: it is gone, or starts and waits for what its tasks left open.

    One that rebalances (409) is a member, and may run its tasks: their open transaction ended, they would fail.
    """
    try:
        await link.connect.connectors()
    except Unavailable as error:
        return error.details.get("status") != httpx.codes.CONFLICT
    return False


async def _make(link: MirrorLink, offsets: Mapping[TopicPartition, int], until: float) -> None:
    """The connector as configured, its offsets set, told to run."""
    connect, name = link.connect, link.connector
    known = await asked(until, lambda: connect.config(name))
    if known is None:
        await _created(link, until)
    elif offsets:
        await _stopped(link, until, None)
        offsets = await _not_back(link, offsets, until)
    if known is not None and known != dict(link.config):
        await asked(until, lambda: connect.put_config(name, link.config))
    if offsets:
        await _set(link, offsets, until)
    await asked(until, lambda: connect.resume(name))


async def _not_back(link: MirrorLink, offsets: Mapping[TopicPartition, int], until: float) -> dict[TopicPartition, int]:
    """The same offsets, but none before what has come: an attempt that died may have set them and gone on since, and
    what came then would come twice. The target's log says how far it was.
    """
    there = await asked(until, lambda: target_partitions(link))
    found = dict(offsets)
    for tp in offsets.keys() & there:
        came = await asked(until, lambda tp=tp: last_hop(link.target_kafka, link.source, tp))  # type: ignore[misc]
        if came is not None:
            found[tp] = max(found[tp], came.source_offset)
    return found


async def _created(link: MirrorLink, until: float) -> None:
    async def create() -> None:
        # A create whose answer was lost is found here, and not made again.
        if await link.connect.config(link.connector) is None:
            await link.connect.create(link.connector, link.config, initial_state="STOPPED")

    await asked(until, create)


async def _set(link: MirrorLink, offsets: Mapping[TopicPartition, int], until: float) -> dict[TopicPartition, int]:
    connect, name = link.connect, link.connector
    strangers = sorted({tp.topic for tp in offsets} - set(link.topics))
    if strangers:
        raise InvalidInput(f"mirror link {link.name} does not mirror {', '.join(strangers)}")
    await asked(until, lambda: connect.set_mirror_offsets(name, link.source, offsets))
    found = await asked(until, lambda: connect.mirror_offsets(name, link.source)) or {}
    wrong = {str(tp): [offset, found.get(tp)] for tp, offset in offsets.items() if found.get(tp) != offset}
    if wrong:
        raise OperationFailed(
            f"mirror link {link.name}: offsets read back are not those that were set: {wrong}", details={"wrong": wrong}
        )
    return found


async def _stopped(
    link: MirrorLink, until: float, heartbeat: Heartbeat | None, *, given_up: bool = False
) -> ConnectorStatus | None:
    """Write STOPPED and read it back; None: there is no connector. ``given_up``: see ``stop``, ``source_gone``."""
    connect, name = link.connect, link.connector
    if await asked(until, lambda: connect.config(name)) is None:
        return None
    await asked(until, lambda: connect.stop(name))  # given up or not: it shall be down when things come back
    if given_up and link.principal is not None and not await in_hand(link):
        until = min(until, time.monotonic() + GIVEN_UP_S)
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
        await asked(until, lambda: link.connect.restart(link.connector, only_failed=True))
        await _taken_up(link, min(until, time.monotonic() + RESTART_SHOWN_S))


async def _taken_up(link: MirrorLink, until: float) -> None:
    """Wait until a restart shows; a task that fails again at once may never be seen as anything but FAILED."""
    while time.monotonic() < until:
        status = await asked(until, lambda: link.connect.status(link.connector))
        if status is not None and not _failed(status):
            return
        await asyncio.sleep(PAUSE_S)


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
    pause_s = PAUSE_S
    while True:
        status = await asked(until, lambda: link.connect.status(link.connector))
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
        pause_s = min(PAUSE_MAX_S, pause_s * 1.5)
