"""Once no job can commit any more: does the price of the chosen snapshot still hold, and was it accepted (X3, X26)?

The plan has told a price; a transaction may have timed out since. Before anything is settled it is told again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.errors import MustHalt, Refused
from tidegate.model.operation import ReplayRange
from tidegate.model.steps import RestoreFrom
from tidegate.operation.choose import Choice
from tidegate.operation.price import Wanted, completed_at, name_of, outputs_since, price
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.files import verify

WEIGH_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Weighed:
    """What is given up with the choice, what comes again, and which transactions must not be tried any more."""

    dropped: tuple[str, ...] = ()
    lost: int = 0
    again: tuple[ReplayRange, ...] = ()


async def weigh(run: Run, choice: Choice, restore: RestoreFrom | None) -> Weighed:
    """The price of a restore's choice as it is now; any other choice costs nothing that is not told elsewhere.

    Raises:
        MustHalt: it would lose or repeat output, and that was not accepted by name.
        Unavailable: Kafka or S3 did not answer within the bound.

    """
    location, epoch = choice.location, choice.epoch
    if restore is None or not choice.restored or location is None or epoch is None:
        return Weighed()
    deadline = Deadline("the price of the snapshot", WEIGH_TIMEOUT_S)
    site = run.site
    verified = await patiently(deadline, run, lambda: verify(site.snapshots, location))
    at = await patiently(deadline, run, lambda: completed_at(site, location))
    if at is None:
        raise MustHalt(f"the snapshot at {location} has vanished")
    wanted = Wanted(verified.snapshot, epoch, at)
    outputs = await patiently(deadline, run, lambda: outputs_since(site, [wanted]))
    try:
        cost = await patiently(deadline, run, lambda: price(site, wanted, outputs))
    except Refused as error:
        raise MustHalt(f"{name_of(location, epoch)}: {error.message}", hint=error.hint) from error
    run.say(phase="weigh", lost=cost.lost, replayed=cost.replayed)
    if cost.superseded:
        raise MustHalt(f"the output of {name_of(location, epoch)} was superseded: nothing may go on from there")
    if cost.loses and not restore.loss_accepted and not choice.known_committed:
        raise MustHalt(
            f"a start from {name_of(location, epoch)} would lose {cost.lost:,} output records of {len(cost.lost_ids)} "
            f"transactions that were aborted ({', '.join(cost.named_ids)}), and nobody has accepted that",
            hint=f"abort this operation, look at the prices:  tidegate restore {site.deployment} --dry-run",
        )
    if cost.again and not restore.replay_accepted:
        raise MustHalt(
            f"a start from {name_of(location, epoch)} would repeat {cost.replayed:,} committed output records, and "
            f"nobody has accepted that",
            hint=f"abort this operation, look at the prices:  tidegate restore {site.deployment} --dry-run",
        )
    return Weighed((*cost.forgotten, *cost.lost_ids), cost.lost, cost.again)
