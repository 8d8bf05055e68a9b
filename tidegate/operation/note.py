"""What was decided before a start, written down before it: whoever finds the start finds the reasons, too."""

from __future__ import annotations

from tidegate.clients.objects import PreconditionFailed, S3Uri
from tidegate.errors import MustHalt
from tidegate.model.operation import ReplayRange
from tidegate.model.record import Frozen, Pinned
from tidegate.operation.run import Deadline, Run, patiently


class EnsureNote(Frozen):
    """What was decided before a start, written before it: the replay manifest above all (X21, X26).

    ``superseded`` is the manifest as readers and the auditor take it: those ranges come again.
    """

    superseded: tuple[ReplayRange, ...] = ()
    committed: int = 0
    ended: int = 0
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
