"""``tidegate ready``: could it be restored and moved now, and what stands against it?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from temporalio.client import Client

from tidegate.cli import operations, output, runbook
from tidegate.cli.options import FleetOption, OutputOption, WhoOption, read_fleet, who_asks
from tidegate.clients.objects import ObjectStore
from tidegate.errors import InvalidInput
from tidegate.model.fleet import Fleet
from tidegate.model.operation import Outcome
from tidegate.model.record import utc_now
from tidegate.model.review import OUTAGE_S, REVIEW_READINESS, Review, ReviewInput, Severity
from tidegate.readiness import render
from tidegate.readiness.facts import ScheduledDrill
from tidegate.readiness.gather import review_fleet
from tidegate.readiness.reach import PATIENCE_S, Reach
from tidegate.registry import artifacts
from tidegate.schedules.store import ScheduleStore
from tidegate.temporal.connect import connect
from tidegate.temporal.late import scheduled_drills
from tidegate.temporal.pollers import pollers

app = typer.Typer(add_completion=False, rich_markup_mode=None)
STYLES = {Severity.BREACH: "red", Severity.UNKNOWN: "yellow", Severity.WARNING: "yellow"}


@app.command(short_help="readiness: could it be restored and moved now, and what stands against it?")
def ready(
    deployment: Annotated[str | None, typer.Argument(help="a deployment; default: all of the fleet file")] = None,
    *,
    fail_under: Annotated[
        int,
        typer.Option(
            "--fail-under", metavar="N", min=0, max=100, help="exit with 7 if a score is below, for a pipeline"
        ),
    ] = 0,
    outage: Annotated[
        str, typer.Option("--outage", metavar="TIME", help="the outage of a region that topics must outlive: 24h")
    ] = f"{OUTAGE_S / 3600:g}h",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="write a page, with trends of what was measured")
    ] = None,
    md: Annotated[Path | None, typer.Option("--md", metavar="FILE", help="write it as Markdown")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="let a worker do it, with a report (ReviewReadiness); of one deployment")
    ] = False,
    no_follow: runbook.NoFollowOption = False,
    print_command: runbook.PrintOption = False,
    reason: runbook.ReasonOption = "",
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate ready ledger

    Ask both regions everything that a restore or a failover would need, and tell what stands against it: what, why it
    matters, and the command or the field that mends it. What does not answer is a finding, too. A score of 100 is a
    deployment without findings; each costs by its severity and the deployment's tier. Changes nothing, but for a small
    object that is written in each region's S3 and removed again. Exit code 7 if a score is below --fail-under, else 0.
    """
    loaded = read_fleet(fleet)
    outage_s = runbook.seconds(outage, "--outage")
    if record or print_command:
        return _recorded(loaded.fleet, deployment, outage_s, fail_under, who, reason, no_follow, print_command)
    names = [deployment] if deployment else list(loaded.fleet.deployments)
    if not names:
        raise InvalidInput("no deployment in the fleet file", hint="describe one under `deployments:`")
    found = asyncio.run(_review(loaded.fleet, names, outage_s, loaded.digest))
    if html is not None:
        _write(html, render.html(found, loaded.fleet))
    if md is not None:
        _write(md, render.markdown(found))
    if form is output.Format.JSON:
        output.answer(as_json(found, fail_under))
    else:
        for line in render.text(found):
            word = line.split("  ", 1)[0]
            output.say(line, style=next((style for of, style in STYLES.items() if of.value == word), None))
    below = [one.deployment for one in found.deployments if one.score < fail_under]
    if below:
        output.note(f"below {fail_under}: {', '.join(below)}")
    return Outcome.BAD_VERDICT.exit_code if below else 0


async def _review(fleet: Fleet, names: list[str], outage_s: float, digest: str) -> Review:
    for name in names:
        fleet.deployment(name)
    async with artifacts.open_access(fleet.control.s3, PATIENCE_S) as control:
        return await review_fleet(reach_of(fleet, control), names, outage_s, digest=digest)


def reach_of(fleet: Fleet, control: ObjectStore) -> Reach:
    """By the fleet file; Temporal as the other commands reach it."""
    client: Client | None = None
    turn = asyncio.Lock()

    async def connected() -> Client:
        nonlocal client
        async with turn:
            client = client or await connect()
        return client

    async def polled(queue: str) -> int:
        return await pollers(await connected(), queue)

    async def drills() -> tuple[ScheduledDrill, ...]:
        store = ScheduleStore(control, fleet.control.bucket, control_wait_s=PATIENCE_S)
        return await scheduled_drills(await connected(), store, fleet, utc_now())

    return Reach(fleet, control, fleet.control.bucket, polled, drills=drills)


def as_json(review: Review, fail_under: int) -> dict[str, object]:
    """For programs: the review, its scores, and whether it is good enough."""
    return {
        "score": review.score,
        "tiers": {str(tier): score for tier, score in review.tiers().items()},
        "fail_under": fail_under,
        "ok": all(one.score >= fail_under for one in review.deployments),
        **review.model_dump(mode="json"),
    }


def _recorded(
    fleet: Fleet,
    deployment: str | None,
    outage_s: float,
    fail_under: int,
    who: str | None,
    reason: str,
    no_follow: bool,
    print_command: bool,
) -> int:
    if deployment is None:
        raise InvalidInput("--record: of which deployment?", hint=f"known: {', '.join(fleet.deployments)}")
    fleet.deployment(deployment)
    request = ReviewInput(
        deployment=deployment,
        requested_by=who_asks(who),
        reason=reason,
        outage_s=outage_s,
        fail_under=fail_under,
    )
    operation = operations.operation_id("review", request, 0)
    if print_command:
        output.say(operations.plain_command(REVIEW_READINESS, request, operation))
        return 0
    return runbook.started(REVIEW_READINESS, request, operation, f"review {deployment}", no_follow=no_follow)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot write it: {error.strerror}") from error
    output.note(f"written: {path}")
