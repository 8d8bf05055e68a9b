"""The ledger on a real sandbox, for tests: one stage for a session, with clients that look at everything.

``TIDEGATE_TEST_STAGE=FOLDER`` (with ``TIDEGATE_TEST_BASE_PORT``) keeps a sandbox there from run to run.
``TIDEGATE_TEST_RATE`` is the traffic, in events per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from sandbox.api import Sandbox
from sandbox.demo import ALL
from sandbox.layout import S3_ACCESS_KEY, S3_SECRET_KEY
from sandbox.stage import DEPLOYMENT, INPUT_TOPIC, OUTPUT_TOPIC, Finished, Stage, execute, kafka_properties
from tests.kit.readers import BlockedReaders
from tests.kit.sandbox import free_base_port
from tidegate.cli import follow, operations
from tidegate.clients.flink import FlinkClient
from tidegate.clients.objects import ObjectStore
from tidegate.clients.s3 import open_store
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import NoProgress, TidegateError, Unavailable
from tidegate.model.inputs import UPGRADE_DEPLOYMENT, ControlInput, UpgradeInput
from tidegate.model.operation import OperationResult, OperationStatus, Outcome, Phase, Verdict
from tidegate.model.record import DeploymentRecord, RecordState
from tidegate.names import epoch_of_transactional_id
from tidegate.operation.note import EnsureNote, notes_that_count
from tidegate.registry.fleet import publish as publish_fleet
from tidegate.registry.records import RecordStore
from tidegate.temporal.converter import data_converter

ROOT = Path(__file__).resolve().parent.parent.parent
RATE = int(os.environ.get("TIDEGATE_TEST_RATE", "1000"))
BAKE_S = 6.0
END_S = 420.0
"""An operation ends within this, whatever was done to it: a bound against standing still, not a measure of speed."""

PROVE = "prove: {checkpoints: 3, max_restarts: 2, lag_bound: 50000, no_progress_s: 20, start_timeout_s: 180"
"""A busy machine is slow, not broken: of the fleet file's rules only those of time are wider here."""

AUDIT_TRIES, AUDIT_UNAVAILABLE = 3, 5


@dataclass
class Operation:
    """One operation as a test sees it."""

    scene: Scene
    handle: Any
    log: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.handle.id)

    async def status(self) -> OperationStatus:
        return await operations.status(self.handle)

    async def phase(self) -> Phase | None:
        """Where it stands; None while nobody answers."""
        try:
            return (await self.status()).phase
        except TidegateError:
            return None

    async def control(self, verb: str, why: str = "") -> str:
        return await operations.update(self.handle, verb, ControlInput(by="test", why=why))

    async def running(self) -> tuple[str, dict[str, Any], str]:
        """Name, heartbeat figures and worker (``pid@host``) of the activity that runs; empty if none does."""
        described = await self.handle.describe()
        for pending in described.raw_description.pending_activities:
            return pending.activity_type.name, await follow.progress(described), pending.last_worker_identity
        return "", {}, ""

    async def result(self, within_s: float = END_S) -> OperationResult:
        """How it ended, of itself: standing halted is a failure of the test."""
        return await self.finish(within_s, resume=0)

    async def finish(self, within_s: float = END_S, *, resume: int = 3) -> OperationResult:
        """How it ended. If it stands halted, a person makes sure that all parts run, and resumes it."""
        ended = asyncio.ensure_future(operations.outcome(self.handle))
        deadline = time.monotonic() + within_s
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=1.0)
                if ended.done():
                    break
                status = None
                with contextlib.suppress(TidegateError):  # nobody answers: a worker or the server is being restarted
                    status = await self.status()
                if status is not None and status.phase is Phase.HALTED:
                    assert resume > 0, f"{self.id} stands halted: {status.why}"
                    self.log.append(f"halted: {status.why}")
                    await self.scene.all_ready()
                    await self.control("resume", f"the test resumes it ({resume})")
                    resume -= 1
                    await self.scene.until(self._has_left_halt, "leaving the halt")
                if time.monotonic() > deadline:
                    where = await self.running()
                    pytest.fail(f"{self.id} has not ended after {within_s:.0f} s: {status and status.phase} {where}")
        finally:
            ended.cancel()
        result, error = ended.result()
        assert result is not None, f"{self.id} ended without a result: {error and error.message}"
        return result

    async def _has_left_halt(self) -> bool:
        return await self.phase() not in {Phase.HALTED, None}


