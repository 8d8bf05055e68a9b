"""Single points of failure: what is there once."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.clients.kafka_types import ClusterShape
from tidegate.model.fleet import CellRef
from tidegate.model.review import Checked
from tidegate.readiness.facts import Facts, NotKnown, RegionFacts
from tidegate.readiness.sheet import Said, Unasked, breach, warning
from tidegate.readiness.standby import cell_of
from tidegate.readiness.topics import alter


def check(facts: Facts) -> Iterator[Said]:
    """Brokers, replicas, Flink's high availability, workers, the control bucket."""
    for region in facts.regions.values():
        if isinstance(region.kafka, NotKnown):
            yield Unasked("replicas", region.kafka)
        else:
            yield from _kafka(facts, region, region.kafka)
    for at in (facts.home, facts.cell_away):
        if isinstance(at, CellRef):
            yield from _flink(facts, at)
    yield from _workers(facts)
    yield from _control(facts)


def _kafka(facts: Facts, region: RegionFacts, shape: ClusterShape) -> Iterator[Said]:
    name = region.name
    if shape.brokers == 1:
        yield warning(
            facts,
            "one-broker",
            name,
            f"Kafka in {name} is one broker",
            "its restart stops all that runs there, and its disk holds the only copy",
            f"more brokers in {name}",
        )
        return
    thin = False
    for topic in facts.topics:
        found = shape.topics.get(topic)
        if found is None:
            continue
        in_sync = int(found.settings.get("min.insync.replicas", "1"))
        if found.replicas < 2:
            thin = True
            yield warning(
                facts,
                "one-replica",
                f"{topic} in {name}",
                f"{topic} in {name} has one replica",
                "the loss of one broker loses its records",
                f"kafka-reassign-partitions.sh: three replicas of {topic} in {name}",
            )
        elif in_sync < 2:
            thin = True
            yield warning(
                facts,
                "min-isr-1",
                f"{topic} in {name}",
                f"{topic} in {name} has {found.replicas} replicas and min.insync.replicas={in_sync}",
                "a record counts as written when one broker has it: its loss loses committed records",
                alter(facts, name, topic, "min.insync.replicas=2"),
            )
    if not thin:
        yield Checked(
            check=f"replicas in {name}", subject=name, fact=f"{shape.brokers} brokers, two replicas in sync or more"
        )


def _flink(facts: Facts, at: CellRef) -> Iterator[Said]:
    cell = cell_of(facts, at)
    if isinstance(cell, NotKnown):
        yield Unasked(f"Flink in {at}", cell)
        return
    if not cell.high_availability:
        yield warning(
            facts,
            "no-ha",
            str(at),
            f"Flink in {at} has no high availability",
            "a JobManager that restarts forgets its jobs: only an operation brings them back",
            f"high-availability.type of Flink in {at}",
        )
    if cell.taskmanagers < 2:
        yield warning(
            facts,
            "one-taskmanager",
            str(at),
            f"Flink in {at} has {cell.taskmanagers} TaskManagers",
            "the loss of one stops every job there until it is back",
            f"more TaskManagers in {at}",
        )
    if cell.high_availability and cell.taskmanagers >= 2:
        yield Checked(
            check=f"Flink in {at}", subject=str(at), fact=f"high availability, {cell.taskmanagers} TaskManagers"
        )


def _workers(facts: Facts) -> Iterator[Said]:
    if isinstance(facts.queues, NotKnown):
        yield Unasked("workers", facts.queues)
        return
    for queue, workers in facts.queues.items():
        if workers == 0:
            yield breach(
                facts,
                "no-worker",
                queue,
                f"no worker polls {queue}",
                "no operation goes on" if "control" in queue else "its steps run from afar, after a wait each",
                "tidegate worker run --help",
            )
        elif workers == 1:
            yield warning(
                facts,
                "one-worker",
                queue,
                f"one worker polls {queue}",
                "while it is away operations stand still",
                "tidegate worker run --help",
            )
        else:
            yield Checked(check=f"workers on {queue}", subject=queue, fact=f"{workers} poll it")


def _control(facts: Facts) -> Iterator[Said]:
    inside = [name for name, hosts in facts.region_hosts.items() if facts.control_host in hosts]
    if inside:
        yield warning(
            facts,
            "control-in-region",
            inside[0],
            f"the control bucket is on {facts.control_host}, with {' and '.join(inside)}",
            "it goes down with the region that it is needed for",
            "fleet file:  control.s3.endpoint: an S3 outside of the regions",
        )
    else:
        yield Checked(check="control bucket", subject=facts.control_host, fact="outside of the regions")
