"""The chain of reports (I8): who writes it dies, is doubled or comes late; who spoils it is named."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.objects import MemoryStore
from tests.unit.report import samples
from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput, Unavailable
from tidegate.model.operation import Outcome
from tidegate.report.link import NO_LINK, digest, read_head, read_link
from tidegate.report.verify import FaultKind, Verified, against, deployments_of, verify
from tidegate.report.write import canonical, write_report

BUCKET = "tidegate"
HEAD = "chain/ledger/head.json"


def link_key(number):
    return f"chain/ledger/{number:08d}.json"


def report_key(name, suffix="json"):
    return f"reports/ledger/{name}/0199-run.{suffix}"


def at(key):
    return S3Uri(BUCKET, key)


def request(name, **changes):
    return samples.done(operation=name, **changes)


async def chained(*operations, store=None):
    store = store or MemoryStore(BUCKET)
    for name in operations:
        await write_report(store, BUCKET, request(name))
    return store


async def told(store) -> Verified:
    return await verify(store, BUCKET, "ledger")


def faults(verified):
    return {(fault.kind, fault.object.removeprefix(f"s3://{BUCKET}/")) for fault in verified.faults}


def change(store, key, old=b'"', new=b"'"):
    """Alter a byte."""
    found = store.objects[at(key)]
    assert old in found.body
    store._store(at(key), found.body.replace(old, new, 1), None)


def body_of(store, key):
    return store.objects[at(key)].body


async def test_i8_every_report_has_a_link_that_names_its_bytes_and_the_link_before():
    store = await chained("u1", "u2")
    links = [read_link(body_of(store, link_key(number))) for number in (1, 2, 3)]
    assert [link.kind for link in links] == ["begun", "report", "report"]
    assert [link.prev for link in links] == [NO_LINK, *(digest(body_of(store, link_key(n))) for n in (1, 2))]
    assert (links[1].operation, links[1].runbook, links[1].outcome, links[1].verdict) == (
        "u1",
        "UpgradeDeployment",
        "done",
        "0/0/0",
    )
    assert [form.key for form in links[2].forms] == [report_key("u2", suffix) for suffix in ("json", "md", "html")]
    for form in links[2].forms:
        assert (form.sha256, form.size) == (digest(body_of(store, form.key)), len(body_of(store, form.key)))
    verified = await told(store)
    assert verified.whole
    assert (verified.reports, verified.before, verified.links, verified.head_number) == (2, 0, 3, 3)
    assert verified.head == digest(body_of(store, link_key(3))) == read_head(body_of(store, HEAD)).hash


async def test_i4_written_twice_it_has_one_link():
    store = await chained("u1", "u2")
    before = dict(store.objects)
    await chained("u1", "u2", "u1", store=store)
    assert store.objects == before


@pytest.mark.parametrize("suffix", ["json", "md", "html"])
async def test_i8_a_report_altered_by_one_byte_is_named(suffix):
    store = await chained("u1", "u2", "u3")
    change(store, report_key("u2", suffix), b"e", b"a")
    assert faults(await told(store)) == {(FaultKind.ALTERED, report_key("u2", suffix))}


@pytest.mark.parametrize("name", ["u1", "u3"])
async def test_i8_a_deleted_report_is_named_the_last_one_too(name):
    store = await chained("u1", "u2", "u3")
    await store.delete(at(report_key(name)))
    assert faults(await told(store)) == {(FaultKind.MISSING, report_key(name))}


async def test_i8_the_last_report_deleted_with_its_link_is_missed():
    store = await chained("u1", "u2", "u3")
    for key in (link_key(4), *(report_key("u3", suffix) for suffix in ("json", "md", "html"))):
        await store.delete(at(key))
    assert faults(await told(store)) == {(FaultKind.MISSING, link_key(4))}


async def test_i8_an_inserted_report_is_named():
    store = await chained("u1", "u2")
    other = await chained("forged")
    store.objects[at(report_key("forged"))] = other.objects[at(report_key("forged"))]
    store._store(at("reports/ledger/u1/note.txt"), b"trust me", None)
    assert faults(await told(store)) == {
        (FaultKind.INSERTED, report_key("forged")),
        (FaultKind.INSERTED, "reports/ledger/u1/note.txt"),
    }


async def test_i8_an_altered_link_is_named_and_its_report_still_checked():
    store = await chained("u1", "u2", "u3")
    change(store, link_key(3), b'"done"', b'"gone"')
    assert faults(await told(store)) == {(FaultKind.ALTERED, link_key(3))}
    change(store, report_key("u2"))
    assert faults(await told(store)) == {
        (FaultKind.ALTERED, link_key(3)),
        (FaultKind.ALTERED, report_key("u2")),
    }


async def test_i8_a_report_forged_together_with_its_link_shows_by_the_link():
    store = await chained("u1", "u2", "u3")
    change(store, report_key("u1"), b'"lost": 0', b'"lost": 7')
    forged = digest(body_of(store, report_key("u1")))
    old = read_link(body_of(store, link_key(2))).forms[0].sha256
    change(store, link_key(2), old.encode(), forged.encode())
    assert faults(await told(store)) == {(FaultKind.ALTERED, link_key(2))}


async def test_i8_a_missing_link_is_named_with_the_report_that_it_covered():
    store = await chained("u1", "u2", "u3")
    await store.delete(at(link_key(3)))
    found = faults(await told(store))
    assert (FaultKind.MISSING, link_key(3)) in found
    assert {key for kind, key in found if kind is FaultKind.INSERTED} == {
        report_key("u2", suffix) for suffix in ("json", "md", "html")
    }
    assert len(found) == 4


async def test_i8_links_that_changed_places_are_named():
    store = await chained("u1", "u2", "u3")
    one, two = store.objects[at(link_key(2))], store.objects[at(link_key(3))]
    store.objects[at(link_key(2))], store.objects[at(link_key(3))] = two, one
    assert faults(await told(store)) == {(FaultKind.REORDERED, link_key(2)), (FaultKind.REORDERED, link_key(3))}


async def test_i8_a_chain_written_anew_shows_only_against_a_head_that_was_written_down():
    honest = await chained("u1", "u2", "u3")
    written_down = (await told(honest)).head
    forged = MemoryStore(BUCKET)
    for name, lost in (("u1", 0), ("u2", 0), ("u3", 3)):
        verdict = samples.done().verdict.model_copy(update={"lost": 3 - lost})
        await write_report(forged, BUCKET, request(name, verdict=verdict))
    rewritten = await told(forged)
    assert rewritten.whole
    assert against([rewritten], [written_down]) == [(written_down, None, 0)]
    await chained("u4", store=honest)
    later = await told(honest)
    assert against([rewritten, later], [written_down, written_down[:12].upper()]) == [
        (written_down, later, 4),
        (written_down[:12], later, 4),
    ]
    for bad in ("abc", "x" * 64, "a" * 65):
        with pytest.raises(InvalidInput, match="no head"):
            against([later], [bad])


async def test_i8_a_deleted_head_is_told_and_the_next_link_says_it_for_good():
    store = await chained("u1", "u2")
    await store.delete(at(HEAD))
    assert faults(await told(store)) == {(FaultKind.MISSING, HEAD)}
    await chained("u3", store=store)
    verified = await told(store)
    assert verified.whole
    assert verified.notes == ("link 4 says: the head was missing: gone on from link 3",)


async def test_i8_a_head_that_cannot_be_read_keeps_no_report_from_being_written():
    store = await chained("u1", "u2")
    store._store(at(HEAD), b"{", None)
    assert faults(await told(store)) == {(FaultKind.ALTERED, HEAD)}
    await chained("u3", store=store)
    verified = await told(store)
    assert verified.whole
    assert re.search(r"link 4 says: the head could not be read \(sha256 \w+\): gone on from link 3", verified.notes[0])


@pytest.mark.parametrize("spoilt", [None, b"{"])
async def test_i8_a_head_spoilt_in_the_very_moment_keeps_no_report_from_being_written(spoilt):
    store = await chained("u1")

    async def spoil(op, uri):
        if op == "replace" and uri.key == HEAD:
            store.before = MemoryStore().before
            if spoilt is None:
                await store.delete(uri)
            else:
                store._store(uri, spoilt, None)

    store.before = spoil
    await chained("u2", "u3", store=store)
    verified = await told(store)
    assert verified.whole, verified.faults
    assert verified.reports == 3
    assert "link 4 says: the head" in verified.notes[0]


async def test_i8_something_planted_where_the_next_link_belongs_is_stepped_over_and_named():
    store = await chained("u1")
    store._store(at(link_key(3)), b"{}", None)
    await chained("u2", "u3", store=store)
    verified = await told(store)
    assert faults(verified) == {(FaultKind.INSERTED, link_key(3))}
    assert verified.notes == ("link 4 says: chain/ledger/00000003.json is not of this chain",)
    assert verified.reports == 3


async def test_i8_what_was_there_before_the_chain_is_no_fault_and_kept_from_then_on():
    store = MemoryStore(BUCKET)
    store._store(at(report_key("old")), canonical(request("old")), None)
    store._store(at(report_key("old", "html")), b"<!doctype html>", None)
    verified = await told(store)
    assert verified.whole
    assert verified.head is None
    assert "no chain yet: 1 reports of before" in verified.notes[0]
    await chained("u1", store=store)
    verified = await told(store)
    assert verified.whole
    assert (verified.reports, verified.before) == (1, 1)
    change(store, report_key("old"))
    await store.delete(at(report_key("old", "html")))
    assert faults(await told(store)) == {
        (FaultKind.ALTERED, report_key("old")),
        (FaultKind.MISSING, report_key("old", "html")),
    }


class Died(Exception):
    """The process is gone."""


async def calls_of(name, store):
    before = len(store.calls)
    await write_report(store, BUCKET, request(name))
    return len(store.calls) - before


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("earlier", [0, 2])
async def test_i4_killed_at_any_call_the_retry_ends_with_one_link_a_report(earlier, answered):
    """Before the call is applied, and after it but before its answer."""
    names = [f"u{n}" for n in range(earlier)]
    for fatal in range(1, 1 + await calls_of("last", await chained(*names))):
        store = await chained(*names)
        count = 0

        async def kill(_op, _uri, fatal=fatal):
            nonlocal count
            count += 1
            if count == fatal:
                raise Died

        setattr(store, "after" if answered else "before", kill)
        with pytest.raises(Died):
            await write_report(store, BUCKET, request("last"))
        setattr(store, "after" if answered else "before", MemoryStore().before)
        await write_report(store, BUCKET, request("last"))
        verified = await told(store)
        assert verified.whole, (fatal, verified.faults)
        assert (verified.reports, verified.links) == (earlier + 1, earlier + 2), fatal
        assert store.objects.keys() == (await chained(*names, "last")).objects.keys()


@pytest.mark.parametrize("fatal", ["create chain", "swap"])
async def test_i8_killed_between_report_and_head_it_is_told_apart_and_the_next_operation_goes_on(fatal):
    store = await chained("u1")

    async def kill(op, uri):
        if uri.key.startswith("chain/") and op == ("create" if fatal == "create chain" else "replace"):
            raise Died

    store.before = kill
    with pytest.raises(Died):
        await write_report(store, BUCKET, request("u2"))
    store.before = MemoryStore().before
    verified = await told(store)
    if fatal == "swap":
        assert verified.whole
        assert verified.notes == ("link 3 is not in the head yet: the next report will put it there",)
    else:
        assert {kind for kind, _ in faults(verified)} == {FaultKind.INSERTED}
        assert "verify again" in verified.faults[0].why
    await chained("u3", store=store)
    assert (await told(store)).reports == (3 if fatal == "swap" else 2)
    await chained("u2", store=store)
    verified = await told(store)
    assert verified.whole
    assert verified.reports == 3


@pytest.mark.parametrize("other", [Outcome.SUPERSEDED, Outcome.DONE])
async def test_i8_a_run_that_reports_again_and_says_something_else_keeps_what_it_said_first(other):
    store = await chained("u1")
    fact = await write_report(store, BUCKET, request("u1", outcome=other, ended=samples.at(99)))
    assert fact.key == "reports/ledger/u1/0199-run-2.json"
    assert fact.html_key == "reports/ledger/u1/0199-run-2.html"
    assert body_of(store, report_key("u1")) == canonical(request("u1"))
    again = await write_report(store, BUCKET, request("u1", outcome=other, ended=samples.at(99)))
    assert again == fact
    # A late attempt of the first one changes nothing either.
    await write_report(store, BUCKET, request("u1"))
    verified = await told(store)
    assert verified.whole
    assert (verified.reports, verified.links) == (2, 3)


async def test_i8_what_a_dead_attempt_wrote_and_did_not_link_is_adopted():
    store = MemoryStore(BUCKET)
    await store.create(at(report_key("u1")), canonical(request("u1")))
    await write_report(store, BUCKET, request("u1", outcome=Outcome.SUPERSEDED))
    verified = await told(store)
    assert verified.whole
    assert (verified.reports, verified.before) == (2, 0)
    assert verified.notes == ("link 2 says: linked when the next report of its run was written",)


async def test_i8_what_lies_in_a_reports_place_and_is_none_is_kept_and_said():
    store = MemoryStore(BUCKET)
    await store.create(at(report_key("u1")), b"{}")
    await write_report(store, BUCKET, request("u1"))
    verified = await told(store)
    assert verified.whole
    assert body_of(store, report_key("u1")) == b"{}"
    assert verified.notes == (
        "link 2 says: linked when the next report of its run was written; its JSON cannot be read",
    )


async def test_i8_a_report_altered_before_its_run_reports_again_stays_altered():
    store = await chained("u1")
    change(store, report_key("u1"), b'"lost": 0', b'"lost": 7')
    await write_report(store, BUCKET, request("u1", outcome=Outcome.SUPERSEDED))
    assert (FaultKind.ALTERED, report_key("u1")) in faults(await told(store))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_i5_any_number_of_writers_at_once_make_one_chain_with_a_link_for_each(writers, chance):
    """Some write the same report: attempts of one activity. Each call may be overtaken by any other."""

    async def run():
        store = MemoryStore(BUCKET)

        async def yields(_op, _uri):
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

        store.before = store.after = yields
        await asyncio.gather(*(write_report(store, BUCKET, request(f"u{n}")) for n in writers))
        return await told(store)

    verified = asyncio.run(run())
    assert verified.whole, verified.faults
    assert (verified.reports, verified.before) == (len(set(writers)), 0)
    numbers = [number for number, _ in verified.hashes]
    assert numbers == list(range(1, len(numbers) + 1))


_FOUR = {}


async def four_reports():
    """Rendered once: an example then costs no more than its verification."""
    if not _FOUR:
        _FOUR.update((await chained("u1", "u2", "u3", "u4")).objects)
    return _FOUR


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_i8_whatever_one_object_becomes_it_is_named(data):
    """Any one object of reports or chain: a byte of it altered, or all of it gone; or any new one among them."""

    async def run():
        store = MemoryStore(BUCKET)
        store.objects = dict(await four_reports())
        key = data.draw(st.sampled_from(sorted(uri.key for uri in store.objects)))
        act = data.draw(st.sampled_from(["alter", "delete", "insert"]))
        if act == "delete":
            await store.delete(at(key))
        elif act == "insert":
            key = f"{key}.new"
            store._store(at(key), b"new", None)
        else:
            body = bytearray(body_of(store, key))
            place = data.draw(st.integers(0, len(body) - 1))
            body[place] ^= data.draw(st.integers(1, 255))
            store._store(at(key), bytes(body), None)
        verified = await told(store)
        if act == "alter" and key == HEAD:
            # Only what decides is proven: number and hash. The rest of the head is of no consequence.
            changed = read_head(bytes(body))
            last = (verified.head_number, verified.head)
            assert not verified.whole or (changed is not None and (changed.number, changed.hash) == last)
            return
        assert key in {name for _, name in faults(verified)}, (act, key, verified.faults)

    asyncio.run(run())


async def test_the_bucket_away_is_no_verdict():
    store = await chained("u1")

    async def away(_op, _uri):
        raise Unavailable("away")

    store.before = away
    with pytest.raises(Unavailable):
        await told(store)


async def test_a_deployment_whose_reports_are_all_gone_is_still_known():
    store = await chained("u1")
    for uri in [uri for uri in store.objects if uri.key.startswith("reports/")]:
        await store.delete(uri)
    assert await deployments_of(store, BUCKET) == (["ledger"], ())
    assert len((await told(store)).faults) == 3