class Scene:
    """The stage, its clients, and what a test asks of them."""

    def __init__(self, stage: Stage, client: Client, control: ObjectStore, snapshots: ObjectStore) -> None:
        self.stage = stage
        self.sandbox: Sandbox = stage.sandbox
        self.client = client
        self.control = control
        self.snapshots = snapshots
        self.bucket = self.sandbox.endpoints.control_bucket
        self.records = RecordStore(control, self.bucket)
        self.driver = SessionClusterDriver(FlinkClient(self.sandbox.endpoints.regions["east"].flink, timeout_s=5.0))
        self.kafka = stage.kafka()
        self.readers = BlockedReaders(stage.kafka(), [OUTPUT_TOPIC])
        self._number = 0

    # -- operations

    def new_id(self) -> str:
        """An operation's id that names the test."""
        self._number += 1
        name = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1].split(" ")[0]
        suffix = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        return f"{suffix}-{self._number}-{time.time_ns() % 10**9}"

    async def upgrade(self, to: str, operation: str | None = None, **more: Any) -> Operation:
        """Start an upgrade by the SDK, under an id of its own."""
        operation = operation or self.new_id()
        defaults = {"bake_s": BAKE_S, "requested_by": "test", "reason": "a test"}
        asked = UpgradeInput(deployment=DEPLOYMENT, to=to, **{**defaults, **more})
        started = await operations.start(self.client, UPGRADE_DEPLOYMENT, asked, operation, operation)
        return Operation(self, started.handle)

    async def tidegate(self, *arguments: str, timeout_s: float = END_S) -> Finished:
        """A command, as a person types it."""
        return await self.stage.tidegate(*arguments, timeout_s=timeout_s)

    async def back_to(self, artifact: str) -> None:
        """The artifact runs and nobody holds the deployment, by the product's own commands."""
        await self.all_ready()
        for _ in range(3):
            record = await self.record()
            if record.writer is None:
                done = await self.tidegate("start", DEPLOYMENT, artifact, "--from-empty", "--bake", "1s", "--yes")
            else:
                runs = (await self.driver.list_jobs()).get(record.writer.job_id)
                is_it = record.writer.artifact.name == artifact and runs is not None and runs.value == "RUNNING"
                if record.holder is None and is_it:
                    return
                take_over = ("--take-over", "--why", "the next test needs it") if record.holder else ()
                done = await self.tidegate("upgrade", DEPLOYMENT, "--to", artifact, "--bake", "1s", "--yes", *take_over)
            # 7: an earlier test has left wrong values in the log. 1: undone, since the old job could not be stopped.
            assert done.status in {0, 1, 7}, f"{done.out}\n{done.err}"
        pytest.fail(f"{artifact} does not come to run: {done.out}\n{done.err}")

    # -- the fleet file

    async def publish(self, text: str) -> str:
        """Make it the current fleet file; its digest."""
        return (await publish_fleet(self.control, self.bucket, text, "test")).digest

    @asynccontextmanager
    async def other_fleet(self, change: Callable[[str], str]) -> AsyncIterator[str]:
        """Another fleet file is the current one within; gives its digest, by which it can be named for ever."""
        text = self.stage.fleet_file.read_text()
        changed = change(text)
        assert changed != text
        try:
            yield await self.publish(changed)
        finally:
            await self.publish(text)

    # -- what is

    async def record(self) -> DeploymentRecord:
        stored = await self.records.read(DEPLOYMENT)
        return stored.record if stored else DeploymentRecord(deployment=DEPLOYMENT)

    async def live_jobs(self) -> dict[str, str]:
        """Every job on the cluster that has not ended. The ledger is the only deployment here."""
        return {job: state.value for job, state in (await self.driver.list_jobs()).items() if not state.terminal}

    async def manifests(self) -> list[EnsureNote]:
        """What the product says comes again: of each start that took place."""
        return await notes_that_count(self.control, self.bucket, DEPLOYMENT)

    async def announced(self) -> int:
        """Records that manifests say come again, since the log began."""
        return sum(part.records for note in await self.manifests() for part in note.superseded)

    async def audit(self) -> Verdict:
        """The auditor's own word on the whole log, with every manifest."""
        manifest = self.sandbox.folder.path / "announced.json"
        ranges = [
            {"partition": part.partition, "first": part.first, "last": part.last}
            for note in await self.manifests()
            for part in note.superseded
        ]
        manifest.write_text(json.dumps({"topic": OUTPUT_TOPIC, "superseded": ranges}))
        argv = [
            *("python", "-m", "ledger.auditor", "--bootstrap", self.sandbox.endpoints.regions["east"].kafka),
            *(
                "--input",
                INPUT_TOPIC,
                "--output",
                OUTPUT_TOPIC,
                "--until-caught-up",
                "--timeout-s",
                "300",
                "-o",
                "json",
            ),
            *("--manifest", str(manifest)),
            *kafka_properties("admin"),
        ]
        # Status 5: Kafka did not answer or the output had not caught up. That is no verdict, and as in the product
        # (an Unavailable, retried) it is asked for again, within bounds.
        for _ in range(AUDIT_TRIES):
            done = await execute(argv, self.stage.root, self.stage.environment, 400.0)
            if done.status != AUDIT_UNAVAILABLE:
                break
        assert done.status in {0, 7}, f"no verdict: {done.err[-1_000:]}"
        found = json.loads(done.out)
        samples = tuple(str(sample) for listed in found["samples"].values() for sample in listed[:3])
        numbers = ("lost", "duplicated", "wrong", "unexpected", "replayed", "superseded", "input", "output")
        return Verdict(audited=True, samples=samples, **{name: found[name] for name in numbers})

    # -- waiting

    async def until(self, check: Callable[[], Awaitable[bool]], what: str, within_s: float = 120.0) -> None:
        """Until the check says yes. A part that does not answer says no."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                if await check():
                    return
            except (Unavailable, NoProgress):
                pass
            assert time.monotonic() < deadline, f"waited {within_s:.0f} s for {what}"
            await asyncio.sleep(0.01)

    async def all_ready(self) -> None:
        """Every part runs and is ready; what a test has killed for good or paused goes on."""
        for part in self.sandbox.status():
            if part.state == "paused":
                self.sandbox.resume(part.name)
            elif part.state in {"killed", "ended"}:
                self.sandbox.start(part.name)
        for name in ("control", "east"):
            await self.sandbox.wait_ready(name, 180.0)

    # -- the invariants

    async def settled(self) -> None:
        """Nobody holds it, nothing is open, one job lives, no dead epoch keeps readers back (I1, X14, O4)."""
        record = await self.record()
        assert (record.state, record.holder) == (RecordState.IDLE, None), f"still held: {record.holder}"
        assert not record.open_intents(), f"open: {record.open_intents()}"
        assert record.writer is not None
        live = await self.live_jobs()
        assert list(live) == [record.writer.job_id], f"jobs {live}, the writer is {record.writer.job_id}"
        epoch = record.writer.epoch
        open_ids = [
            status.transactional_id
            for status in await self.kafka.list_transactions(f"tg.{DEPLOYMENT}.")
            if status.state.value in {"Ongoing", "PrepareCommit", "PrepareAbort"}
        ]
        dead = [name for name in open_ids if epoch_of_transactional_id(name) != epoch]
        assert not dead, f"open transactions of dead epochs (the writer's is {epoch}): {dead}"

    async def check(self, verdict: Verdict | None = None, *, wrong: int = 0) -> Verdict:
        """What must hold after every operation (I1, I2, X14, X26, O4): as `settled`, and the values.

        ``verdict``: the operation's own, if nothing was done since; else the log is audited again.
        """
        await self.settled()
        verdict = verdict or await self.audit()
        announced = await self.announced()
        found = {name: getattr(verdict, name) for name in ("lost", "duplicated", "wrong", "unexpected")}
        assert found == {"lost": 0, "duplicated": 0, "wrong": wrong, "unexpected": 0}, verdict.samples
        assert (verdict.replayed, verdict.superseded) == (announced, announced), "replays were announced otherwise"
        return verdict


def summary(result: OperationResult) -> str:
    """One line for the end of a test run."""
    verdict = result.verdict.text if result.verdict else "-"
    gap = f", gap {result.verdict.gap_ms:,.0f} ms" if result.verdict and result.verdict.gap_ms else ""
    return f"{result.outcome.value} {verdict}{gap}: {result.summary}" + (f"; {result.why}" if result.why else "")


def ended_well(result: OperationResult) -> None:
    """Done or undone, and proven: 0/0/0 (what any fault may cost is time)."""
    assert result.outcome in {Outcome.DONE, Outcome.UNDONE}, summary(result)
    assert result.verdict is not None, summary(result)
    assert result.verdict.audited, summary(result)
    assert result.verdict.text == "0/0/0", summary(result)


@contextmanager
def stage_sandbox(folder: Path) -> Iterator[Sandbox]:
    """A sandbox for the stage, not up yet; down at the end, whatever happened.

    Not for use inside a running event loop: what ends the processes must not hang on the loop that was interrupted.
    """
    kept, port = os.environ.get("TIDEGATE_TEST_STAGE"), os.environ.get("TIDEGATE_TEST_BASE_PORT")
    if kept:
        yield Sandbox(Path(kept), int(port) if port else None)
        return
    with free_base_port() as base:
        sandbox = Sandbox(folder, base)
        try:
            yield sandbox
        finally:
            asyncio.run(sandbox.down(delete=os.environ.get("TIDEGATE_TEST_KEEP_DATA") != "1"))


async def publish(stage: Stage) -> None:
    """The sandbox's fleet file with rules for a busy machine."""
    text = stage.fleet_file.read_text()
    text = re.sub(r"prove: \{checkpoints: 3,.*?start_timeout_s: \d+", PROVE, text)
    text = text.replace('- "60"', '- "300"').replace("timeout_s: 120\n", "timeout_s: 400\n")
    assert PROVE in text
    stage.fleet_file.write_text(text)
    await stage.must("fleet", "apply", str(stage.fleet_file), "--yes")


@asynccontextmanager
async def open_scene(sandbox: Sandbox) -> AsyncIterator[Scene]:
    """The ledger on it: traffic, workers, every artifact, and clients that look at all of it."""
    stage = Stage(sandbox, ROOT, lambda line: print(line, flush=True))
    if not sandbox.status():
        await stage.set_up(ALL, RATE)
    async with AsyncExitStack() as stack:
        await publish(stage)
        os.environ.update({name: value for name, value in stage.environment.items() if name != "PATH"})
        client = await Client.connect(sandbox.endpoints.temporal, data_converter=data_converter)
        control = open_store(sandbox.endpoints.control_s3, S3_ACCESS_KEY, S3_SECRET_KEY, timeout_s=5.0)
        snapshots = open_store(sandbox.endpoints.regions["east"].s3, S3_ACCESS_KEY, S3_SECRET_KEY, timeout_s=5.0)
        await stack.enter_async_context(control)
        await stack.enter_async_context(snapshots)
        scene = Scene(stage, client, control, snapshots)
        stack.push_async_callback(scene.driver.client.aclose)
        stack.push_async_callback(scene.kafka.aclose)
        await stack.enter_async_context(scene.readers)
        yield scene
