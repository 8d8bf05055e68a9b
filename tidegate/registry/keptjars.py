"""Jars in the control bucket: what an operation needs of a region's artifacts when that region is gone.

The bytes lie under their sha256, create-only; beside them, by deployment and name, which of them was put last. They are
copies: what counts for a plan is what stands at the fleet file's uri, as long as that can be asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from tidegate import names
from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import InvalidInput, Unavailable
from tidegate.model.record import Frozen, utc_now

SHA256 = "sha256"
"""The metadata key under which a jar's digest stands (``x-amz-meta-sha256``)."""


class LastPut(Frozen):
    """``artifacts/<deployment>/<name>.json``: what was put under a name last. ``size`` in bytes."""

    version: Literal[1] = 1
    deployment: str
    name: str
    uri: str
    """Where it stands in its home region."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int
    at: datetime = Field(default_factory=utc_now)


@dataclass(frozen=True)
class KeptJars:
    """The copies of one deployment's jars. Every method raises Unavailable if the control bucket does not answer."""

    control: ObjectStore
    bucket: str
    deployment: str

    def uri(self, sha256: str) -> S3Uri:
        """Where the bytes lie."""
        return S3Uri(self.bucket, names.jar_key(sha256))

    async def has(self, sha256: str) -> bool:
        """Whether the bytes are kept."""
        return await self.control.head(self.uri(sha256)) is not None

    async def keep(self, path: Path, sha256: str) -> bool:
        """Keep the bytes of a file whose digest was just told; False: they were kept already.

        Raises InvalidInput if the file changed meanwhile: nothing is kept then.
        """
        at = self.uri(sha256)
        if await self.control.head(at) is not None:
            return False
        try:
            sent = await self.control.upload_file(path, at, {SHA256: sha256}, create_only=True)
        except PreconditionFailed:
            return False  # a twin was quicker, or the first answer was lost
        if sent.sha256 != sha256:
            await self.control.delete(at)  # its name would be a lie
            raise InvalidInput(f"{path} changed while it was uploaded", hint="put it again when the build has finished")
        return True

    async def say(self, put: LastPut, *, only_first: bool = False) -> None:
        """Write down what a name stands for, over what was said before; with ``only_first`` only if nothing was."""
        at, body = self._named(put.name), put.model_dump_json(indent=1).encode() + b"\n"
        if not only_first:
            await self.control.put(at, body)
            return
        try:
            await self.control.create(at, body)
        except PreconditionFailed:
            return  # a person's word stands, and so does an earlier one of our own

    async def last_put(self, name: str) -> LastPut | None:
        """What was put under a name last; None if nobody has said, or its bytes are not kept.

        Raises InvalidInput for one that is damaged.
        """
        at = self._named(name)
        found = await self.control.get_or_none(at)
        if found is None:
            return None
        try:
            said = LastPut.model_validate_json(found.body)
        except ValidationError as error:
            raise InvalidInput(
                f"{at}: damaged: {error.errors()[0]['msg']}",
                hint=f"put the jar again:  tidegate artifact put {self.deployment} {name} PATH.jar",
            ) from error
        return said if await self.has(said.sha256) else None

    async def bring(self, sha256: str, path: Path) -> bool:
        """The bytes as a file, verified; False: they are not kept. Raises Unavailable for bytes that are others."""
        if not await self.has(sha256):
            return False
        found = await self.control.download_to(self.uri(sha256), path)
        if found.sha256 != sha256:
            raise Unavailable(f"{self.uri(sha256)}: damaged: its bytes have another sha256")
        return True

    def _named(self, name: str) -> S3Uri:
        return S3Uri(self.bucket, names.artifact_key(self.deployment, name))
