"""``tidegate schedules``: the schedules file against what Temporal holds; what ran, what is late, what is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from temporalio.client import Client

from tidegate.cli import output
from tidegate.cli.control import ControlUnreachable, open_control
from tidegate.cli.options import (
    DryRunOption,
    FleetOption,
    OutputOption,
    WhoOption,
    YesOption,
    confirm,
    read_fleet,
    who_asks,
)
from tidegate.cli.schedules_text import Standing, as_json, as_text, plan_json, plan_text
from tidegate.errors import Refused, TidegateError, Unavailable
from tidegate.model.fleet import Fleet
from tidegate.model.schedule import ScheduledInput, ScheduleLog
from tidegate.schedules.diff import Act, Found, Line, clock_notes, plan
from tidegate.schedules.file import SCHEDULES, LoadedSchedules, load_schedules
from tidegate.schedules.store import ScheduleStore
from tidegate.temporal import schedules
from tidegate.temporal.connect import connect
from tidegate.temporal.late import late
from tidegate.temporal.search_attributes import ensure_registered

EXIT_BREACH = 1
EXIT_CHANGES = 1

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="runbooks by the clock: plan, apply, list, pause, resume",
    rich_markup_mode=None,
    help="Example:  tidegate schedules list\n\nRunbooks by the clock: what the file wants, what is, what is late.",
)

FileOption = Annotated[Path, typer.Option("--file", help="the schedules file")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="an entry of the schedules file")]


@app.command("plan", short_help="what an apply would do")
def plan_(
    *,
    file: FileOption = SCHEDULES,
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="exit code 1 if anything differs from the file")
    ] = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate schedules plan

    What differs between the file and Temporal, field by field; "drift" is what somebody has changed by hand since the
    last apply. Changes nothing. Times that a change of the clocks takes away or brings twice are told.
    """
    loaded = load_schedules(file, read_fleet(fleet).fleet)
    lines, _ = asyncio.run(_planned(loaded))
    if form is output.Format.JSON:
        output.answer(plan_json(lines))
    else:
        output.say(plan_text(lines))
    differs = any(line.act is not Act.KEEP for line in lines)
    return EXIT_CHANGES if fail_on_change and differs else 0


@app.command("apply", short_help="make Temporal hold what the file wants")
def apply(
    *,
    file: FileOption = SCHEDULES,
    prune: Annotated[bool, typer.Option("--prune", help="delete ours that the file names no more")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate schedules apply --yes

    Create and change schedules until they are as in the file; applied twice, it changes nothing. What is paused stays
    paused. What the file names no more is told, and deleted only with --prune. What was not made by this command is
    never touched. If somebody else changes a schedule meanwhile, it is left as it is and the exit code is 4.
    """
    loaded = load_schedules(file, read_fleet(fleet).fleet)
    lines, found = asyncio.run(_planned(loaded))
    strangers = [line.name for line in lines if line.act is Act.STRANGER]
    if strangers:
        msg = f"not made by tidegate schedules, under the name of an entry: {', '.join(strangers)}; nothing was done"
        raise Refused(msg, hint="rename the entry, or delete it:  temporal schedule delete -s tidegate-NAME")
    todo = [line for line in lines if line.act in {Act.CREATE, Act.CHANGE} or (prune and line.act is Act.UNNAMED)]
    if form is output.Format.TEXT:
        output.say(plan_text(lines))
    if todo and not dry_run:
        gone = sum(line.act is Act.UNNAMED for line in todo)
        confirm(f"{len(todo) - gone} to create or change, {gone} to delete. Go on?", yes=yes)
        asyncio.run(_apply(todo, loaded.file.wanted(), found, f"applied by {who_asks(who)} from {loaded.source_name}"))
    done = [] if dry_run else todo
    if form is output.Format.JSON:
        output.answer({**plan_json(lines), "done": [line.name for line in done]})
    elif not dry_run:
        output.say(f"applied    {len(done)} of {len(lines)} changed" if done else "applied    nothing to change")
    return 0


@app.command("list", short_help="next times, last runs, what is paused and what is late")
def list_(
    *,
    fail_on_breach: Annotated[
        bool, typer.Option("--fail-on-breach", help="exit code 1 if one was missed or its last success is too old")
    ] = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate schedules list --fail-on-breach

    Each schedule of ours: when it fires next in its own time zone and in UTC, what became of its last run and why, if
    it is paused and why. A breach is a run that was missed or a last success that is older than max_age_days of the
    entry, or of a drill than objectives.drill_days of its deployment.
    """
    standing = asyncio.run(_standing(read_fleet(fleet).fleet, fleet))
    if form is output.Format.JSON:
        output.answer([as_json(one) for one in standing])
    else:
        output.say(as_text(standing) if standing else "no schedules; make some:  tidegate schedules apply")
    return EXIT_BREACH if fail_on_breach and any(one.breaches for one in standing) else 0


@app.command("pause", short_help="it fires no more until it is resumed")
def pause(
    name: Name,
    *,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="why; stands in the list")],
    who: WhoOption = None,
) -> None:
    """Example:  tidegate schedules pause sweep-ledger --why "audit week"

    It fires no more until it is resumed, not even after an apply. What runs goes on.
    """
    asyncio.run(_say(name, f"paused by {who_asks(who)}: {why}", resume_it=False))
    output.say(f"paused     {name}      go on:  tidegate schedules resume {name}")


