"""The facts that prove a failover's steps, in one line each."""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.failover import CutFact, HomeFact, MirrorBackFact, OpenFact, RegionsSeen, ShutFact
    from tidegate.model.operation import Observation
    from tidegate.model.ship import ShipFact
    from workflows import facts


def seen(observed: Observation, both: RegionsSeen) -> str:
    """Where it runs, what of that region answers, and what there is room for."""
    writer = observed.record.writer
    runs = f"{writer.artifact.name} in {writer.region}/{writer.cell}" if writer is not None else "no job"
    silent = f"no answer from {len(both.home.silent)} of 3 parts there" if both.home.silent else "all of it answers"
    return f"{runs}, {silent}; {both.slots_free} of {both.slots_total} slots free in {observed.region}"


def shipped(fact: ShipFact) -> str:
    """What was sent."""
    return f"{fact.id}: sent {fact.sent_files:,} of {fact.files:,} files, {facts.size(fact.sent_bytes)}"


def closed(fact: ShutFact) -> str:
    """Who cannot write any more."""
    who = ", ".join(fact.principals) or "nobody is named"
    ends = f", {len(fact.ends):,} partitions stand still" if fact.ends else ""
    return "; ".join((f"producers denied: {who}{ends}", *fact.notes))


def given_up(fact: HomeFact) -> str:
    """How the old job is kept from committing, and what is gone on from."""
    return "; ".join((f"old job {fact.strength}", f"{fact.point}, taken {_clock(fact.taken_at)}", *fact.notes))


def cut(fact: CutFact) -> str:
    """How the mirror was shut, and the cut."""
    links = ", ".join(f"{name} {how}" for name, how in fact.shut.items())
    until = f", input until {_clock(fact.input_until)}" if fact.input_until is not None else ""
    drained = "drained" if fact.drained else "as far as it came"
    return "; ".join((f"{links}, {drained}; {fact.partitions:,} partitions turned{until}", *fact.notes))


def opened(fact: OpenFact) -> str:
    """What lives there from now on."""
    first = f", first output {_clock(fact.first_output_at)}" if fact.first_output_at is not None else ""
    return f"{', '.join(fact.topics)} live here, turn {fact.turn}{first}"


def mirrored(fact: MirrorBackFact) -> str:
    """Which links run, and which wait for the other region."""
    runs = f"{', '.join(fact.started)} from the cut on" if fact.started else "no link started"
    return "; ".join((runs, *(f"waits: {one}" for one in fact.waiting)))


def _clock(at: datetime) -> str:
    return facts.clock(at)
