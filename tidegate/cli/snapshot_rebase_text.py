"""How a rebase is printed: per split from where to where, what is dropped, what comes again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict

from tidegate.cli import output
from tidegate.mirror.rebasing import Made
from tidegate.snapshot.positions import EARLIEST
from tidegate.snapshot.rebase import Moved
from tidegate.snapshot.sinks import COMMITTER_STATE


def plan(made: Made) -> str:
    """The whole plan, in lines for a person."""
    copy = made.copy
    purpose = f"{made.deployment} in {made.region}" if made.fork is None else f"{made.fork}, a fork, in {made.region}"
    rows = [
        ("snapshot", f"{copy.source.directory}, with positions on {made.home}'s Kafka"),
        ("copy", f"{copy.location}, for {purpose}"),
    ]
    positions = [_position(one) for one in copy.rebased.moved if one.offset is not None]
    rows += [("positions" if not n else "", line) for n, line in enumerate(positions or ["none: nothing is read"])]
    rows += [("dropped" if not n else "", line) for n, line in enumerate(_dropped(made) or ["nothing"])]
    rows.append(("replays", _replays(made)))
    if copy.source.metadata.is_savepoint is False and made.home == made.region:
        note = "Flink removes this checkpoint, and with it files that the copy names, once newer ones are complete"
        rows.append(("note", f"{note}; for a copy that lasts rebase a savepoint"))
    return output.columns(rows)


def _position(one: Moved) -> str:
    here, there = f"{one.topic}-{one.partition}", f"{one.new_topic}-{one.partition}"
    if one.new_offset == EARLIEST:
        return f"{one.source}: {there} not read yet, from the start"
    renamed = f"{there} " if there != here else ""
    at_most = "" if one.counted else "at most "
    said = f"replays {at_most}{output.count(one.replays)}" if one.replays else "exact"
    note = f" ({one.note})" if one.note else ""
    return f"{one.source}: {here} {one.offset:,} -> {renamed}{one.new_offset:,}, {said}{note}"


def _dropped(made: Made) -> list[str]:
    subtasks: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in made.copy.rebased.dropped.states:
        subtasks[one.sink_uid or one.operator_id, one.state].append(one.subtask)
    lines = []
    for (sink, state), numbers in subtasks.items():
        what = "transactions to be committed" if state == COMMITTER_STATE else "the writers' state"
        lines.append(f"{sink}: {what}, {output.count(len(numbers))} subtasks")
        if state == COMMITTER_STATE:
            words = {one.committable: one.word.value for one in made.judged}
            lines += [
                f"  {listed.transactional_id}: {words.get(listed, made.said)}"
                for listed in made.listed
                if (listed.sink_uid or listed.operator_id) == sink
            ]
    unsafe = made.not_committed
    if unsafe and made.fork is None:
        lines.append(
            f"WARNING: {len(unsafe)} of {len(made.judged)} are not seen committed in {made.home}: a start from this "
            f"copy counts their outputs as written, and they would be missing"
        )
    return lines + [f"{_label(made, operator)}, with its state" for operator in made.copy.rebased.dropped.operators]


def _label(made: Made, operator_id: str) -> str:
    return str(made.copy.source.metadata.operator(operator_id) or operator_id)


def _replays(made: Made) -> str:
    done = made.copy.rebased
    if not done.replays:
        return "none: every position is exact"
    at_most = "" if done.counted else "at most "
    return (
        f"{at_most}{output.count(done.replays)} input records are read a second time (--accept-replay {done.replays})"
    )


def plan_json(made: Made) -> dict[str, object]:
    """The plan for programs."""
    done = made.copy.rebased
    words = {one.committable: one.word.value for one in made.judged}
    return {
        "source": str(made.copy.source.directory),
        "source_region": made.home,
        "location": str(made.copy.location),
        "region": made.region,
        "deployment": made.deployment,
        "fork": made.fork,
        "positions": [
            asdict(one) | {"exact": not one.replays} for one in done.moved if one.offset is not None
        ],
        "dropped": {
            "states": [asdict(one) for one in done.dropped.states],
            "transactions": [
                {"transactional_id": one.transactional_id, "sink_uid": one.sink_uid, "word": words.get(one)}
                for one in made.listed
            ],
            "operators": [
                {"id": one, "operator": _label(made, one)} for one in done.dropped.operators
            ],
        },
        "replays": done.replays,
        "counted": done.counted,
        "kafka": made.said,
    }  # fmt: skip
