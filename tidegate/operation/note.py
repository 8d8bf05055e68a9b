"""What was decided before a start, written down before it: whoever finds the start finds the reasons, too."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import MustHalt
from tidegate.model.operation import ReplayRange
from tidegate.model.record import DeploymentRecord, Frozen, Pinned, starts_of
from tidegate.operation.run import Deadline, Run, patiently


class EnsureNote(Frozen):
    """What was decided before a start, written before it: the replay manifest above all (X21, X26).

    ``superseded`` is the manifest as readers and the auditor take it: those ranges come again.
    """

    superseded: tuple[ReplayRange, ...] = ()
    region: str | None = None
    """Whose logs the ranges are of; None: written before a deployment could leave its region."""
    committed: int = 0
    ended: int = 0
    lost: int = 0
    why: str = ""
    base: Pinned | None = None


async def write_note(run: Run, key: str, note: EnsureNote) -> None:
    """Create-only: a second attempt of the same step finds what the first has said, and says no more."""
    deadline = Deadline("writing the replay manifest", 60.0)
    uri = S3Uri(run.site.control_bucket, key)
    body = note.model_dump_json(indent=1).encode()
    try:
        await patiently(deadline, run, lambda: run.site.control.create(uri, body))
    except PreconditionFailed as error:
        said = await read_note(run, key)
        if (said.base and said.base.location) != (note.base and note.base.location):
            raise MustHalt(
                f"an earlier attempt of this step chose {said.base and said.base.location}, and now it would be "
                f"{note.base and note.base.location}: what was announced no longer holds",
                hint=f"look at {key} in the control bucket",
            ) from error


async def read_note(run: Run, key: str) -> EnsureNote:
    """What was written down before a start of ``ensure_running``."""
    deadline = Deadline("reading the replay manifest", 60.0)
    uri = S3Uri(run.site.control_bucket, key)
    found = await patiently(deadline, run, lambda: run.site.control.get(uri))
    return EnsureNote.model_validate_json(found.body)


async def counts_now(run: Run, record: DeploymentRecord, epoch: int) -> None:
    """Say that the start of this epoch took place, so that what its manifest names is superseded (X21).

    A manifest is written before the start, and the start may never come: then another goes on from what it would have
    superseded. So readers take only those beside which this mark stands. Said again, it is one object.
    """
    start = next((start for start in starts_of(record.intents) if start.epoch == epoch), None)
    if start is None or start.after_stop is not None:
        return
    deadline = Deadline("marking the replay manifest", 60.0)
    key = names.manifest_key(record.deployment, start.id)
    uri = S3Uri(run.site.control_bucket, names.manifest_mark(key))
    with suppress(PreconditionFailed):
        await patiently(deadline, run, lambda: run.site.control.create(uri, b"{}\n"))


async def superseded_here(run: Run, record: DeploymentRecord) -> tuple[ReplayRange, ...]:
    """What the starts of this region that took place supersede: those that the record names still, until the deployment
    is given back. Whoever started them may have died before the lineage said so. Raises Unavailable.
    """
    deadline = Deadline("reading the replay manifests", 60.0)
    found: dict[ReplayRange, None] = {}
    for start in starts_of(record.intents):
        if start.region != run.site.region or start.after_stop is not None:
            continue
        key = names.manifest_key(record.deployment, start.id)
        mark, uri = (S3Uri(run.site.control_bucket, name) for name in (names.manifest_mark(key), key))
        if await patiently(deadline, run, partial(run.site.control.get_or_none, mark)) is None:
            continue
        note = await patiently(deadline, run, partial(run.site.control.get_or_none, uri))
        if note is not None:  # else a tear down of this fork died behind its removal: it supersedes nothing any more
            found |= dict.fromkeys(EnsureNote.model_validate_json(note.body).superseded)
    return tuple(found)


async def notes_that_count(store: ObjectStore, bucket: str, deployment: str) -> list[EnsureNote]:
    """What was written down before each start that took place."""
    prefix = S3Uri(bucket, names.manifest_prefix(deployment))
    keys = {info.uri.key async for info in store.list(prefix)}
    counting = sorted(key for key in keys if names.manifest_mark(key) in keys)
    return [EnsureNote.model_validate_json((await store.get(S3Uri(bucket, key))).body) for key in counting]
