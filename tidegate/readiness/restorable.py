"""Restorable now in each region: from the index that KeepRecoveryPoints keeps (X5, X7)."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.model.review import Checked
from tidegate.points.index import restorability
from tidegate.points.model import Points
from tidegate.readiness.facts import Facts, NotKnown
from tidegate.readiness.sheet import Said, Unasked, breach, field_of, warning
from tidegate.report import words


def check(facts: Facts) -> Iterator[Said]:
    """Each region, and whether there is another one at all."""
    name = facts.deployment
    if facts.standby is None:
        yield breach(
            facts,
            "no-standby",
            "",
            "it has no standby region",
            f"if {facts.home.region} is lost, it stands until that region is back",
            field_of(facts, "standby", "REGION"),
        )
    for region in (facts.home.region, facts.standby):
        if region is None:
            continue
        kept = facts.points.get(region)
        if isinstance(kept, NotKnown):
            yield Unasked(f"restorable in {region}", kept)
        elif kept is None:
            yield breach(
                facts,
                "no-recovery-points",
                region,
                f"no recovery points are kept in {region}",
                "nothing says from what it could go on there, and nothing is shipped: a loss would be met unprepared",
                f"tidegate points {name} --keep",
            )
        else:
            yield from _kept(facts, region, kept)


def check_jar(facts: Facts) -> Iterator[Said]:
    """What runs can be started without the region that holds its artifacts."""
    record = facts.record
    if isinstance(record, NotKnown):
        yield Unasked("jar", record)
        return
    if isinstance(facts.jar_kept, NotKnown):
        yield Unasked("jar", facts.jar_kept)
        return
    if record is None or record.writer is None or facts.jar_kept is None:
        return  # nothing was ever started: told by the check of checkpoints
    artifact = record.writer.artifact
    if facts.jar_kept:
        fact = f"{artifact.name}, sha256 {artifact.sha256[:12]}, is in the control bucket, too"
        yield Checked(check="jar", subject=artifact.name, fact=fact)
        return
    yield breach(
        facts,
        "jar-not-kept",
        artifact.name,
        f"no copy of the jar of {artifact.name} outlives {facts.home.region}",
        "if that region is lost there is nothing to start in the standby",
        f"tidegate points {facts.deployment} --keep",
        f"tidegate artifact put {facts.deployment} {artifact.name} PATH.jar",
    )


def _kept(facts: Facts, region: str, kept: Points) -> Iterator[Said]:
    name = facts.deployment
    line = restorability(kept, name, region, facts.now)
    if not line.restorable and line.point is not None:
        yield breach(
            facts,
            "keeper-silent",
            region,
            f"{line.why_not}",
            "what is there grows older unseen, and nothing new is shipped",
            f"tidegate ops show keep-points-{name}",
            f"tidegate points {name} --keep",
        )
        return
    if not line.restorable:
        yield breach(
            facts,
            "not-restorable",
            region,
            f"it cannot be restored in {region}: {line.why_not}",
            "a failover or a restore there would have nothing to go on from",
            f"tidegate points {name}",
        )
        return
    age = words.seconds(line.age_s or 0.0)
    verified = "" if line.verified_age_s is None else f", its files seen {words.seconds(line.verified_age_s)} ago"
    yield Checked(
        check=f"restorable in {region}",
        subject=region,
        fact=f"from {line.point}, {age} old{verified}; {line.points} in all",
    )
    objective = facts.spec.objectives.rpo_s
    if region == facts.standby and objective is not None and (line.age_s or 0.0) > objective:
        # Inputs cross by the mirror; the point only says from where they are processed again. So no breach.
        yield warning(
            facts,
            "point-older-than-rpo",
            region,
            f"the newest recovery point in {region} is {age} old; the objective is {words.seconds(objective)}",
            "after a loss all that came since is processed again: its output is superseded, recovery takes longer",
            f"tidegate ops show keep-points-{name}",
            "a shorter execution.checkpointing.interval of the job",
        )
