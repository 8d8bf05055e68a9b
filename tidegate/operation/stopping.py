"""Stop the writer with a savepoint: the intent, and what becomes of it if the stop fails (O5)."""

from __future__ import annotations

from tidegate import names
from tidegate.errors import JobLost, SavepointFailed
from tidegate.model.record import IntentState, StartIntent, StopIntent, Writer
from tidegate.operation.resolve import close, replace_intent, resolve_stop
from tidegate.operation.run import Run
from tidegate.operation.stop import Stopped, finish_stop


def stop_intent(run: Run, writer: Writer, stop_id: str, step: str) -> StopIntent:
    """All that any process needs to finish or void the stop of ``writer``; trigger and directory are derived (O7)."""
    trigger = names.derive_id(stop_id, "trigger")
    return StopIntent(
        id=stop_id,
        step=step,
        n=run.n,
        job_id=writer.job_id,
        epoch=writer.epoch,
        trigger_id=trigger,
        directory=names.savepoint_dir(run.site.savepoints, run.site.deployment, writer.epoch, trigger),
        artifact=writer.artifact,
        parallelism=writer.parallelism,
    )


async def stop_or_end(run: Run, stop: StopIntent, *, fresh: bool, then: StartIntent | None = None) -> Stopped:
    """Finish the stop. If it failed and the job may be trusted to run on, its intent is void, and ``then`` with it.

    ``fresh``: the intent was opened by this very attempt, so that no other can have sent a copy of the stop.

    Raises:
        SavepointFailed: there is no savepoint. ``details['job_state']`` is ``RUNNING`` if the job goes on, and
            ``CANCELED`` if it was ended, since a copy of the stop may still be on its way.
        JobLost: Flink forgot the job before it left a savepoint.
        NoProgress, Unavailable: not decided within its bounds; call again.

    """
    try:
        return await finish_stop(run, stop)
    except SavepointFailed as error:
        if error.details.get("job_state") == "RUNNING" and fresh and not error.details.get("unanswered"):
            # Every copy of this stop was answered: none is under way, so the job may be trusted to run on (O5).
            unused = [replace_intent(then, IntentState.VOID, "never submitted: the stop failed")] if then else []
            await close(run, replace_intent(stop, IntentState.VOID, error.message[:500]), *unused)
            raise
        await resolve_stop(run, stop)
        raise SavepointFailed(
            f"{error.message}; a copy of the stop may still be on its way, so job {stop.job_id} was ended",
            details={"job_state": "CANCELED"},
        ) from error
    except JobLost:
        await close(run, replace_intent(stop, IntentState.DONE, "Flink forgot the job before it left a savepoint"))
        raise
