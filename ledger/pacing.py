"""A steady rate that does not turn a stall into a flood."""

from __future__ import annotations


class Pace:
    """How many payments are due, by the clock that is passed in (seconds, monotonic).

    Whoever falls behind by up to ``backlog_s`` catches up at once; what is due beyond that is forgiven, so that after
    a long stall at most one ``backlog_s`` of payments comes in a burst and the rate is steady from there on.
    """

    def __init__(self, rate_per_s: float, now_s: float, *, backlog_s: float = 1.0) -> None:
        self._rate_per_s = rate_per_s
        self._backlog_s = backlog_s
        self._origin_s = now_s
        self._made = 0

    def due(self, now_s: float) -> int:
        """How many should be made now."""
        behind = (now_s - self._origin_s) * self._rate_per_s - self._made
        most = max(1.0, self._backlog_s * self._rate_per_s)
        if behind > most:
            self._origin_s += (behind - most) / self._rate_per_s
            behind = most
        return max(0, int(behind + 1e-9))

    def made(self, count: int) -> None:
        """So many have been made."""
        self._made += count

    def next_in_s(self, now_s: float) -> float:
        """Seconds until the next one is due; 0 if it is due already."""
        return max(0.0, self._origin_s + (self._made + 1) / self._rate_per_s - now_s)
