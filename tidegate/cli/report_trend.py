"""``tidegate report trend``: RTO, RPO and gap by week, in the terminal and as a page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output
from tidegate.cli.options import FleetOption, OutputOption, read_fleet
from tidegate.errors import InvalidInput
from tidegate.model.fleet import Fleet, Objectives
from tidegate.model.steps import ReportInput
from tidegate.registry import artifacts
from tidegate.report.read import deployment_of, list_reports, load_report
from tidegate.report.trend import MEASURES, Trend, since, spark, summary
from tidegate.report.trend import trend as trend_of
from tidegate.report.trend_html import HEAD, row, trend_html

_AT_ONCE = 8


def trend(
    deployment: Annotated[str | None, typer.Argument(help="one deployment; default all that have reports")] = None,
    *,
    weeks: Annotated[int, typer.Option("--weeks", min=1, max=520, help="how many weeks, this one included")] = 12,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write it as a page with pictures, too")
    ] = None,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate report trend ledger --weeks 12 --html trend.html

    RTO, RPO and gap by ISO week (UTC), median and worst, against the objectives of the fleet file. RTO and RPO are of
    failovers, restores and drills, the gap of all but unplanned failovers.
    """
    loaded, now = read_fleet(fleet).fleet, datetime.now(UTC)
    trends, notes = asyncio.run(_read(loaded, deployment, now, weeks))
    if html is not None:
        _write(html, trend_html(trends, now, notes))
    if form is output.Format.JSON:
        output.answer(
            {
                "trends": [one.model_dump(mode="json") for one in trends],
                "notes": notes,
                "html": str(html) if html else None,
            }
        )
        return
    for note in notes:
        output.note(f"note: {note}")
    if not trends:
        output.say(f"no reports of the last {weeks} weeks in s3://{loaded.control.bucket}/reports/")
    for number, one in enumerate(trends):
        if number:
            output.say()
        _say(one)
    if html is not None:
        output.say(f"\npage       {html}")


def _say(one: Trend) -> None:
    output.say(f"{one.deployment}, {one.weeks[0].week} to {one.weeks[-1].week}; each sign the worst of a week")
    for measure in MEASURES:
        output.say(f"  {measure.upper():<4} {spark(one, measure)}  {summary(one, measure)}")
    rows = [row(week) for week in one.weeks if week.operations]
    if rows:
        output.say(output.columns(rows, head=[word.upper() for word in HEAD], indent="  "))


async def _read(fleet: Fleet, deployment: str | None, now: datetime, weeks: int) -> tuple[list[Trend], list[str]]:
    """The trends, and what could not be counted. A report is written after its operation has ended, never before."""
    begin, bucket = since(now, weeks), fleet.control.bucket
    found: dict[str, list[ReportInput]] = {deployment: []} if deployment is not None else {}
    notes: list[str] = []
    async with artifacts.open_access(fleet.control.s3) as store:
        infos = [info for info in await list_reports(store, bucket, deployment) if info.last_modified >= begin]
        turn = asyncio.Semaphore(_AT_ONCE)

        async def load(key: str) -> None:
            async with turn:
                try:
                    report = (await load_report(store, bucket, key)).report
                except InvalidInput as error:
                    notes.append(f"not counted: {error.message}")
                else:
                    found.setdefault(deployment_of(key), []).append(report)

        await asyncio.gather(*(load(info.uri.key) for info in infos))
    if deployment is not None and not found[deployment] and deployment not in fleet.deployments:
        fleet.deployment(deployment)  # known neither here nor there: says which are
    return [
        trend_of(name, reports, _objectives(fleet, name), now, weeks) for name, reports in sorted(found.items())
    ], sorted(notes)


def _objectives(fleet: Fleet, name: str) -> Objectives:
    return fleet.deployments[name].objectives if name in fleet.deployments else Objectives()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"--html {path}: cannot write it: {error.strerror}"
        raise InvalidInput(msg, hint="name a file in a folder that is there and may be written") from error
