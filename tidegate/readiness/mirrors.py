"""Mirrors between home and standby: that they are there, as the fleet file says, how far, and with provenance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidegate.model.review import Checked
from tidegate.readiness.facts import Facts, LinkFacts, NotKnown
from tidegate.readiness.sheet import Said, Unasked, breach, field_of, warning
from tidegate.report import words

LAG_S: Final = 60.0
"""Without an objective: behind by more than this is told."""


def check_mirrors(facts: Facts) -> Iterator[Said]:
    """Each link there, and the way back."""
    standby = facts.standby
    if standby is None:
        return
    if facts.uncovered:
        yield breach(
            facts,
            "no-mirror",
            standby,
            f"no mirror brings {', '.join(facts.uncovered)} from {facts.home.region} to {standby}",
            f"what {facts.home.region} took would be lost with it, and the job could not go on in {standby}",
            f"fleet file:  mirrors: a link from {facts.home.region} to {standby} with these topics",
        )
    for name, link in facts.forward.items():
        if isinstance(link, NotKnown):
            yield Unasked(f"mirror {name}", link)
        else:
            yield from _link(facts, name, link)
    if facts.uncovered_back:
        yield warning(
            facts,
            "no-mirror-back",
            facts.home.region,
            f"no mirror leads back from {standby} to {facts.home.region} for {', '.join(facts.uncovered_back)}",
            f"after a failover {standby} would hold the only copy, and there would be no way home",
            f"fleet file:  mirrors: a link from {standby} to {facts.home.region} with these topics",
        )
    for name, state in facts.back.items():
        if isinstance(state, NotKnown):
            yield Unasked(f"mirror {name}, the way back", state)
        else:
            fact = f"its Connect answers; the connector is {state.lower()}"
            yield Checked(check=f"mirror {name}, the way back", subject=name, fact=fact)


def _link(facts: Facts, name: str, link: LinkFacts) -> Iterator[Said]:
    status = link.status
    for part in status.unreachable:
        of, _, why = part.partition(": ")
        yield Unasked(f"mirror {name}", NotKnown(f"{of} of mirror {name}", why))
    connect_answers = not any(part.startswith("connect:") for part in status.unreachable)
    if connect_answers and (status.connector != "RUNNING" or status.failures or "RUNNING" not in status.tasks):
        state = status.connector or "not there"
        said = f": {'; '.join(status.failures)}" if status.failures else ""
        yield breach(
            facts,
            "mirror-not-running",
            name,
            f"mirror link {name} is {state.lower()}, its tasks {', '.join(status.tasks).lower() or 'none'}{said}",
            f"nothing crosses to {status.target}: what is taken from now on would be lost with {status.source}",
            f"tidegate mirror start {name}",
        )
    if link.differs:
        yield warning(
            facts,
            "mirror-settings-differ",
            name,
            f"the connector of {name} is not set as the fleet file says: {', '.join(link.differs)}",
            "what it promises (exactly once, committed records only, every record with its provenance) may not hold",
            f"tidegate mirror stop {name}",
            f"tidegate mirror start {name}",
        )
    yield from _progress(facts, name, link)


def _progress(facts: Facts, name: str, link: LinkFacts) -> Iterator[Said]:
    status = link.status
    holes = [one for one in status.partitions if one.hole is not None]
    for one in holes:
        assert one.hole is not None
        yield breach(
            facts,
            "mirror-hole",
            name,
            f"{one.topic}/{one.partition}: {status.source} lost offsets {one.hole[0]:,} to {one.hole[1] - 1:,} before "
            "they came",
            f"nothing brings them back, and no recovery point in {status.target} from before holds",
            f"tidegate mirror status {name}",
        )
    lag_s = status.lag_s
    if lag_s is None:
        if not status.unreachable:
            yield Unasked(f"lag of mirror {name}", NotKnown(f"mirror {name}", "its lag is not known"))
        return
    objective = facts.spec.objectives.rpo_s
    bound = objective if objective is not None else LAG_S
    behind = f"{words.seconds(lag_s)} ({words.count(status.lag_records or 0)} records)"
    if lag_s > bound:
        of = "the objective (RPO)" if objective is not None else "what is told"
        yield breach(
            facts,
            "mirror-lag",
            name,
            f"mirror link {name} is {behind} behind; {of} is {words.seconds(bound)}",
            f"so much input would be lost with {status.source}",
            f"tidegate mirror status {name}",
            f"fleet file:  mirrors.{name}.tasks: more of them",
        )
    elif not holes:
        yield Checked(check=f"mirror {name}", subject=name, fact=f"{(status.connector or '').lower()}, {behind} behind")


def check_provenance(facts: Facts) -> Iterator[Said]:
    """X20: each mirrored record says where it came from. X23: each input record has an id."""
    for name, link in facts.forward.items():
        if isinstance(link, NotKnown):
            continue  # told by its own check
        without = sorted(topic for topic, there in link.provenance.items() if not there)
        for topic in without:
            yield breach(
                facts,
                "no-provenance",
                topic,
                f"the newest record that {name} brought to {topic} does not say where it came from",
                f"no position can be carried over to {link.status.target}, and on the way back all comes twice (X20)",
                "the jar of mirror/ on the plugin.path of Connect, and its transform in the connector",
                f"tidegate mirror start {name}",
            )
        if link.provenance and not without:
            yield Checked(check="provenance", subject=name, fact=f"on {', '.join(sorted(link.provenance))}")
    yield from _record_ids(facts)


def _record_ids(facts: Facts) -> Iterator[Said]:
    rule = facts.spec.record_id
    if rule is None:
        yield warning(
            facts,
            "no-record-id",
            "",
            "nothing says where an input record carries its id",
            "after a loss what producers sent again cannot be told from what is new: the return halts (X23)",
            field_of(facts, "record_id", "{column: 0} or {header: NAME}"),
        )
        return
    if isinstance(facts.record_ids, NotKnown):
        yield Unasked("record ids", facts.record_ids)
        return
    where = f"header {rule.header}" if rule.header is not None else f"column {rule.column}"
    missing = sorted(topic for topic, there in facts.record_ids.items() if not there)
    for topic in missing:
        yield breach(
            facts,
            "record-id-missing",
            topic,
            f"the newest record of {topic} has no id in {where}",
            "what comes twice after a failover cannot be told from what is new (X23)",
            field_of(facts, "record_id"),
            "or the producers of the topic",
        )
    if not missing and facts.record_ids:
        yield Checked(check="record ids", subject=", ".join(sorted(facts.record_ids)), fact=f"in {where}")
