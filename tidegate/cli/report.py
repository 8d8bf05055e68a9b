"""``tidegate report``: the evidence that operations left in the control bucket."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli import output
from tidegate.cli.options import FleetOption, OutputOption, read_fleet
from tidegate.cli.report_trend import trend
from tidegate.cli.report_verify import verify
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import InvalidInput
from tidegate.model.fleet import Control
from tidegate.model.steps import ReportInput
from tidegate.registry import artifacts
from tidegate.report import words
from tidegate.report.markdown import markdown
from tidegate.report.read import StoredReport, deployment_of, find_report, list_reports, load_report, operation_of
from tidegate.report.timeline import pictures
from tidegate.report.view import page_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="the evidence that operations left",
    rich_markup_mode=None,
    help="Example:  tidegate report list ledger\n\nThe evidence that operations left.",
)

ReportName = Annotated[str, typer.Argument(metavar="OPERATION|KEY", help="the operation's id, or the report's key")]
_AT_ONCE = 8


@app.command("list", short_help="the newest reports")
def list_(
    deployment: Annotated[str | None, typer.Argument(help="one deployment; default all")] = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="how many, the newest first")] = 20,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> None:
    """Example:  tidegate report list ledger

    The newest reports: when, of which operation, how it ended, the verdict, the gap; of failovers the RTO, too.
    """
    control = read_fleet(fleet).fleet.control
    found, total = asyncio.run(_newest(control, deployment, limit))
    if form is output.Format.JSON:
        output.answer([_brief(one) for one in found])
        return
    if not found:
        output.say(f"no reports{f' of {deployment}' if deployment else ''} in s3://{control.bucket}/reports/")
        return
    head: tuple[str, ...] = ("ENDED", "DEPLOYMENT", "OPERATION", "OUTCOME", "VERDICT", "GAP")
    rows = [_row(one) for one in found]
    if any(not isinstance(one, tuple) and one.report.failover is not None for one in found):
        head, rows = (*head, "RTO"), [(*row, _rto(one)) for row, one in zip(rows, found, strict=True)]
    output.say(output.columns(rows, head=head))
    if total > len(found):
        output.note(f"{output.count(total - len(found))} older ones are not shown; add --limit {total}")


async def _newest(
    control: Control, deployment: str | None, limit: int
) -> tuple[list[StoredReport | tuple[str, str]], int]:
    async with artifacts.open_access(control.s3) as store:
        infos = await list_reports(store, control.bucket, deployment)
        turn = asyncio.Semaphore(_AT_ONCE)

        async def load(key: str) -> StoredReport | tuple[str, str]:
            async with turn:
                try:
                    return await load_report(store, control.bucket, key)
                except InvalidInput as error:
                    return key, error.message  # one that cannot be read must not hide the others

        return list(await asyncio.gather(*(load(info.uri.key) for info in infos[:limit]))), len(infos)


def _row(one: StoredReport | tuple[str, str]) -> tuple[str, ...]:
    if isinstance(one, tuple):
        key, wrong = one
        return ("?", deployment_of(key), operation_of(key), "unreadable", wrong, "")
    report = one.report
    verdict, gap = words.verdict_word(report.verdict), _gap_s(report)
    ended, told = output.utc(report.ended), output.duration(gap) if gap is not None else ""
    return (ended, report.deployment, report.operation, report.outcome.value, verdict, told)


def _gap_s(report: ReportInput) -> float | None:
    gap_ms = report.verdict.gap_ms if report.verdict else None
    return None if gap_ms is None else gap_ms / 1000


def _rto(one: StoredReport | tuple[str, str]) -> str:
    moved = None if isinstance(one, tuple) else one.report.failover
    if moved is None:
        return ""
    return "not measured" if moved.rto_s is None else output.duration(moved.rto_s)


def _brief(one: StoredReport | tuple[str, str]) -> dict[str, object]:
    if isinstance(one, tuple):
        return {"key": one[0], "error": one[1]}
    report = one.report
    return {
        "key": one.key,
        "sha256": one.sha256,
        "operation": report.operation,
        "deployment": report.deployment,
        "runbook": report.runbook,
        "outcome": report.outcome.value,
        "started": report.started.isoformat(),
        "ended": report.ended.isoformat(),
        "verdict": report.verdict.model_dump(mode="json", exclude={"rate"}) if report.verdict else None,
        "failover": report.failover.model_dump(mode="json") if report.failover else None,
    }


@app.command("show", short_help="one report as text")
def show(name: ReportName, *, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate report show upgrade-ledger-7c1f

    One report as Markdown. With -o json the very bytes that are stored, so that their sha256 can be checked.
    """
    control = read_fleet(fleet).fleet.control
    stored = asyncio.run(_load(control, name))
    if form is output.Format.JSON:
        sys.stdout.write(stored.body.decode())
        return
    report = stored.report
    output.say(markdown(page_of(report, stored.key, stored.sha256), pictures(report)).rstrip("\n"))


async def _load(control: Control, name: str) -> StoredReport:
    async with artifacts.open_access(control.s3) as store:
        return await load_report(store, control.bucket, await find_report(store, control.bucket, name))


@app.command("open", short_help="the page of one report, in a browser")
def open_(name: ReportName, *, fleet: FleetOption = None, form: OutputOption = output.Format.TEXT) -> None:
    """Example:  tidegate report open upgrade-ledger-7c1f

    Fetch the HTML page of a report, print where it lies now, and open it if there is a display.
    """
    control = read_fleet(fleet).fleet.control
    path = asyncio.run(_fetch(control, name))
    if form is output.Format.JSON:
        output.answer({"path": str(path), "url": path.as_uri()})
        return
    output.say(str(path))
    if has_display() and not webbrowser.open(path.as_uri()):
        output.note("no browser could be opened; open that file yourself")


async def _fetch(control: Control, name: str) -> Path:
    async with artifacts.open_access(control.s3) as store:
        key = await find_report(store, control.bucket, name)
        return await _page(store, S3Uri(control.bucket, f"{key.removesuffix('.json')}.html"))


async def _page(store: ObjectStore, uri: S3Uri) -> Path:
    """The page in the cache folder; its name keeps what is a file name in any system."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate" / "reports"
    path = folder / re.sub(r"[^A-Za-z0-9._-]+", "_", uri.key.removeprefix("reports/"))
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        await store.download_to(uri, path)
    except OSError as error:
        msg = f"{path}: cannot write it: {error.strerror}"
        raise InvalidInput(msg, hint="name another cache folder with XDG_CACHE_HOME") from error
    return path


app.command("verify", short_help="every report against the chain of hashes: altered, missing, inserted")(verify)
app.command("trend", short_help="RTO, RPO and gap by week: median and worst, against the objectives")(trend)


def has_display() -> bool:
    """Whether a browser could show anything here."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
