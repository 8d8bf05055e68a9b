"""Words for a mirror link that more than one command shows."""

from __future__ import annotations

from tidegate.cli import output
from tidegate.model.mirror import LinkHealth


def revival_lines(health: LinkHealth) -> list[str]:
    """A link's outages: what is down now, and each time that it was restarted because a task of it had died."""
    lines = [] if health.down is None else [f"mirror {health.link} is down: {health.down}"]
    for one in health.revivals:
        end = f"in vain: {one.note}" if one.note else "whether it ran again is not known"
        if one.running_at is not None:
            end = f"all its tasks ran again at {output.utc(one.running_at)}"
        lines.append(f"mirror {health.link} was down from {output.utc(one.at)}: {one.problem}; restarted, {end}")
    return lines
