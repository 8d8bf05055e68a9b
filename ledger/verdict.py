"""The auditor's answer, as JSON and as text. Whoever runs the auditor with ``-o json`` parses it with `Verdict`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SAMPLES_PER_KIND = 20
RATE_SECONDS = 7200

Kind = Literal["lost", "duplicated", "wrong", "unexpected", "replayed", "reordered"]


class Sample(BaseModel):
    """One example of a fault: the id, what was expected and what was found, and where (partition and offset of the
    record, by lineage in which region's log; null for a lost output, which is nowhere).
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    expected: str
    found: str
    region: str | None = None
    partition: int | None = None
    offset: int | None = None


class Verdict(BaseModel):
    """Every count is exact. The counts fit together: ``output = input - lost - behind + duplicated + unexpected``.

    - ``input``: records of the input up to the end offsets taken at the start: the audited input
    - ``output``: committed outputs that count. Not in it: ``superseded`` (inside ranges of the replay manifest, or
      excluded by the lineage) and ``ahead`` (the first outputs of payments that came after the audited input; their
      values are checked all the same)
    - ``lost``: audited payments without an output that counts
    - ``duplicated``: outputs beyond the one of their payment
    - ``wrong``: outputs whose balance, amount or key is not what the input gives
    - ``unexpected``: outputs whose id was never in the input, or that cannot be read
    - ``replayed``: payments whose output came again after a superseded one
    - ``orphans``: superseded outputs whose id is not in the input that counts; reports of before say ``orphaned``
    - ``excluded``: records of the input that the lineage excludes; outputs that it excludes are in ``superseded``
    - ``reordered``: input records whose sequence is not above all earlier ones of their account
    - ``input_holes``: sequences that an account skips in the input; ``input_unreadable``: records that are no payment
    - ``behind``: audited payments whose output may still come; above 0 only if ``caught_up`` is false
    - ``checked_to``, ``input_to``: per partition, the first offset that was not read any more; by lineage, in the log
      of the region that was read last
    - ``gap_ms``: the longest pause between appended, committed outputs (superseded ones included) that overlaps the
      window asked for, between ``gap_from_ms`` and ``gap_to_ms`` (UTC, from the broker's log append time); null without
      log append time or with fewer than two outputs
    - ``rate``: [UTC second, outputs appended in it], seconds without outputs left out, the newest 7,200 at most
    - ``first_output_ms``: per artifact number ``v``, when its first output was appended (UTC)
    - ``samples``: per kind of fault at most 20 examples
    - ``note``: what else there is to know of the verdict, for a person
    """

    model_config = ConfigDict(extra="forbid")

    verdict: str
    lost: int
    duplicated: int
    wrong: int
    replayed: int
    unexpected: int
    superseded: int
    orphans: int = 0
    excluded: int = 0
    reordered: int = 0
    input: int
    output: int
    ahead: int = 0
    input_holes: int = 0
    input_unreadable: int = 0
    caught_up: bool = True
    behind: int = 0
    gap_ms: int | None = None
    gap_from_ms: int | None = None
    gap_to_ms: int | None = None
    checked_to: dict[int, int] = Field(default_factory=dict)
    input_to: dict[int, int] = Field(default_factory=dict)
    first_output_ms: dict[str, int] = Field(default_factory=dict)
    rate: list[tuple[int, int]] = Field(default_factory=list)
    samples: dict[Kind, list[Sample]] = Field(default_factory=dict)
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, fields: Any) -> Any:  # noqa: ANN401  # whatever is to be validated
        if isinstance(fields, dict) and "orphaned" in fields:
            fields = {**fields, "orphans": fields["orphaned"]}
            del fields["orphaned"]
        return fields

    @property
    def bad(self) -> bool:
        """Whether the job did harm: anything lost, duplicated, wrong or unexpected."""
        return bool(self.lost or self.duplicated or self.wrong or self.unexpected)

    @property
    def exit_code(self) -> int:
        """0 good, 7 bad, 5 no fault found but the output had not caught up."""
        if self.bad:
            return 7
        return 0 if self.caught_up else 5

    def text(self) -> str:
        """For a person: the verdict line, what else there is to say, the samples."""
        lines = [
            f"verdict    lost {self.lost:,} · duplicated {self.duplicated:,} · wrong {self.wrong:,}        "
            f"input {self.input:,} · output {self.output:,} · "
            + ("checked to offset end" if self.caught_up else f"NOT CAUGHT UP, {self.behind:,} still to come")
        ]
        if self.gap_ms is not None:
            lines.append(
                f"gap        {self.gap_ms / 1000:,.3f} s, from {_utc(self.gap_from_ms)} to {_utc(self.gap_to_ms)}"
            )
        if self.note:
            lines.append(f"note       {self.note}")
        others = {
            "unexpected": self.unexpected,
            "replayed": self.replayed,
            "superseded": self.superseded,
            "orphans": self.orphans,
            "excluded from the input": self.excluded,
            "reordered in the input": self.reordered,
            "holes in the input": self.input_holes,
            "unreadable input": self.input_unreadable,
            "ahead of the audited input": self.ahead,
        }
        if any(others.values()):
            lines.append("also       " + " · ".join(f"{name} {count:,}" for name, count in others.items() if count))
        for kind, samples in self.samples.items():
            for sample in samples:
                where = ""
                if sample.partition is not None:
                    region = f"{sample.region} " if sample.region else ""
                    where = f"   at {region}partition {sample.partition} offset {sample.offset:,}"
                lines.append(f"{kind:<10} {sample.id}   expected {sample.expected}, found {sample.found}{where}")
        return "\n".join(lines)


def _utc(at_ms: int | None) -> str:
    return "?" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
