"""The replay manifest: ranges of committed output that no longer count (EXACTLY: X21 across regions, X26 on one)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ledger.faults import BadInput


class SupersededRange(BaseModel):
    """Offsets ``first`` to ``last`` of one partition, both included."""

    model_config = ConfigDict(extra="ignore")

    partition: int = Field(ge=0)
    first: int = Field(ge=0)
    last: int = Field(ge=0)

    @model_validator(mode="after")
    def _forward(self) -> SupersededRange:
        if self.last < self.first:
            raise ValueError(f"last {self.last} lies before first {self.first}")
        return self


class Manifest(BaseModel):
    """The superseded ranges of one topic. Fields that the auditor does not need are let through."""

    model_config = ConfigDict(extra="ignore")

    topic: str
    region: str | None = None
    """Whose log the offsets are of. Needed only where there are several; without it: where the topic is written."""
    superseded: list[SupersededRange]


class Superseded:
    """Whether an offset is superseded, from ranges in any order, overlapping or not."""

    def __init__(self, ranges: Iterable[SupersededRange] = ()) -> None:
        self._edges: dict[int, list[int]] = {}
        for item in sorted(ranges, key=lambda r: (r.partition, r.first)):
            edges = self._edges.setdefault(item.partition, [])
            if edges and item.first <= edges[-1]:
                edges[-1] = max(edges[-1], item.last + 1)
            else:
                edges += [item.first, item.last + 1]

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions with any range: the others need no look-up."""
        return frozenset(self._edges)

    def joined(self, ranges: Iterable[SupersededRange]) -> Superseded:
        """These ranges and those."""
        mine = (
            SupersededRange(partition=partition, first=first, last=end - 1)
            for partition, edges in self._edges.items()
            for first, end in zip(edges[::2], edges[1::2], strict=True)
        )
        return Superseded((*mine, *ranges))

    def covers(self, partition: int, offset: int) -> bool:
        """True between an opening edge and its closing one."""
        return bisect_right(self._edges.get(partition, ()), offset) % 2 == 1


def read_manifests(paths: Iterable[Path], *, topic: str) -> list[Manifest]:
    """All the files. Raises `BadInput` if one cannot be read or speaks of another topic."""
    manifests: list[Manifest] = []
    for path in paths:
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadInput(f"--manifest {path}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise BadInput(f"--manifest {path}: {where}: {first['msg']}") from error
        if manifest.topic != topic:
            raise BadInput(f"--manifest {path}: is about topic {manifest.topic}; the output audited is {topic}")
        manifests.append(manifest)
    return manifests
