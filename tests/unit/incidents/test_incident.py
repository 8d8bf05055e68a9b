"""Incidents in the bucket: opened once, changed by compare-and-swap, and a mark that says which are open."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.kit.objects import MemoryStore
from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput, Unavailable
from tidegate.incidents.model import Incident, IncidentNote, Section, open_follow_ups
from tidegate.incidents.store import IncidentStore, incident_id

AT = datetime(2026, 3, 1, 3, 14, tzinfo=UTC)
BUCKET = "tidegate"


def incident(**changes) -> Incident:
    told = {
        "id": "20260301-east-does-not-answer",
        "title": "east does not answer",
        "severity": "sev1",
        "regions": ("east",),
        "began_at": AT - timedelta(minutes=20),
        "opened_at": AT,
        "opened_by": "ana",
    }
    return Incident.model_validate(told | changes)


def closed(one: Incident) -> Incident:
    return one.model_copy(update={"closed_at": AT + timedelta(hours=1), "closed_by": "bob"})


def marks(store: MemoryStore) -> list[str]:
    prefix = names.INCIDENTS_OPEN_PREFIX
    return sorted(uri.key.removeprefix(prefix) for uri in store.objects if uri.key.startswith(prefix))


def kept(store: MemoryStore) -> IncidentStore:
    return IncidentStore(store, BUCKET)


async def test_opened_twice_it_is_one_and_marked_once() -> None:
    store = MemoryStore()
    first = await kept(store).open(incident())
    again = await kept(store).open(incident(opened_by="bob", opened_at=AT + timedelta(minutes=1)))
    assert (first[1], again[1]) == (True, False)
    assert again[0] == first[0] == incident()
    assert marks(store) == [incident().id]
    mark = json.loads(store.objects[S3Uri(BUCKET, names.incident_open_key(incident().id))].body)
    assert (mark["severity"], mark["regions"]) == ("sev1", ["east"])


async def test_the_same_title_after_it_was_closed_is_another_incident() -> None:
    store = MemoryStore()
    await kept(store).open(incident())
    await kept(store).change(incident().id, closed)
    assert marks(store) == []
    second, new = await kept(store).open(incident(opened_at=AT + timedelta(hours=2)))
    assert (second.id, new) == (f"{incident().id}-2", True)
    assert marks(store) == [second.id]
    assert [one.id for one in await kept(store).all()] == [second.id, incident().id]


async def test_notes_of_two_people_at_once_are_both_kept() -> None:
    store = MemoryStore()
    await kept(store).open(incident())
    said = [IncidentNote(at=AT, who=f"p{n}", text="seen") for n in range(8)]
    await asyncio.gather(*(kept(store).change(incident().id, lambda one, n=n: one.with_note(n)) for n in said))  # type: ignore[misc]
    found = await kept(store).read(incident().id)
    assert sorted(note.who for note in found.notes) == [note.who for note in said]
    assert found.seq == 8


async def test_a_note_whose_answer_was_lost_stands_once() -> None:
    store = MemoryStore()
    await kept(store).open(incident())
    lost = iter([True])

    async def after(op: str, _: S3Uri) -> None:
        if op == "replace" and next(lost, False):
            raise Unavailable("the answer was lost")

    store.after = after
    note = IncidentNote(at=AT, who="ana", text="seen")
    found = await kept(store).change(incident().id, lambda one: one.with_note(note))
    assert found.notes == (note,)
    # And a person who does it again, not knowing, says nothing twice.
    later = note.model_copy(update={"at": AT + timedelta(minutes=1)})
    assert (await kept(store).change(incident().id, lambda one: one.with_note(later))).notes == (note,)


@pytest.mark.parametrize("dies_at", ["put", "delete"])
async def test_a_mark_that_was_left_behind_is_mended_by_the_next_command(dies_at: str) -> None:
    """Killed between the incident and its mark: opened without one, or closed with one."""
    store = MemoryStore()
    if dies_at == "delete":
        await kept(store).open(incident())

    async def before(op: str, _: S3Uri) -> None:
        if op == dies_at:
            raise KeyboardInterrupt

    store.before = before
    dying = kept(store).open(incident()) if dies_at == "put" else kept(store).change(incident().id, closed)
    with pytest.raises(KeyboardInterrupt):
        await dying
    wrong = [] if dies_at == "put" else [incident().id]
    assert marks(store) == wrong

    async def well(*_: object) -> None:
        pass

    store.before = well
    found = await kept(store).all()
    await kept(store).mend(found)
    assert marks(store) == [one.id for one in found if one.is_open]
    assert marks(store) != wrong


async def test_a_mark_without_an_incident_stops_no_drill_for_ever() -> None:
    store = MemoryStore()
    await store.put(S3Uri(BUCKET, names.incident_open_key("gone")), b"{}")
    await kept(store).mend(await kept(store).all())
    assert marks(store) == []


async def test_who_marks_while_another_closes_leaves_no_mark() -> None:
    store = MemoryStore()
    await kept(store).open(incident())
    once = iter([True])

    async def before(op: str, _: S3Uri) -> None:
        if op == "put" and next(once, False):
            store.before = _nothing
            await kept(store).change(incident().id, closed)

    store.before = before
    await kept(store).mark(incident().id)
    assert marks(store) == []


async def _nothing(*_: object) -> None:
    pass


async def test_an_unknown_one_is_said_with_what_is_near() -> None:
    store = MemoryStore()
    await kept(store).open(incident())
    with pytest.raises(InvalidInput, match="did you mean 20260301-east-does-not-answer"):
        await kept(store).read("20260301-east-does-not-anser")


@pytest.mark.parametrize(
    ("title", "id_"),
    [
        ("East does not answer!", "20260301-east-does-not-answer"),
        ("Zürich/2: 50 % weg", "20260301-zurich-2-50-weg"),
        ("a" * 200, f"20260301-{'a' * 40}"),
        ("日本", f"20260301-{names.derive_id('日本')[:8]}"),
    ],
)
def test_an_id_can_be_said_and_is_a_key(title: str, id_: str) -> None:
    assert incident_id(title, "20260301") == id_


def test_open_follow_ups_come_with_what_is_late_first_and_without_what_is_done() -> None:
    one = incident()
    for text, due in (("a", date(2026, 4, 1)), ("b", date(2026, 3, 5)), ("c", date(2026, 3, 6))):
        one = one.with_follow_up(text, "ana", due, by="bob", at=AT)
    done = one.with_done(3, by="ana", at=AT)
    assert done is not None
    assert done.with_done(3, by="eve", at=AT + timedelta(days=1)) == done
    assert done.with_done(9, by="ana", at=AT) is None
    found = open_follow_ups([closed(done), incident(id="other")], date(2026, 3, 10))
    assert [(one.text, one.overdue_days, one.incident) for one in found] == [
        ("b", 5, incident().id),
        ("a", 0, incident().id),
    ]
    assert found[0].command == f"tidegate incident follow-up {incident().id} --done 2"


def test_a_follow_up_again_is_the_same_with_its_new_date() -> None:
    one = incident().with_follow_up("a", "ana", date(2026, 4, 1), by="bob", at=AT)
    again = one.with_follow_up("a", "eve", date(2026, 5, 1), by="bob", at=AT)
    assert [(each.number, each.owner, each.due) for each in again.follow_ups] == [(1, "eve", date(2026, 5, 1))]


def test_an_incident_of_nobody_is_one_of_all() -> None:
    assert incident(regions=()).hits("any", "west")
    assert incident().hits("any", "east")
    assert not incident().hits("any", "west")
    assert incident(deployments=("ledger",)).hits("ledger", "west")
    assert Section("impact") is Section.IMPACT
