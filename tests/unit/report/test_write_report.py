"""The report as it lies in the control bucket: I8, O14, O16."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.report import samples, samples_failover
from tidegate.errors import Unavailable
from tidegate.model.operation import Outcome, StepState
from tidegate.model.steps import ReportInput
from tidegate.report.write import write_report

ENDINGS = {
    "done": samples.done,
    "undone": samples.undone,
    "bad-verdict": samples.bad_verdict,
    "halted-then-undone": samples.halted_then_undone,
    "failover": samples_failover.planned,
    "failover-unplanned": samples_failover.unplanned,
    "failover-undone": samples_failover.undone,
}
bare = {
    "outcome": Outcome.REFUSED,
    "observation": None,
    "plan": None,
    "approval": None,
    "steps": (),
    "switch": None,
    "prove": None,
    "verdict": None,
}


async def written(request: ReportInput, store: MemoryStore | None = None):
    store = store or MemoryStore("tidegate")
    fact = await write_report(store, "tidegate", request)
    bodies = {
        uri.key.rpartition(".")[2]: found.body.decode()
        for uri, found in store.objects.items()
        if uri.key.startswith("reports/")
    }
    return fact, bodies


class Page(HTMLParser):
    """Every element closed in order, every attribute that could reach outside collected."""

    VOID = frozenset({"meta", "line", "rect", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.outside: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.outside += [(name, value) for name, value in attrs if name in {"src", "href", "srcset", "action"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_i8_done_twice_it_writes_the_same_bytes(ending):
    first_fact, first = await written(ENDINGS[ending]())
    second_fact, second = await written(ENDINGS[ending]())
    assert (first_fact, first) == (second_fact, second)
    assert set(first) == {"json", "md", "html"}


async def test_the_json_is_the_request_and_its_digest_stands_in_the_others():
    fact, bodies = await written(samples.undone())
    assert fact.key == "reports/ledger/upgrade-ledger-7c1f/0199-run.json"
    assert fact.html_key == "reports/ledger/upgrade-ledger-7c1f/0199-run.html"
    assert fact.sha256 == hashlib.sha256(bodies["json"].encode()).hexdigest()
    assert ReportInput.model_validate_json(bodies["json"]) == samples.undone()
    assert fact.sha256 in bodies["md"]
    assert fact.sha256 in bodies["html"]


async def test_a_write_that_was_cut_in_half_is_mended_by_the_next():
    store = MemoryStore("tidegate")
    puts = 0

    async def cut(op, _uri):
        nonlocal puts
        puts += op == "create"
        if puts == 2:
            raise Unavailable("away")

    store.before = cut
    with pytest.raises(Unavailable):
        await written(samples.done(), store)
    assert [uri.key for uri in store.objects] == ["reports/ledger/upgrade-ledger-7c1f/0199-run.json"]
    _, bodies = await written(samples.done(), store)
    assert (await written(samples.done()))[1] == bodies


@pytest.mark.parametrize("request_", [*(make() for make in ENDINGS.values()), samples.done(**bare)])
async def test_the_page_is_whole_and_reaches_for_nothing(request_):
    _, bodies = await written(request_)
    page = Page()
    page.feed(bodies["html"])
    page.close()
    assert page.open == []
    assert page.outside == []
    assert not {"script", "link", "img", "iframe", "object"} & page.tags
    assert len(page.ids) == len(set(page.ids))
    assert "url(" not in bodies["html"]
    assert "@import" not in bodies["html"]


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("done", "ledger v1 → v2: done · verdict 0/0/0 · gap 2.08 s"),
        ("undone", "ledger v1 → v2: undone · verdict 0/0/0 · 12,848 replayed by manifest · gap 5.21 s"),
        ("bad-verdict", "ledger v1 → v2: runs, with a bad verdict 0/0/1,204 and 2 unexpected · gap 2.08 s"),
        ("halted-then-undone", "ledger v1 → v2: undone · values not audited"),
        (
            "failover",
            (
                "ledger v1 east → west: done · planned, old job stopped · verdict 0/0/0 · gap 6.04 s · "
                "RTO 14.1 s (objective 60 s) · RPO 0"
            ),
        ),
        (
            "failover-unplanned",
            (
                "ledger v1 east → west: done · unplanned, old job superseded · verdict 0/0/0 · gap 29.2 s · "
                "RTO 28.4 s, from detection 1 min 11 s (objective 60 s, missed) · RPO 0.80 s · 1,204 superseded"
            ),
        ),
        ("failover-undone", "ledger v1 east → west: undone · verdict 0/0/0 · gap 6.04 s"),
    ],
)
async def test_what_and_verdict_stand_in_the_first_line(ending, said):
    _, bodies = await written(ENDINGS[ending]())
    assert f"<h1>{said}</h1>" in bodies["html"]
    assert bodies["md"].startswith(f"# {said}\n")


async def test_all_that_was_not_refused_by_a_reader_is_escaped():
    evil = '<script>alert("x")</script> | `a` <b>'
    bare_step = samples.step(1, evil, 0, 1, evil, StepState.FAILED)
    request = samples.done(why=evil, reason=evil, break_glass=evil, steps=(bare_step,), commands=(evil,))
    _, bodies = await written(request)
    assert "<script" not in bodies["html"]
    assert "<b>" not in bodies["html"]
    rows = [line for line in bodies["md"].split("\n") if line.startswith("|") and "alert" in line]
    assert rows
    for line in rows:
        assert "<script" not in line.replace("\\<script", "")
    happened = next(line for line in rows if "failed" in line)
    assert len(re.findall(r"(?<!\\)\|", happened)) == 7


@pytest.mark.parametrize("form", ["md", "html"])
async def test_both_forms_have_the_same_facts(form):
    _, bodies = await written(samples.undone())
    text = bodies[form]
    for fact in (
        samples.OLD_JOB,
        samples.NEW_JOB,
        samples.BACK_JOB,
        samples.SAVEPOINT,
        samples.V1.sha256,
        samples.V2.sha256,
        samples.FLEET,
        samples.plan().hash,
        "claimed by ana",
        "claimed by ben",
        "manifests/ledger/c3c3.json",
        "49,377",
        "3,258",
        "replayed 12,848, as announced",
        "not in the plan",
        "tidegate rehearse ledger --to v2",
        "tidegate upgrade ledger --to v2",
        "Expected gap: 2.10 s. Measured: 5.21 s.",
        "56,991",
    ):
        assert fact.capitalize() in text or fact in text, fact


async def test_o14_break_glass_and_take_over_stand_out():
    _, bodies = await written(samples.bad_verdict(take_over=samples.halted_then_undone().take_over))
    alerts = bodies["html"].split('<ul class="alerts">')[1].split("</ul>")[0]
    assert "Break-glass: went on without the approval that is required: approver asleep" in alerts
    assert "Take-over" in alerts
    assert "> **Break-glass" in bodies["md"]
    assert "tidegate upgrade ledger --to v1" in bodies["html"]


async def test_a_bad_verdict_on_top_of_an_undo_offers_no_second_undo():
    verdict = samples.undone().verdict.model_copy(update={"lost": 3})
    _, bodies = await written(samples.undone(outcome=Outcome.BAD_VERDICT, verdict=verdict))
    assert bodies["md"].startswith("# ledger v1 → v2: undone, with a bad verdict 3/0/0 · ")
    assert "upgrade ledger --to v1" not in bodies["md"]
    assert "3 input records lost" in bodies["md"]


async def test_replays_that_differ_from_the_announcement_are_not_called_as_announced():
    verdict = samples.undone().verdict.model_copy(update={"replayed": 12_850})
    _, bodies = await written(samples.undone(verdict=verdict))
    assert "as announced" not in bodies["html"]
    assert "replayed 12,850, announced by this operation 12,848" in bodies["html"]


async def test_a_planned_step_that_was_never_reached_says_so():
    _, bodies = await written(samples.done(steps=samples.done().steps[:5], outcome=Outcome.SUPERSEDED))
    assert [line.split(" | ")[3] for line in bodies["md"].split("\n") if "not reached" in line] == ["not reached"] * 3
