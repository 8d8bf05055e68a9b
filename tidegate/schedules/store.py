"""What is kept of scheduled runs in the control bucket, and what of the fleet a run looks at before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate import names
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.model.record import DeploymentRecord
from tidegate.model.schedule import RunOutcome, ScheduledResult, ScheduleLog
from tidegate.registry.records import RecordStore
from tidegate.registry.swap import CONTROL_WAIT_S, SwapConflict, SwapStore


class ScheduleStore:
    """Logs of schedules, open incidents and records, in one control bucket."""

    def __init__(self, store: ObjectStore, bucket: str, *, control_wait_s: float = CONTROL_WAIT_S) -> None:
        self._store = store
        self._bucket = bucket
        self._logs = SwapStore(store, bucket, ScheduleLog, control_wait_s=control_wait_s)
        self._records = RecordStore(store, bucket, control_wait_s=control_wait_s)

    async def log(self, name: str) -> ScheduleLog | None:
        """What became of a schedule's runs; None: none has ended yet. Raises Unavailable."""
        found = await self._logs.read(names.schedule_key(name))
        return found.record if found else None

    async def note(self, result: ScheduledResult, *, paused: bool = False) -> ScheduleLog:
        """Keep what became of a run. The same again changes nothing, and an older one that comes late is not the last.

        ``paused``: its failure pauses the schedule. Returns the log as it stands then.

        Raises:
            Unavailable: the bucket does not answer.

        """
        key = names.schedule_key(result.schedule)
        while True:
            basis = await self._logs.read_or_create(key, ScheduleLog(name=result.schedule))
            log = basis.record
            wanted = log.model_copy(update={"last": _later(log.last, result)})
            if result.outcome is RunOutcome.DONE:
                wanted = wanted.model_copy(update={"last_done": _later(log.last_done, result)})
            if paused and result.outcome is RunOutcome.FAILED and wanted.last == result != log.last:
                wanted = wanted.model_copy(update={"paused_by": result.run})
            if wanted == log:
                return log
            write_id = names.derive_id(result.run, result.ended.isoformat(), log.seq)
            wanted = wanted.model_copy(update={"seq": log.seq + 1, "write_id": write_id})
            try:
                return (await self._logs.swap(key, basis, wanted)).record
            except SwapConflict:
                continue

    async def told_over(self, name: str, run: str) -> None:
        """People know that the schedule which this run has paused runs again. Raises Unavailable."""
        key = names.schedule_key(name)
        while (basis := await self._logs.read(key)) is not None and basis.record.paused_by == run:
            log = basis.record
            write_id = names.derive_id("told over", run, log.seq)
            calm = log.model_copy(update={"paused_by": None, "seq": log.seq + 1, "write_id": write_id})
            try:
                await self._logs.swap(key, basis, calm)
            except SwapConflict:
                continue

    async def incidents(self) -> Sequence[str]:
        """Ids of those that are open. Raises Unavailable."""
        prefix = names.INCIDENTS_OPEN_PREFIX
        found = [info.uri.key.removeprefix(prefix) async for info in self._store.list(S3Uri(self._bucket, prefix))]
        return [key.removesuffix(".json") for key in found]

    async def records(self) -> Sequence[DeploymentRecord]:
        """Those of all deployments. Raises Unavailable."""
        found: list[DeploymentRecord] = []
        for name in await self._store.list_names(S3Uri(self._bucket, names.RECORDS_PREFIX)):
            stored = await self._records.read(name.removesuffix(".json"))
            if stored is not None:
                found.append(stored.record)
        return found


def _later(known: ScheduledResult | None, result: ScheduledResult) -> ScheduledResult:
    return result if known is None or result.ended >= known.ended else known
