"""The points of a deployment in the control bucket: one object a region, one writer, compare-and-swap (O1)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri
from tidegate.errors import BasisChanged, InvalidInput, Unavailable
from tidegate.points.model import Points


def points_key(deployment: str, region: str) -> str:
    """Where the points of a deployment in a region stand."""
    return f"points/{deployment}/{region}.json"


@dataclass(frozen=True)
class Stored:
    """What stands there, and the etag that a swap must name; None: nothing yet."""

    points: Points | None
    etag: str | None


class PointStore:
    """Recovery points in one control bucket."""

    def __init__(self, control: ObjectStore, bucket: str) -> None:
        self._control = control
        self._bucket = bucket

    async def read(self, deployment: str, region: str) -> Stored:
        """What stands there. Raises Unavailable, InvalidInput for what this version cannot read."""
        uri = S3Uri(self._bucket, points_key(deployment, region))
        found = await self._control.get_or_none(uri)
        if found is None:
            return Stored(None, None)
        try:
            return Stored(Points.model_validate_json(found.body), found.etag)
        except ValidationError as error:
            raise InvalidInput(f"{uri}: damaged: {error.errors()[0]['msg']}") from error

    async def write(self, basis: Stored, wanted: Points) -> Stored:
        """Put ``wanted`` in place of what was read; its ``seq`` is set here.

        Raises:
            BasisChanged: another keeper has written in between: there must be one only.
            Unavailable: whether it was written is not known; read again.

        """
        uri = S3Uri(self._bucket, points_key(wanted.deployment, wanted.region))
        wanted = wanted.model_copy(update={"seq": 1 if basis.points is None else basis.points.seq + 1})
        body = wanted.model_dump_json(indent=1).encode() + b"\n"
        try:
            if basis.etag is None:
                return Stored(wanted, await self._control.create(uri, body))
            return Stored(wanted, await self._control.replace(uri, body, if_match=basis.etag))
        except (PreconditionFailed, Unavailable) as error:
            # An answer may have been lost: what stands there tells (O3).
            now = await self.read(wanted.deployment, wanted.region)
            if now.points == wanted:
                return now
            if isinstance(error, Unavailable):
                raise
            raise BasisChanged(
                f"{uri} was written by somebody else meanwhile",
                hint="only one may keep the recovery points of a deployment",
            ) from error
