"""``tidegate notices``: who is told of events, whether that works, and what became of what was told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

import typer

from tidegate import names
from tidegate.cli import output, runbook
from tidegate.cli.options import FleetOption, OutputOption, WhoOption, read_fleet, who_asks
from tidegate.errors import InvalidInput
from tidegate.model.fleet import Fleet, NoticeTarget
from tidegate.model.nearest import did_you_mean
from tidegate.model.notice import Event, Notice, NotifyFact, Sent, Severity
from tidegate.model.record import utc_now
from tidegate.notices.formats import headline
from tidegate.notices.send import send
from tidegate.notices.sink import Got, Sink
from tidegate.notices.store import NoticeStore
from tidegate.registry import artifacts

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    short_help="who is told of events, and what became of it",
    rich_markup_mode=None,
    help="Example:  tidegate notices test\n\nWho is told of events (notices in the fleet file), and what became of it.",
)


@app.command("test", short_help="send a test notice, and say what came back")
def send_test(
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help="one target; default all")] = None,
    *,
    over: Annotated[
        bool, typer.Option("--over", help="say that the test is over: PagerDuty resolves its alert")
    ] = False,
    fleet: FleetOption = None,
    who: WhoOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate notices test oncall

    Send a test notice to the targets of the fleet file and print what each answered. Exit code 1 if one was not
    reached. PagerDuty opens an alert for it, of severity info; --over resolves it.
    """
    targets = _targets(read_fleet(fleet).fleet, target)
    now = utc_now()
    by = who_asks(who)
    notice = Notice(
        id=names.derive_id("notices test", by, now.isoformat(), over),
        event=Event.TEST,
        over=over,
        severity=Severity.INFO,
        title=f"test notice, sent by {by}",
        detail="Nothing has happened. Who reads this would be told of events.",
        subject="test",
        requested_by=by,
        at=now,
        commands=("tidegate notices list",),
    )
    sent = asyncio.run(send(targets, notice))
    if form is output.Format.JSON:
        output.answer([one.model_dump(mode="json") for one in sent])
    else:
        output.say(output.columns([_row(one) for one in sent], head=_HEAD))
    return 1 if any(one.problem is not None for one in sent) else 0


_HEAD = ("TARGET", "KIND", "REACHED", "TRIES", "ANSWER")


def _targets(fleet: Fleet, name: str | None) -> tuple[NoticeTarget, ...]:
    found = tuple(target for target in fleet.notices if name in {None, target.name})
    if found:
        return found
    if not fleet.notices:
        raise InvalidInput("the fleet file names nobody to be told", hint="add notices: to it; runbooks/incident.md")
    known = [target.name for target in fleet.notices]
    raise InvalidInput(f"no such target: {name}{did_you_mean(name or '', known)}", hint=f"known: {', '.join(known)}")


def _row(sent: Sent) -> tuple[str, ...]:
    reached = "yes" if sent.problem is None else "NO"
    answer = sent.problem or f"{sent.status} {sent.answer}".rstrip()
    return (sent.target, sent.kind, reached, str(sent.attempts), answer)


@app.command("list", short_help="what was told, and who was not reached")
def list_(
    *,
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="how far back: 90m, 24h")] = "24h",
    undelivered: Annotated[bool, typer.Option("--undelivered", help="only those that somebody did not get")] = False,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate notices list --since 24h

    Notices that were sent, oldest first, and who was not reached. Exit code 1 if somebody was not.
    """
    begun = utc_now() - timedelta(seconds=runbook.seconds(since, "--since"))
    loaded = read_fleet(fleet).fleet

    async def read() -> list[NotifyFact]:
        async with artifacts.open_access(loaded.control.s3) as store:
            return await NoticeStore(store, loaded.control.bucket).between(begun)

    facts = [fact for fact in asyncio.run(read()) if fact.problems or not undelivered]
    if form is output.Format.JSON:
        output.answer([fact.model_dump(mode="json") for fact in facts])
    elif not facts:
        output.say(f"nothing {'undelivered' if undelivered else 'was told'} in the last {since}")
    else:
        output.say(output.columns([_told(fact) for fact in facts], head=("AT", "WHAT", "TOLD", "NOT REACHED")))
    return 1 if any(fact.problems for fact in facts) else 0


def _told(fact: NotifyFact) -> tuple[str, ...]:
    told = ", ".join(one.target for one in fact.sent if one.problem is None)
    return (output.utc(fact.notice.at), headline(fact.notice), told, "; ".join(fact.problems))


@app.command("sink", short_help="a receiver on this machine, to see what would be told")
def sink(
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="on loopback; 0: any free one")] = 8_099,
    count: Annotated[int, typer.Option("--count", min=0, help="end after so many requests; 0: on Ctrl-C")] = 0,
    fleet: FleetOption = None,
    form: OutputOption = output.Format.TEXT,
) -> int:
    """Example:  tidegate notices sink --port 8099

    Listen on loopback, print each notice, and check it as its real receiver would: the signature at any path, Slack's
    format at /slack, PagerDuty's at /pagerduty. Secrets are those of the fleet file's webhooks. Exit code 1 if
    something came that the real one would not have taken.
    """
    loaded = read_fleet(fleet).fleet
    done = threading.Event()

    def said(got: Got) -> None:
        if form is output.Format.JSON:
            output.answer({"kind": got.kind, "status": got.status, "signed": got.signed, "key": got.key,
                           "again": got.again, "text": got.text, "body": _without_key(got.body)})  # fmt: skip
        else:
            output.say(got.line)
        if count and len(listening.got) >= count:
            done.set()

    listening = Sink(secrets=_secrets(loaded), port=port, said=said)
    try:
        with listening:
            output.note(f"listens on {listening.url('')}; Ctrl-C ends it")
            done.wait()
    except OSError as error:
        raise InvalidInput(f"--port {port}: {error.strerror}", hint="name another one, or 0 for any") from error
    except KeyboardInterrupt:
        output.note(f"{len(listening.got)} came")
    return 1 if any(got.status >= 400 for got in listening.got) else 0


def _secrets(fleet: Fleet) -> Mapping[str, str]:
    """What requests are signed with. One that this process cannot read is said; the others can be checked."""
    found: dict[str, str] = {}
    signing = [(target.name, target.secret) for target in fleet.notices if target.secret is not None]
    signing += [(f"announce[{number}]", one.secret) for number, one in enumerate(fleet.announce)]
    for name, secret in signing:
        try:
            found[name] = secret.resolve()
        except InvalidInput as error:
            output.note(f"signatures of {name} cannot be checked: {error.message}")
    return found


def _without_key(body: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if name != "routing_key"}
