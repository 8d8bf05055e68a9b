"""One audit from start to verdict: what is read, in which order, and how long the output is waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ledger.audit_clock import OutputClock
from ledger.audit_log import Bounds, Log
from ledger.audit_manifest import Superseded
from ledger.audit_state import Audit
from ledger.faults import CannotReach
from ledger.verdict import RATE_SECONDS, Verdict

HELD_MAX = 100_000
POLL_S = 0.1

logger = logging.getLogger("ledger.auditor")


@dataclass(frozen=True)
class AuditSettings:
    """``from_ms`` and ``to_ms`` (UTC) bound the gap's window. With ``until_caught_up`` the audit waits until every
    audited payment has its output, at most ``timeout_s`` in all and ``no_progress_s`` since the last one came.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    until_caught_up: bool = False
    timeout_s: float = 300.0
    no_progress_s: float = 15.0
    superseded: Superseded = field(default_factory=Superseded)
    mirrored: bool = False
    """The logs read are filled by a mirror, each in its own time: an output may be there before its payment is."""


class AuditRun:
    """The input is frozen first and the output after it; outputs of payments later than the frozen input are judged
    against what the input holds by then, so an audit under traffic is as exact as one at rest.
    """

    def __init__(
        self,
        source: Log,
        output: Log,
        settings: AuditSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._output = output
        self._settings = settings
        self._clock = clock
        self._pause = pause
        self._deadline = clock() + settings.timeout_s
        self._audit = Audit(settings.superseded, source_place=source.place, output_place=output.place)
        self._output_clock = OutputClock()
        self._checked_to: dict[int, int] = {}

    def run(self) -> Verdict:
        """The verdict. Raises `CannotReach` if Kafka does not answer, the deadline passes before the ends of the start
        have been read, or the topics no longer hold everything from their beginning.
        """
        source_bounds = self._source.bounds()
        output_bounds = self._output.bounds()
        _refuse_truncated("input", source_bounds)
        _refuse_truncated("output", output_bounds)
        input_to = {partition: bounds.stable for partition, bounds in source_bounds.items()}
        for batch in self._source.read(input_to):
            self._audit.add_input(batch)
            self._check_deadline("the input")
        logger.info("input read: %s payments of %s accounts", self._audit.input, len(self._audit.accounts))
        self._read_output(output_bounds)
        settled = self._wait_for_output(output_bounds) if self._settings.until_caught_up else True
        for batch in self._output.aside():
            self._audit.add_output(batch)
            if len(self._audit.held) >= HELD_MAX:
                self._resolve_held()
        for _ in self._source.aside():
            self._check_deadline("what the input excludes")
        self._resolve_held()
        return self._verdict(input_to, settled=settled)

    def _check_deadline(self, what: str) -> None:
        if self._clock() > self._deadline:
            raise CannotReach(f"{what} was not read to its end within {self._settings.timeout_s:g} s (--timeout-s)")

    def _read_output(self, bounds: Mapping[int, Bounds]) -> None:
        to = {partition: b.stable for partition, b in bounds.items()}
        for batch in self._output.read(to):
            self._output_clock.add(batch)
            self._audit.add_output(batch)
            if len(self._audit.held) >= HELD_MAX:
                self._resolve_held()
            if not self._checked_to:  # Once the ends of the start are read there is a verdict to give, if a late one.
                self._check_deadline("the output")
        self._checked_to = to

    def _resolve_held(self) -> None:
        """An output is appended after its payment: the input's end of now has the payments of all outputs read. In a
        mirrored log that is so for some time only, so they are waited for while they come.
        """
        if not self._audit.held:
            return
        self._read_beyond()
        if self._settings.mirrored:
            held, moved_at = self._audit.retry(), self._clock()
            while held and self._clock() - moved_at < self._settings.no_progress_s:
                self._check_deadline("the mirrored input")
                self._pause(POLL_S)
                self._read_beyond()
                before, held = held, self._audit.retry()
                if held < before:
                    moved_at = self._clock()
        self._audit.resolve()

    def _read_beyond(self) -> None:
        to = {partition: b.stable for partition, b in self._source.bounds().items()}
        for batch in self._source.read(to):
            self._audit.add_input(batch, beyond=True)

    def _wait_for_output(self, bounds: Mapping[int, Bounds]) -> bool:
        """Read on until nothing is missing. Returns whether what is missing then has had its chance: no output of an
        audited payment came for ``no_progress_s``, and all that was written at its begin has been decided since.
        """
        audit = self._audit
        undecided = {partition: b.end for partition, b in bounds.items()}
        moved_at = self._clock()
        while audit.missing:
            now = self._clock()
            if now - moved_at >= self._settings.no_progress_s:
                logger.warning("%s outputs missing, none came for %g s", audit.missing, self._settings.no_progress_s)
                return all(self._checked_to.get(partition, 0) >= end for partition, end in undecided.items())
            if now > self._deadline:
                logger.warning("%s outputs missing after %g s", audit.missing, self._settings.timeout_s)
                return False
            self._pause(POLL_S)
            before, bounds = audit.missing, self._output.bounds()
            self._read_output(bounds)
            if audit.missing < before:
                moved_at = self._clock()
                undecided = {partition: b.end for partition, b in bounds.items()}
        return True

    def _verdict(self, input_to: dict[int, int], *, settled: bool) -> Verdict:
        audit, settings = self._audit, self._settings
        start: dict[bytes, int] = {}
        if settings.until_caught_up and audit.missing:
            start = audit.behind() if settled else dict.fromkeys(audit.accounts, 1)
        behind = audit.count_missing(start)
        lost = audit.missing - behind
        if lost:
            audit.sample_lost(start)
        gap = self._output_clock.gap(settings.from_ms, settings.to_ms)
        return Verdict(
            verdict=f"{lost}/{audit.duplicated}/{audit.wrong}" if lost or not behind else "not caught up",
            lost=lost,
            duplicated=audit.duplicated,
            wrong=audit.wrong,
            replayed=audit.replayed,
            unexpected=audit.unexpected,
            superseded=audit.superseded,
            orphans=audit.orphans,
            excluded=self._source.excluded,
            reordered=audit.reordered,
            input=audit.input,
            output=audit.output,
            ahead=audit.ahead,
            input_holes=audit.input_holes,
            input_unreadable=audit.input_unreadable,
            caught_up=behind == 0,
            behind=behind,
            gap_ms=None if gap is None else gap[1] - gap[0],
            gap_from_ms=None if gap is None else gap[0],
            gap_to_ms=None if gap is None else gap[1],
            checked_to={p: self._output.place(p, offset)[1] for p, offset in self._checked_to.items()},
            input_to={p: self._source.place(p, offset)[1] for p, offset in input_to.items()},
            first_output_ms=audit.first_output_ms,
            rate=self._output_clock.rate(RATE_SECONDS),
            samples=audit.samples,
        )


def _refuse_truncated(name: str, bounds: Mapping[int, Bounds]) -> None:
    for partition, b in bounds.items():
        if b.start > 0:
            raise CannotReach(
                f"{name} partition {partition} begins at offset {b.start:,}: what stood before is gone, "
                "and without it neither balances nor losses can be told"
            )
