"""A region that was given up answers again: nothing there is trusted before it is quarantined (X23).

Its jobs may have restarted by themselves, and its mirror still points the old way. First Kafka refuses the old epochs,
which holds against restarts; then what runs is cancelled, what is open is ended, the mirror away from there is shut,
and producers are denied.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

from tidegate import names
from tidegate.failover.atlarge import left_in
from tidegate.failover.cut import shut_links
from tidegate.failover.oldjobs import old_jobs
from tidegate.failover.producers import CLOSE_S
from tidegate.failover.sides import Sides
from tidegate.failover.turning import producers_of, written_from_outside
from tidegate.lineage import gate
from tidegate.model.failover import CutInput
from tidegate.model.record import CancelIntent, DenyIntent, DeploymentRecord, starts_of
from tidegate.model.returning import QuarantineFact, ReturnStep
from tidegate.operation.resolve import cancel_job, deny, deny_epoch, end_job
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.operation.settle import Settled, end_the_rest

ASK_S: Final = 60.0
JOBS_S: Final = 300.0
"""High availability brings jobs back one by one: those that come while others are cancelled are cancelled, too."""


async def quarantine(sides: Sides, request: ReturnStep) -> QuarantineFact:
    """Shut out all of the old region's that could still write. Done again, it is done once.

    Raises Held (a mirror link), Superseded, Unavailable, NoProgress.
    """
    record = await sides.away.tenure.read()
    home = sides.home
    epochs = await _epochs(sides, record)
    for epoch in sorted(epochs):
        record = await deny_epoch(home, epoch)
    await _deny_again(home, epochs)
    # What an attempt before this one had begun is finished first: its job may have ended, and is not looked for again.
    for intent in _begun(record, sides.away.site.region):
        record = await (end_job(home, intent) if isinstance(intent, CancelIntent) else deny(home, intent))
    coming = Deadline(f"the end of old jobs in {home.site.region}", JOBS_S)
    while (jobs := await old_jobs(sides, record, _last_old(record))).epochs:
        for job_id, epoch in jobs.epochs.items():
            record = await deny_epoch(home, epoch)
            record = await cancel_job(home, record, job_id, epoch)
            epochs.add(epoch)
        await coming.pause(f"{len(jobs.epochs)} were cancelled; it is looked whether more come back")
    settled = Settled()
    await end_the_rest(home, Deadline("ending what was left open", ASK_S), _last_old(record), set(), settled)
    cut = CutInput(**request.model_dump(exclude={"tail"}))
    shut = await shut_links(sides, cut, drain=False)
    outside = written_from_outside(sides.fleet, request.topics.turn)
    await gate.deny(home.site.kafka, outside, producers_of(sides.fleet, outside), CLOSE_S, sides.beat)
    return QuarantineFact(
        denied=tuple(sorted(epochs)),
        cancelled=tuple(sorted({one.job_id for one in record.intents if isinstance(one, CancelIntent)})),
        ended=len(settled.ended),
        shut=shut,
        unknown=jobs.unknown,
    )


async def _deny_again(home: Run, epochs: Collection[int]) -> None:
    """The record says that these are denied; its Kafka is asked, for a rule can be taken away by hand (X14)."""
    who = f"User:{home.site.spec.principal}"
    deadline = Deadline(f"what Kafka in {home.site.region} denies", ASK_S)
    stands = set(await patiently(deadline, home, partial(home.site.kafka.denied_prefixes, who)))
    for prefix in sorted({one for epoch in epochs for one in home.site.prefixes(epoch)} - stands):
        await patiently(deadline, home, partial(home.site.kafka.deny_transactional_prefix, who, prefix))


def _begun(record: DeploymentRecord, away: str) -> list[CancelIntent | DenyIntent]:
    """Cancels and denies that are open and are of the region that was left."""
    elsewhere = {one.epoch for one in starts_of(record.intents) if one.region == away}
    return [
        one
        for one in record.open_intents()
        if isinstance(one, CancelIntent | DenyIntent) and one.epoch <= _last_old(record) and one.epoch not in elsewhere
    ]


def _last_old(record: DeploymentRecord) -> int:
    """The last epoch that is not the writer's: all up to it are dead."""
    return record.epoch if record.writer is None else record.writer.epoch - 1


async def _epochs(sides: Sides, record: DeploymentRecord) -> set[int]:
    """Epochs that may write there: that of the job that was left, and every one that Kafka there knows."""
    last = _last_old(record)
    found = {one.epoch for one in (record.base, record.pinned) if one is not None and one.epoch <= last}
    left = left_in(record, sides.home.site.region)
    if left is not None and left.epoch is not None and left.epoch <= last:
        found.add(left.epoch)
    kafka = sides.home.site.kafka
    deadline = Deadline(f"Kafka in {sides.home.site.region}", ASK_S)
    for sink in sides.home.site.spec.sinks:
        prefix = f"tg.{sides.deployment}.{sink.uid}."
        for one in await patiently(deadline, sides.home, partial(kafka.list_transactions, prefix)):
            epoch = names.epoch_of_transactional_id(one.transactional_id)
            if epoch is not None and epoch <= last:
                found.add(epoch)
    return found
