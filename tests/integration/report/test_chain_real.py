"""The chain of reports on a real S3 (SeaweedFS): its create-only and its compare-and-swap, not those of a fake."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kit.weed import ACCESS, BUCKET, SECRET, running_weed
from tests.unit.fleet.test_fleetfile import SMALL
from tests.unit.report import samples
from tidegate import names
from tidegate.cli.main import run
from tidegate.clients.s3 import S3Store, S3Uri, open_store
from tidegate.report.verify import FaultKind, against, deployments_of, verify
from tidegate.report.write import write_report

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def store() -> AsyncIterator[S3Store]:
    with running_weed() as endpoint:
        async with open_store(endpoint, ACCESS, SECRET) as opened:
            yield opened


def key(name: str, suffix: str = "json") -> str:
    return f"reports/ledger/{name}/0199-run.{suffix}"


async def faults(store: S3Store) -> set[tuple[FaultKind, str]]:
    found = await verify(store, BUCKET, "ledger")
    return {(fault.kind, fault.object.removeprefix(f"s3://{BUCKET}/")) for fault in found.faults}


async def test_i8_on_a_real_s3_many_writers_make_one_chain_and_each_fault_is_named(store: S3Store):
    assert await deployments_of(store, BUCKET) == ([], ())
    await store.put(S3Uri(BUCKET, key("old")), b"{}")
    assert (await verify(store, BUCKET, "ledger")).whole

    # Five operations end at once; one of them writes its report by two attempts at the same time.
    names = ["a1", "a2", "a3", "a4", "a5"]
    writers = (write_report(store, BUCKET, samples.done(operation=name)) for name in [*names, "a3"])
    await asyncio.gather(*writers)
    verified = await verify(store, BUCKET, "ledger")
    assert verified.whole, verified.faults
    assert (verified.reports, verified.before) == (5, 1)
    assert [number for number, _ in verified.hashes] == list(range(1, verified.links + 1))
    assert await deployments_of(store, BUCKET) == (["ledger"], ())

    began = time.monotonic()
    await write_report(store, BUCKET, samples.done(operation="a6"))
    assert time.monotonic() - began < 10, "it is written while a person waits"
    later = await verify(store, BUCKET, "ledger")
    assert against([later], [verified.head or ""]) == [(verified.head, later, verified.head_number)]

    body = bytearray((await store.get(S3Uri(BUCKET, key("a2")))).body)
    body[200] ^= 1
    await store.put(S3Uri(BUCKET, key("a2")), bytes(body))
    await store.delete(S3Uri(BUCKET, key("a6", "html")))
    await store.put(S3Uri(BUCKET, key("a9")), b"{}")
    assert await faults(store) == {
        (FaultKind.ALTERED, key("a2")),
        (FaultKind.MISSING, key("a6", "html")),
        (FaultKind.INSERTED, key("a9")),
    }


@dataclass
class Tampered:
    """A bucket in which somebody changes objects behind our back, and puts them back."""

    store: S3Store
    was: dict[str, bytes | None] = field(default_factory=dict)

    async def put(self, key: str, body: bytes | None) -> None:
        """``body`` None: it is deleted."""
        at = S3Uri(BUCKET, key)
        if key not in self.was:
            found = await self.store.get_or_none(at)
            self.was[key] = found.body if found is not None else None
        if body is None:
            await self.store.delete(at)
        else:
            await self.store.put(at, body)

    async def body(self, key: str) -> bytes:
        return (await self.store.get(S3Uri(BUCKET, key))).body

    async def one_byte(self, key: str) -> None:
        body = bytearray(await self.body(key))
        body[len(body) // 2] ^= 1
        await self.put(key, bytes(body))

    async def swapped(self, one: str, other: str) -> None:
        first, second = await self.body(one), await self.body(other)
        await self.put(one, second)
        await self.put(other, first)

    async def back(self) -> None:
        for key, body in self.was.items():
            await self.put(key, body)
        self.was.clear()


FORMS = ("json", "md", "html")
LINK = names.chain_link_key
HEAD = names.chain_head_key("ledger")


async def test_i8_on_a_real_s3_altered_deleted_inserted_and_reordered_are_each_named_and_nothing_else(store: S3Store):
    for name in ("u1", "u2", "u3"):
        await write_report(store, BUCKET, samples.done(operation=name))
    bad = Tampered(store)

    async def named(*found: tuple[FaultKind, str]) -> None:
        assert await faults(store) == set(found)
        await bad.back()
        assert (await verify(store, BUCKET, "ledger")).whole

    for form in FORMS:
        await bad.one_byte(key("u2", form))
        await named((FaultKind.ALTERED, key("u2", form)))
    for name in ("u1", "u3"):  # the newest leaves no gap among the others
        for form in FORMS:
            await bad.put(key(name, form), None)
        await named(*((FaultKind.MISSING, key(name, form)) for form in FORMS))
    for form in FORMS:  # a copy of a good one, under another operation's name
        await bad.put(key("u9", form), await bad.body(key("u1", form)))
    await named(*((FaultKind.INSERTED, key("u9", form)) for form in FORMS))
    await bad.swapped(key("u1"), key("u3"))
    await named((FaultKind.ALTERED, key("u1")), (FaultKind.ALTERED, key("u3")))
    await bad.swapped(LINK("ledger", 2), LINK("ledger", 3))
    await named((FaultKind.REORDERED, LINK("ledger", 2)), (FaultKind.REORDERED, LINK("ledger", 3)))
    await bad.put(LINK("ledger", 3), (await bad.body(LINK("ledger", 3))).replace(b'"done"', b'"gone"'))
    await named((FaultKind.ALTERED, LINK("ledger", 3)))
    await bad.put(LINK("ledger", 3), None)
    await named((FaultKind.MISSING, LINK("ledger", 3)), *((FaultKind.INSERTED, key("u2", form)) for form in FORMS))
    await bad.put(HEAD, None)
    await named((FaultKind.MISSING, HEAD))


async def test_i8_the_command_names_each_fault_and_ends_with_7(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("u1", "u2", "u3"):
        await write_report(store, BUCKET, samples.done(operation=name))
    fleet = tmp_path / "fleet.yaml"
    control = f'{{endpoint: "{store.endpoint}", access_key: {ACCESS}, secret_key: {{literal: {SECRET}}}}}'
    there = f"control:\n  s3: {control}\n  bucket: {BUCKET}\nregions:"
    fleet.write_text(re.sub(r"control:.*?\nregions:", there, SMALL, flags=re.DOTALL))
    monkeypatch.setenv("TIDEGATE_FLEET", str(fleet))

    async def command() -> tuple[int, str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = await asyncio.to_thread(run, ["report", "verify", "ledger"])
        return code, said.getvalue()

    code, said = await command()
    assert code == 0, said
    bad = Tampered(store)
    await bad.one_byte(key("u1"))
    await bad.put(key("u2", "html"), None)
    await bad.put(key("u9"), b"{}")
    await bad.swapped(LINK("ledger", 3), LINK("ledger", 4))
    code, said = await command()
    assert code == 7, said
    for kind, at in (("altered", key("u1")), ("missing", key("u2", "html")), ("inserted", key("u9")),
                     ("reordered", LINK("ledger", 3)), ("reordered", LINK("ledger", 4))):  # fmt: skip
        assert any(kind in line and at in line for line in said.splitlines()), (kind, at, said)
