"""All of a fork goes: its job, what it left on Kafka and on S3, its notes, and its record at the very end.

Each line may be the last of a process, and each may run twice: what to take away is not remembered but found, by the
fork's name and by its record, which stands until nothing else of it does. Nothing is touched that is not the fork's:
its jobs are those of its own record, all else carries its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from tidegate import names
from tidegate.clients.kafka_types import TransactionState, TxnState
from tidegate.clients.objects import S3Uri
from tidegate.clients.transfer import TransferStore
from tidegate.errors import NoProgress
from tidegate.model.drilled import TornDown
from tidegate.model.record import (
    ArtifactRef,
    CancelIntent,
    DeploymentRecord,
    IntentState,
    StopIntent,
    Writer,
    starts_of,
)
from tidegate.operation.resolve import cancel_job, resolve, shut_out
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.pins import pin_key, read_pins
from tidegate.snapshot.place import place_in

_NOTHING: Final = ArtifactRef(name="", sha256="", uri="")
_OPEN: Final = frozenset({TxnState.ONGOING, TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT})
END_S: Final = 60.0
PINNED_FOR: Final = "its files are named by "
"""As ``mirror.rebasing.place_rebased`` says why."""


@dataclass
class TearDown:
    """``run``: the fork's, under its own record; ``deployment``: the live one, of which only our pin is touched."""

    run: Run
    deployment: str
    store: TransferStore
    """The standby's S3."""

    async def all(self) -> TornDown:
        """Take everything away, then look again.

        Raises:
            NoProgress: something is still there; the message names it.
            MustHalt: what it had begun cannot be resolved.
            Superseded: somebody else tears it down, or has.
            Unavailable: a part did not answer; call again.

        """
        gone: Counter[str] = Counter()
        record = await self._end_jobs(gone)
        await self._end_transactions(gone)
        await self._clear_kafka(record, gone)
        await self._clear_s3(record, gone)
        await self._clear_control(gone)
        left = await self.left(record)
        if left:
            raise NoProgress(f"of the fork {self._fork} there is still {'; '.join(left)}")
        await self.run.site.control.delete(self._record_at)
        return TornDown(**gone)

    @property
    def _fork(self) -> str:
        return self.run.site.deployment

    @property
    def _record_at(self) -> S3Uri:
        return S3Uri(self.run.site.control_bucket, names.record_key(self._fork))

    # -- the job, and what it has begun

    async def _end_jobs(self, gone: Counter[str]) -> DeploymentRecord:
        """Nothing of it runs, and nothing that is on its way can start (O6)."""
        run = self.run
        record = await run.tenure.read()
        for stop in record.open_intents():
            if isinstance(stop, StopIntent):
                # Nobody wants its savepoint any more: whether it would come is not waited for.
                record = await cancel_job(run, record, stop.job_id, stop.epoch)
                gone["jobs"] += 1
        record = await resolve(run, record, want=_NOTHING)
        deadline = Deadline(f"the end of the fork {self._fork}", END_S)
        for job_id, epoch in _jobs(record).items():
            state = await patiently(deadline, run, lambda job=job_id: run.site.driver.state(job))  # type: ignore[misc]
            if state is not None and not state.terminal:
                record = await cancel_job(run, record, job_id, epoch)
                gone["jobs"] += 1
            elif state is None and (writer := _may_come_back(record, job_id)) is not None:
                await shut_out(run, job_id, epoch, writer.artifact, writer.parallelism)
                gone["jobs"] += 1
        return await run.tenure.read()

    async def _end_transactions(self, gone: Counter[str]) -> None:
        """What is open under its prefix is aborted: its topics go, and nobody shall wait for it."""
        kafka = self.run.site.kafka
        deadline = Deadline(f"the end of the transactions of {self._fork}", END_S)
        while found := await self._open_transactions():
            for one in found:
                if one.state is TxnState.ONGOING:
                    await kafka.end_transaction(one.transactional_id, one.producer_id, one.producer_epoch, commit=False)
                    gone["transactions"] += 1
            await deadline.pause(f"{found[0].transactional_id} is {found[0].state.value}")

    async def _open_transactions(self) -> list[TransactionState]:
        listed = await self.run.site.kafka.list_transactions(f"tg.{self._fork}.")
        return [one for one in listed if one.state in _OPEN]

    # -- Kafka

    async def _clear_kafka(self, record: DeploymentRecord, gone: Counter[str]) -> None:
        site = self.run.site
        there = set(await site.kafka.topics())
        for topic in site.output_topics:
            if topic in there:
                await site.kafka.remove_topic(topic)
                gone["topics"] += 1
        for group in self._groups():
            if await site.kafka.group_offsets(group):
                gone["groups"] += 1
            await site.kafka.remove_group(group)
        # No epoch of this name will ever be again, its jobs have ended and their ids are used up: nothing is let in.
        principal = f"User:{site.spec.principal}"
        for prefix in await self._denied(record):
            await site.kafka.lift_denied_prefix(principal, prefix)
            gone["denied"] += 1

    def _groups(self) -> list[str]:
        return sorted({source.group for source in self.run.site.spec.sources})

    async def _denied(self, record: DeploymentRecord) -> list[str]:
        """A Kafka without an authorizer is not asked: what was denied stands in the record."""
        if not record.denied_epochs:
            return []
        known = await self.run.site.kafka.denied_prefixes(f"User:{self.run.site.spec.principal}")
        return [prefix for prefix in known if prefix.startswith(f"tg.{self._fork}.")]

    # -- S3

    def _folders(self, record: DeploymentRecord) -> list[S3Uri]:
        """Where its job and its copy have written: folders that nobody else writes to."""
        site = self.run.site
        place = place_in(site.fleet, self.deployment, site.region)
        homes = {S3Uri.parse(site.savepoints).join(self._fork), S3Uri.parse(place.savepoints).join(self._fork)}
        return [*sorted(homes), *(S3Uri.parse(site.checkpoints).join(job_id) for job_id in _jobs(record))]

    async def _objects(self, folder: S3Uri) -> AsyncIterator[S3Uri]:
        async for item in self.store.list(S3Uri(folder.bucket, f"{folder.key}/", folder.scheme)):
            yield item.uri

    async def _clear_s3(self, record: DeploymentRecord, gone: Counter[str]) -> None:
        for folder in self._folders(record):
            for uri in [uri async for uri in self._objects(folder)]:
                await self.store.delete(uri)
                gone["objects"] += 1
            below = S3Uri(folder.bucket, f"{folder.key}/", folder.scheme)
            for upload in await self.store.uploads_below(below):
                await self.store.abort_upload(upload.uri, upload.upload_id)
                gone["objects"] += 1

    # -- the control bucket

    async def _pins(self) -> list[S3Uri]:
        """The pins that were made for the fork's copy; those of people and of other copies stay."""
        site = self.run.site
        return [
            S3Uri(site.control_bucket, pin_key(self.deployment, one.location, one.user))
            for one in await read_pins(site.control, site.control_bucket, self.deployment)
            if one.why.startswith(PINNED_FOR) and f"/{self._fork}/" in one.why
        ]

    async def _notes(self) -> list[S3Uri]:
        site = self.run.site
        found: list[S3Uri] = []
        for prefix in (
            names.manifest_prefix(self._fork),
            names.history_prefix(self._fork),
            names.drill_prefix(self._fork),
        ):
            found += [item.uri async for item in site.control.list(S3Uri(site.control_bucket, prefix))]
        return found

    async def _clear_control(self, gone: Counter[str]) -> None:
        for uri in await self._pins():
            await self.run.site.control.delete(uri)
            gone["pins"] += 1
        for uri in await self._notes():
            await self.run.site.control.delete(uri)
            gone["objects"] += 1

    # -- looking again

    async def left(self, record: DeploymentRecord) -> list[str]:
        """What is there all the same, an item each; its record does not count."""
        site = self.run.site
        found = [f"topic {topic}" for topic in await site.kafka.topics() if topic in site.output_topics]
        found += [f"group {group}" for group in self._groups() if await site.kafka.group_offsets(group)]
        found += [f"transaction {one.transactional_id}" for one in await self._open_transactions()]
        found += [f"a DENY on {prefix}" for prefix in await self._denied(record)]
        for folder in self._folders(record):
            found += [str(uri) async for uri in self._objects(folder)][:3]
        found += [str(uri) for uri in [*await self._pins(), *await self._notes()][:3]]
        for job_id in _jobs(record):
            state = await site.driver.state(job_id)
            if state is not None and not state.terminal:
                found.append(f"job {job_id}, {state.value}")
        return found


def _may_come_back(record: DeploymentRecord, job_id: str) -> Writer | None:
    """The writer, if Flink has forgotten it and it was not seen to end: high availability may bring it back (X14)."""
    writer = record.writer
    if writer is None or writer.job_id != job_id or (record.pinned is not None and record.pinned.job_id == job_id):
        return None
    ended = any(
        isinstance(one, CancelIntent) and one.job_id == job_id and one.state is IntentState.DONE
        for one in record.intents
    )
    return None if ended else writer


def _jobs(record: DeploymentRecord) -> dict[str, int]:
    """Every job that it may have had, with its epoch."""
    found = {start.job_id: start.epoch for start in starts_of(record.intents)}
    if record.pinned is not None:
        found.setdefault(record.pinned.job_id, record.pinned.epoch)
    if record.writer is not None:
        found[record.writer.job_id] = record.writer.epoch
    return found