@app.command("resume", short_help="it fires again, from its next time on")
def resume(
    name: Name,
    *,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="why; stands in the list")] = "",
    who: WhoOption = None,
) -> None:
    """Example:  tidegate schedules resume sweep-ledger

    It fires again, from its next time on: what was due while it was paused is not made up for.
    """
    asyncio.run(_say(name, f"resumed by {who_asks(who)}{f': {why}' if why else ''}", resume_it=True))
    output.say(f"resumed    {name}")


async def _say(name: str, note: str, *, resume_it: bool) -> None:
    client = await connect()
    await (schedules.resume if resume_it else schedules.pause)(client, name, note)


async def _planned(loaded: LoadedSchedules) -> tuple[list[Line], dict[str, Found]]:
    wanted = loaded.file.wanted()
    client = await connect()
    described = await schedules.look(client, wanted)
    found = {name: await schedules.found_of(client, one) for name, one in described.items()}
    now = datetime.now(UTC)
    notes = {name: clock_notes(asked.entry, now) for name, asked in wanted.items()}
    fields = {name: schedules.fields_of(asked) for name, asked in wanted.items()}
    return plan(fields, found, notes), found


async def _apply(todo: list[Line], wanted: Mapping[str, ScheduledInput], found: Mapping[str, Found], note: str) -> None:
    """One after the other; the first that is not as it was ends it, and the same command again does the rest."""
    client = await connect()
    await ensure_registered(client)
    for number, line in enumerate(todo):
        try:
            await _act(client, line, wanted, found, note)
        except TidegateError as error:
            done = ", ".join(one.name for one in todo[:number])
            error.message += f" (done before it: {done})" if done else " (nothing was done)"
            raise


async def _act(
    client: Client, line: Line, wanted: Mapping[str, ScheduledInput], found: Mapping[str, Found], note: str
) -> None:
    if line.act is Act.CREATE:
        await schedules.create(client, wanted[line.name], note)
    elif line.act is Act.CHANGE:
        await schedules.change(client, wanted[line.name], found[line.name].token, note)
    else:
        await schedules.delete(client, line.name, found[line.name].token)


async def _standing(fleet: Fleet, fleet_file: Path | None) -> list[Standing]:
    client = await connect()
    described = await schedules.look(client, ())
    logs = await _logs(fleet_file, list(described))
    now = datetime.now(UTC)
    standing: list[Standing] = []
    for name, one in sorted(described.items()):
        if not (await schedules.found_of(client, one)).ours:
            continue
        log = logs.get(name) if logs is not None else None
        info, state = one.info, one.schedule.state
        found = await late(client, one, log, fleet, now)
        standing.append(
            Standing(
                name=name,
                asked=found.asked,
                next_times=tuple(info.next_action_times[:3]) if not state.paused else (),
                paused=state.paused,
                note=state.note or "",
                running=bool(info.running_actions),
                missed=info.num_actions_missed_catchup_window,
                overlapped=info.num_actions_skipped_overlap,
                log=log,
                log_known=logs is not None,
                objective_days=found.days,
                breaches=found.breaches,
            )
        )
    return standing


async def _logs(fleet_file: Path | None, names: list[str]) -> dict[str, ScheduleLog | None] | None:
    """What became of their runs; None: the control bucket does not answer, and that is said."""
    try:
        async with open_control(fleet_file) as control:
            store = ScheduleStore(control.store, control.bucket, control_wait_s=1.0)
            return {name: await store.log(name) for name in names}
    except (Unavailable, ControlUnreachable) as error:
        output.note(f"what became of the last runs is not known: {error.message}")
        return None
