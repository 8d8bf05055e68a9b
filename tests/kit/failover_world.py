"""A deployment between two regions in memory, for the steps of a failover: what befalls it, what is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from tests.kit.failover_regions import AT, BACK, BUCKET, FLEET, OUT, FailoverRegions
from tests.kit.mirror_world import holder
from tests.kit.snapshots import Job
from tests.kit.temporal_world_facts import pinned, writer
from tests.kit.world_gate import ACTOR, Call, Died, Fault
from tidegate.clients.flink_types import JobState
from tidegate.clients.objects import S3Uri
from tidegate.errors import Unavailable
from tidegate.failover.ahead import close_when_current
from tidegate.failover.cut import cut_over, mirror_back, mirror_home_again
from tidegate.failover.groups import translate_groups
from tidegate.failover.home import shut_home
from tidegate.failover.producers import close_producers, open_producers, reopen_home, turn_back
from tidegate.failover.rebasing import rebase_copy
from tidegate.failover.sides import Sides
from tidegate.lineage.store import LineageStore
from tidegate.mirror import control
from tidegate.mirror.link import MirrorLink
from tidegate.model.failover import Answers, CutInput, OpenInput, RebaseInput, ShutFact, ShutInput, TranslateInput
from tidegate.model.fleet import Fleet
from tidegate.model.operation import ReplayRange
from tidegate.model.steps import Held
from tidegate.names import transactional_prefix
from tidegate.points.model import OutputCut, Point, Points
from tidegate.points.store import PointStore, Stored
from tidegate.registry.links import BY_HAND, take_link
from tidegate.snapshot.shipped import SHIPPED_NAME, Shipped

T = TypeVar("T")


class FailoverWorld(FailoverRegions):
    """``ledger`` runs in the east with epoch 7; the link east -> west runs."""

    # -- what stands at the beginning

    @classmethod
    async def made(cls, fleet: Fleet = FLEET) -> Self:
        world = cls(fleet)
        for topic in ("payments", "balances"):
            await world.kafka["east"].create_topic(topic, 2)
        async with world.open_link(fleet, OUT, 1.0) as link:
            tenure = await take_link(world.links, control.fresh_record(link), holder("by-hand", BY_HAND))
            await control.start(link, tenure)
            await tenure.release()
        job = writer("v1", 7)
        world.driver["east"].jobs[job.job_id] = JobState.RUNNING
        await world.take("failover-ledger-1")
        await world.change(epoch=7, writer=job)
        await world.traffic("east", 6)
        await world.mirror(OUT)
        return world

    # -- what goes on in the world

    async def traffic(self, region: str, count: int, epoch: int = 7) -> None:
        """Payments of the producer, and as many balances of the job of this epoch."""
        kafka = self.kafka[region]
        for partition in (0, 1):
            values = [f"{region}-{self.written + n}".encode() for n in range(count)]
            kafka.write_plain("payments", partition, values, "User:producer")
            sink = kafka.producer(f"{transactional_prefix('ledger', 'balances-sink', epoch)}{partition}-1")
            await sink.init()
            await sink.write("balances", partition, values)
            await sink.commit()
            self.written += count

    def pay(self, region: str) -> None:
        """One more payment of the producer there, if it is let in."""
        self.kafka[region].write_plain("payments", 0, [b"one more"], "User:producer")

    async def mirror(self, name: str, at_most: int = 1 << 30) -> int:
        """The link brings what is there, if it runs."""
        async with self.open_link(self.fleet, name) as link:
            raw = MirrorLink(
                **{
                    **{one: getattr(link, one) for one in link.__dataclass_fields__},
                    "source_kafka": self.kafka[link.source],
                    "target_kafka": self.kafka[link.target],
                }
            )
            known = self.connect[link.target].connectors.get(link.connector)
            if known is None or known.target != "RUNNING":
                return 0
            return await self.connect[link.target].mirror(raw, at_most=at_most)

    async def place_snapshot(self, payments: tuple[int, int], number: int = 12, head: bytes = b"") -> str:
        """A snapshot of the job at these input positions, shipped to the west; its location there.

        ``head``: what names its keyed states (``snapshot_bytes.keyed_head``).
        """
        job = Job(base="s3://west/checkpoints")
        at = dict(zip((("payments", 0), ("payments", 1)), payments, strict=True))
        location = str(await job.checkpoint(self.snapshots["west"], number, positions=at, sink=False, head=head))
        shipped = Shipped(
            deployment="ledger", id=f"e7-chk-{number}", kind="checkpoint", epoch=7, job_id=job.job_id,
            checkpoint_id=number, source_region="east", source=f"s3://east/checkpoints/x/chk-{number}",
            source_etag="e", target=location, taken_at=AT, shipped_at=AT, metadata_sha256="0" * 64, files=(),
        )  # fmt: skip
        await self.snapshots["west"].put(f"{location}/{SHIPPED_NAME}", shipped.model_dump_json().encode())
        self.shipped = location
        return location

    async def place_points(self, *points: Point, region: str = "west") -> None:
        wanted = Points(deployment="ledger", region=region, home="east", updated_at=AT, points=points)
        await PointStore(self.control, BUCKET).write(Stored(None, None), wanted)

    def point(self, upto: int, *, number: int = 12, **changes: Any) -> Point:
        """The point of ``place_snapshot``: the job's output below ``upto`` is its own."""
        told: dict[str, Any] = {
            "id": f"e7-chk-{number}", "kind": "checkpoint", "snapshot": self.shipped,
            "source": f"s3://east/checkpoints/x/chk-{number}", "epoch": 7, "checkpoint_id": number, "taken_at": AT,
            "inputs": {"payments-source": {"payments/0": upto}}, "outputs_there": True, "verified_at": AT,
            "outputs": {
                f"balances/{n}": OutputCut(upto=upto, last=upto - 1, first_later=None) for n in (0, 1)
            },
        }  # fmt: skip
        return Point.model_validate(told | changes)

    # -- the steps

    def _step(self, kind: type[T], **fields: Any) -> T:
        assert self.tenure is not None
        claim = self.tenure.claim
        return kind(
            held=Held(deployment="ledger", holder=claim.holder, fence=claim.fence),
            fleet_digest="f",
            n=1,
            at="west/cell-1",
            home="east/cell-1",
            topics=self.topics,
            unplanned=self.unplanned,
            **fields,
        )

    async def close(self, sides: Sides, *, take_over: bool = False) -> ShutFact:
        if self.unplanned:
            answers = not self.kafka["east"].down
            fact = await close_producers(sides, self.topics, take_over=take_over, home_answers=answers)
        else:
            fact = await close_when_current(sides, self.topics, take_over=take_over)
        self.stops = fact.ends
        return fact

    async def shut(self, sides: Sides) -> Any:
        return await shut_home(sides, self._step(ShutInput, drain_s=0.3), None)

    async def cut(self, sides: Sides) -> Any:
        return await cut_over(sides, self._step(CutInput, ends=self.stops, drain_s=5.0))

    async def rebase(self, sides: Sides) -> Any:
        return await rebase_copy(sides, self._step(RebaseInput, snapshot=self.shipped))

    async def groups(self, sides: Sides, superseded: tuple[ReplayRange, ...] = ()) -> Any:
        answers = None
        if self.unplanned:
            gone = "connection refused" if self.kafka["east"].down else None
            answers = Answers(region="east", kafka=gone)
        return await translate_groups(sides, self._step(TranslateInput, superseded=superseded, answers=answers))

    async def open(self, sides: Sides, superseded: tuple[ReplayRange, ...] = ()) -> Any:
        return await open_producers(sides, self._step(OpenInput, superseded=superseded))

    async def back(self, sides: Sides) -> Any:
        return await mirror_back(sides, self.topics)

    async def reopen(self, sides: Sides) -> None:
        """As the activity reopen_home."""
        await turn_back(sides, self.topics)
        await mirror_home_again(sides, self.topics)
        await reopen_home(sides, self.topics)

    async def stop(self) -> None:
        """The job at home ends with a savepoint that is shipped; all has crossed."""
        self.driver["east"].jobs[writer("v1", 7).job_id] = JobState.FINISHED
        ends = await self.kafka["east"].end_offsets(["payments", "balances"])
        told = {f"{tp.topic}/{tp.partition}": end for tp, end in ends.items()}
        payments = tuple(end for tp, end in sorted(ends.items()) if tp.topic == "payments")
        await self.place_snapshot((payments[0], payments[1]))
        output = {name: end for name, end in told.items() if name.startswith("balances")}
        await self.change(pinned=pinned(output_ends=output))
        await self.mirror(OUT)

    async def lose_home(self, *, all_of_it: bool = True) -> None:
        """The east is gone, with a tail that had not crossed, or its Flink only; there is a point from before."""
        await self.place_snapshot((3, 3))
        await self.place_points(self.point(3))
        await self.traffic("east", 2)
        self.driver["east"].down = True
        if not all_of_it:
            await self.mirror(OUT)
            return
        self.kafka["east"].down = self.connect["east"].down = True
        self.snapshots["east"].before = _gone

    async def traffic_at_home_all_the_same(self) -> None:
        """Two payments of somebody whom the fleet file does not name."""
        self.kafka["east"].write_plain("payments", 0, [b"stray-1", b"stray-2"], "User:stranger")

    async def traffic_of_the_job(self) -> None:
        """What the job in the west writes before its producers are let in."""
        sink = self.kafka["west"].producer(f"{transactional_prefix('ledger', 'balances-sink', 8)}0-1")
        await sink.init()
        await sink.write("balances", 0, [f"west-{self.written + n}".encode() for n in range(3)])
        await sink.commit()
        self.written += 3

    async def started(self) -> None:
        """The job runs in the west."""
        job = writer("v1", 8).model_copy(update={"region": "west"})
        self.driver["west"].jobs[job.job_id] = JobState.RUNNING
        await self.change(epoch=8, writer=job)

    async def turn_home(self, operation: str) -> None:
        """The topics are turned back to the east, as a failover the other way does, and the mirror goes west again."""
        await self.take(operation, take_over=True)
        store = LineageStore(self.control, BUCKET)
        claim = self.sides().operation
        for topic in self.topics.turn:
            await store.close(topic, claim)
            ends = await self.kafka["west"].end_offsets([topic])
            cuts = await self.kafka["east"].end_offsets([topic])
            await store.turn(
                topic, claim, "east", planned=True, epoch=9,
                ends={tp.partition: end for tp, end in ends.items()},
                cuts={tp.partition: cut for tp, cut in cuts.items()},
            )  # fmt: skip
            await store.open(topic, claim)
        await self.kafka["east"].lift_topic_writes("User:producer", "payments")
        self.connect["east"].connectors[f"tidegate-{BACK}"].target = "STOPPED"
        known = self.connect["west"].connectors[f"tidegate-{OUT}"]
        for topic in self.topics.turn:
            for tp, cut in (await self.kafka["east"].end_offsets([topic])).items():
                known.offsets["east", topic, tp.partition] = cut - 1
        known.target = "RUNNING"

    async def through(self, *steps: str) -> None:
        """These steps, each by a process of its own."""
        for step in steps:
            if step in {"stop", "started", "traffic_of_the_job"}:
                await getattr(self, step)()
            elif step == "lost":
                self.unplanned = True
                await self.lose_home()
            else:
                await getattr(self, step)(self.sides())

    # -- processes

    async def go(self, actor: str, act: Callable[[], Awaitable[T]]) -> T:
        """Run as a process of that name; if it dies, all of it does."""

        async def run() -> T:
            ACTOR.set(actor)
            try:
                return await act()
            except Died:
                self.gate.dead.add(actor)
                raise

        return await asyncio.create_task(run())

    async def die_in(self, step: Callable[[Sides], Awaitable[Any]], k: int, how: Fault) -> None:
        """The process of a step dies at its call ``k``."""

        def fault(call: Call) -> Fault:
            return how if (call.actor, call.n) == ("victim", k) else Fault.NONE

        self.gate.fault = fault
        sides = self.sides()
        with contextlib.suppress(Died):
            await self.go("victim", lambda: step(sides))
        assert "victim" in self.gate.dead, f"there is no call {k}"

    async def disturb(self, step: Callable[[Sides], Awaitable[Any]], k: int, how: Fault) -> None:
        """The call ``k`` of a step goes wrong, once; the step ends as it can."""

        def fault(call: Call) -> Fault:
            return how if (call.actor, call.n) == ("victim", k) else Fault.NONE

        self.gate.fault = fault
        sides = self.sides()
        with contextlib.suppress(Unavailable):
            await self.go("victim", lambda: step(sides))


async def _gone(op: str, uri: S3Uri) -> None:
    raise Unavailable(f"S3 does not answer ({op} {uri})")
