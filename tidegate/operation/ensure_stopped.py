"""Make sure that nothing runs: the way back of a first start, where before nothing ran.

The job is cancelled, and its transactions are settled for its newest snapshot, so that readers are not blocked by what
it left open and a later start goes on from there exactly (X15).
"""

from __future__ import annotations

from tidegate.model.record import (
    ArtifactRef,
    CancelIntent,
    DeploymentRecord,
    IntentState,
    SettleIntent,
    starts_of,
)
from tidegate.model.steps import EnsureInput, RestoreFrom
from tidegate.operation.choose import Choice, choose
from tidegate.operation.move import lives_elsewhere
from tidegate.operation.resolve import close, end_job, replace_intent, resolve
from tidegate.operation.run import Run
from tidegate.operation.settle import settle
from tidegate.operation.weigh import weigh

_NOTHING = ArtifactRef(name="", sha256="", uri="")


async def ensure_stopped(run: Run, request: EnsureInput) -> None:
    """Resolve what is open, end the writer, settle. Done already: nothing is changed.

    Raises:
        MustHalt: outputs of its newest checkpoint cannot be committed any more.
        NoProgress, Unavailable: a part did not answer within its bound; call again.
        Superseded: another operation has the deployment.
    """
    record = await resolve(run, await run.tenure.read(), want=_NOTHING)
    writer = record.writer
    if writer is not None and not lives_elsewhere(record, run.site.region):
        cancel = CancelIntent(
            id=run.id(record, f"cancel-{writer.job_id}"),
            step="cancel",
            n=run.n,
            job_id=writer.job_id,
            epoch=writer.epoch,
        )
        record = await run.tenure.change("cancel", run.n, lambda current: current.with_intents(cancel))
        record = await end_job(run, cancel)
    choice = await _left(run, record, request)
    intent = SettleIntent(
        id=run.id(record, "settle"), step="settle", n=run.n, epoch=record.epoch, snapshot=choice.location
    )
    record = await run.tenure.change("settle", run.n, lambda current: current.with_intents(intent))
    weighed = await weigh(run, choice, request.restore and _nothing_starts(request.restore))
    await settle(run, record, intent, known_committed=choice.known_committed, dropped=frozenset(weighed.dropped))
    await close(run, replace_intent(intent, IntentState.DONE, "settled; nothing runs"))


def _nothing_starts(restore: RestoreFrom) -> RestoreFrom:
    """A restore that did not hold leaves its deployment as it was: settled for its own newest snapshot, not for the one
    that was named. What of that is lost is lost already; whoever starts from it next is told the price.
    """
    return restore.model_copy(update={"snapshot": None, "loss_accepted": True, "replay_accepted": True})


async def _left(run: Run, record: DeploymentRecord, request: EnsureInput) -> Choice:
    """The snapshot that a later start goes on from."""
    ran = [start for start in starts_of(record.intents) if start.state is IntentState.DONE]
    if record.writer is None and record.pinned is None and record.base is None and not ran:
        return Choice(None, None, None)
    known = record.writer.epoch if record.writer else 0
    newest = ran[-1] if ran and ran[-1].epoch > known else record.writer
    of_it = request.model_copy(
        update={
            "artifact": newest.artifact if newest else request.artifact,
            "from_empty": False,
            "snapshot": None,
            "readable_from": (),
            "restore": request.restore and _nothing_starts(request.restore),
        }
    )
    return await choose(run, record, of_it)
