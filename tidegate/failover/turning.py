"""Which topics turn with a deployment, and which mirror links with them: pure functions of the fleet file.

A topic that a deployment writes turns with it. One that it reads turns only if nobody who stays reads it: else it stays
where it is written, and the mirror goes on bringing it (O1: a failover turns only what is its own).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tidegate.errors import Refused
from tidegate.model.failover import Topics
from tidegate.model.fleet import Consumer, Deployment, Fleet


def inputs_of(spec: Deployment) -> set[str]:
    """The topics that a deployment reads."""
    return {topic for source in spec.sources for topic in source.topics}


def outputs_of(spec: Deployment) -> set[str]:
    """The topics that a deployment writes."""
    return {topic for sink in spec.sinks for topic in sink.topics}


def turning(fleet: Fleet, moving: Collection[str], home: str, target: str, lives: Mapping[str, str]) -> Topics:
    """What turns when these deployments go from one region to another. ``lives``: region of each deployment by name.

    Raises:
        Refused: a topic that turns has no mirror link, or a link carries both what turns and what stays.

    """
    specs = {name: fleet.deployment(name) for name in moving}
    outputs = {topic for spec in specs.values() for topic in outputs_of(spec)}
    inputs = {topic for spec in specs.values() for topic in inputs_of(spec)} - outputs
    staying = {
        topic: name
        for name, spec in fleet.deployments.items()
        if name not in specs and lives.get(name, spec.home_ref.region) == home
        for topic in inputs_of(spec)
    }
    stay = {topic for topic in inputs if topic in staying}
    turn = outputs | (inputs - stay)
    turned = {
        topic
        for name, spec in fleet.deployments.items()
        if name not in specs and lives.get(name) == target
        for topic in inputs_of(spec) | outputs_of(spec)
    } - set(staying)
    links: list[str] = []
    linked: set[str] = set()
    for name, mirror in fleet.mirrors.items():
        carried = set(mirror.topics)
        if (mirror.source, mirror.target) != (home, target) or not carried & turn:
            continue
        kept = sorted(carried - turn - turned)
        if kept:
            who = staying.get(kept[0])
            reads = f"which {who} reads in {home}" if who else "which no deployment of this failover uses"
            raise Refused(
                f"mirror link {name} carries {', '.join(sorted(carried & turn))}, which turns, and {kept[0]}, {reads}: "
                f"it can be neither shut nor left open",
                hint=f"move them together:  tidegate failover region {home} --to {target}; or give {kept[0]} a link of "
                f"its own under `mirrors:`",
            )
        links.append(name)
        linked |= carried
    for topic in sorted((turn | stay) - linked):
        if topic in stay and any(
            topic in mirror.topics and (mirror.source, mirror.target) == (home, target)
            for mirror in fleet.mirrors.values()
        ):
            continue
        raise Refused(
            f"no mirror link brings {topic} from {home} to {target}: it cannot go on there",
            hint="describe the link under `mirrors:` in the fleet file, publish it, and start it:  tidegate mirror "
            "start LINK",
        )
    back = [
        name
        for name, mirror in fleet.mirrors.items()
        if (mirror.source, mirror.target) == (target, home) and set(mirror.topics) & turn
    ]
    return Topics(turn=tuple(sorted(turn)), stay=tuple(sorted(stay)), links=tuple(links), back=tuple(back))


def producers_of(fleet: Fleet, topics: Collection[str]) -> tuple[str, ...]:
    """The Kafka principals that write these topics from outside, by the fleet file."""
    return tuple(
        sorted(
            {
                principal
                for spec in fleet.deployments.values()
                if inputs_of(spec) & set(topics)
                for principal in spec.producers
            }
        )
    )


def written_from_outside(fleet: Fleet, topics: Collection[str]) -> tuple[str, ...]:
    """Those of the topics that no deployment writes: producers write them, and their gate is closed at a switch."""
    written = {topic for spec in fleet.deployments.values() for topic in outputs_of(spec)}
    return tuple(sorted(set(topics) - written))


def consumers_of(fleet: Fleet, deployment: str, topics: Collection[str]) -> tuple[Consumer, ...]:
    """The consumer groups that the fleet file names for a deployment, once each, with those of these topics they read.

    A group of which none of the topics turns stays where it is.
    """
    found: dict[str, set[str]] = {}
    for one in fleet.deployment(deployment).consumers:
        found.setdefault(one.group, set()).update(set(one.topics) & set(topics))
    return tuple(Consumer(group=group, topics=tuple(sorted(of))) for group, of in sorted(found.items()) if of)
