"""Reports found again, and read."""

from __future__ import annotations

import pytest

from tests.kit.objects import MemoryStore
from tests.unit.report import samples
from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput
from tidegate.report.read import earlier_gaps_s, find_report, list_reports, load_report
from tidegate.report.write import write_report

KEY = "reports/ledger/upgrade-ledger-7c1f/0199-run.json"


@pytest.fixture
async def store():
    store = MemoryStore("tidegate")
    await write_report(store, "tidegate", samples.done())
    await write_report(store, "tidegate", samples.undone(operation="upgrade-ledger-aa01"))
    await write_report(store, "tidegate", samples.done(deployment="billing", operation="upgrade-billing-1"))
    return store


async def test_the_list_is_of_one_deployment_or_of_all_the_newest_first(store):
    assert [info.uri.key for info in await list_reports(store, "tidegate", "ledger")] == [
        "reports/ledger/upgrade-ledger-aa01/0199-run.json",
        KEY,
    ]
    assert len(await list_reports(store, "tidegate")) == 3
    assert await list_reports(store, "tidegate", "led") == []


@pytest.mark.parametrize(
    "name",
    [
        "upgrade-ledger-7c1f",
        KEY,
        "reports/ledger/upgrade-ledger-7c1f/0199-run.html",
        "s3://tidegate/reports/ledger/upgrade-ledger-7c1f/0199-run.md",
    ],
)
async def test_a_report_is_found_by_operation_key_or_location(store, name):
    assert await find_report(store, "tidegate", name) == KEY


async def test_what_is_read_is_what_was_asked_to_be_written(store):
    stored = await load_report(store, "tidegate", KEY)
    assert stored.report == samples.done()
    assert stored.key_of("html") == "reports/ledger/upgrade-ledger-7c1f/0199-run.html"
    fact = await write_report(MemoryStore(), "tidegate", samples.done())
    assert stored.sha256 == fact.sha256


async def test_only_upgrades_that_were_done_tell_what_to_expect(store):
    (gap_s,) = await earlier_gaps_s(store, "tidegate", "ledger")
    done = samples.done()
    assert done.verdict is not None
    assert gap_s == done.verdict.gap_ms / 1000
    for number in range(8):
        await write_report(store, "tidegate", samples.done(operation=f"upgrade-ledger-{number}"))
    assert len(await earlier_gaps_s(store, "tidegate", "ledger")) == 6
    assert await earlier_gaps_s(store, "tidegate", "orders") == ()


async def test_what_is_not_there_is_named_with_what_is_near(store):
    with pytest.raises(InvalidInput, match=r"no report of an operation upgrade-ledger-7c1e.*upgrade-ledger-7c1f"):
        await find_report(store, "tidegate", "upgrade-ledger-7c1e")
    with pytest.raises(InvalidInput, match=r"no such report: s3://tidegate/reports/ledger/x.json"):
        await find_report(store, "tidegate", "reports/ledger/x.html")


async def test_one_operation_under_two_deployments_must_be_named_by_key(store):
    await write_report(store, "tidegate", samples.done(deployment="billing"))
    with pytest.raises(InvalidInput, match="has 2 reports") as raised:
        await find_report(store, "tidegate", "upgrade-ledger-7c1f")
    assert KEY in (raised.value.hint or "")


async def test_a_damaged_report_says_what_is_wrong(store):
    await store.put(S3Uri("tidegate", KEY), b'{"operation": "x"}')
    with pytest.raises(InvalidInput, match=r"no report that this version can read: \w+: Field required"):
        await load_report(store, "tidegate", KEY)


async def test_a_second_run_under_one_id_keeps_the_evidence_of_the_first(store):
    again = samples.done().model_copy(update={"run_id": "0200-run"})
    await write_report(store, "tidegate", again)

    found = await find_report(store, "tidegate", again.operation)

    assert found == "reports/ledger/upgrade-ledger-7c1f/0200-run.json"
    assert S3Uri("tidegate", KEY) in store.objects
