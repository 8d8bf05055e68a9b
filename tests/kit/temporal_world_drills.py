"""A world of several deployments for workflow tests of a region's drill: each a drill's world of its own, and the slots
of the standby that their forks take, counted at each start and each tear down.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from temporalio import activity

from activities.beats import beating
from activities.contracts import CONTRACTS
from tests.kit.temporal_world_drill import DrillWorld
from tests.kit.temporal_world_facts import AT, FLEET, Block
from tidegate.drill.queue import in_order
from tidegate.errors import Refused, Superseded
from tidegate.model.drill import DrillLook, DrillSeen, DrillStarted, DrillStartStep, DrillStep, TearDownStep
from tidegate.model.drilled import TornDown
from tidegate.model.notice import NotifyFact, NotifyInput
from tidegate.model.regiondrill import (
    CellRoom,
    DrillCandidate,
    DrillsSeen,
    GiveWayFact,
    GiveWayInput,
    LeftOut,
    LookDrillsInput,
)
from tidegate.model.schedule import NoteFact, RunNote, WeighFact, WeighInput
from tidegate.model.steps import Held, Located, ObserveInput, ReportFact, ReportInput, TakeInput
from tidegate.names import is_drill_of
from tidegate.schedules.decide import by_calendar, by_world

SHARED = ("look_at_drills", "see_failover", "notify", "write_report", "weigh_schedule", "note_run")


class MemberWorld(DrillWorld):
    """One deployment in the east; its fork takes slots in the west from its start to its tear down."""

    def __init__(self, region: DrillsWorld, name: str, tier: int, slots: int) -> None:
        super().__init__()
        self.region, self.name, self.tier, self.slots = region, name, tier, slots
        self.proven_at: datetime | None = None
        self.besides_s: float | None = None
        self.standby = "west"

    def _locate(self, request: ObserveInput) -> Located:
        return Located(
            fleet_digest=FLEET, region="east", cell="cell-1", tier=self.tier, approval_required=False, standby="west"
        )

    def _must_hold(self, step: DrillStep) -> None:
        assert is_drill_of(step.held.deployment, self.name)
        if "record" not in self.things:
            raise Superseded(f"{step.held.deployment} was torn down")

    def _take(self, request: TakeInput) -> Held:
        assert request.deployment != self.name, "a drill takes nothing of the live deployment"
        return super()._take(request)

    def _look_at_drill(self, request: DrillLook) -> DrillSeen:
        if self.slots > self.region.slots_free - self.region.used:
            raise Refused(f"no room in west/cell-1: a fork of {self.name} needs {self.slots} slots")
        return super()._look_at_drill(request).model_copy(update={"parallelism": self.slots})

    def _start_drill(self, request: DrillStartStep) -> DrillStarted:
        started = super()._start_drill(request)
        self.region.using[self.name] = self.slots
        self.region.most = max(self.region.most, self.region.used)
        return started

    def _tear_down_drill(self, request: TearDownStep) -> TornDown:
        self.region.using.pop(self.name, None)
        return super()._tear_down_drill(request)


class DrillsWorld:
    """Deployments by name, with tier and slots. ``most``: so many slots were used at once at most."""

    def __init__(self, members: dict[str, tuple[int, int]], slots_free: int = 4, keep: int = 1) -> None:
        self.worlds = {name: MemberWorld(self, name, *of) for name, of in members.items()}
        self.slots_free, self.keep = slots_free, keep
        self.using: dict[str, int] = {}
        self.most = 0
        self.left_out: tuple[LeftOut, ...] = ()
        self.failover: str | None = None
        self.told: list[tuple[str, str]] = []
        self.reports: list[ReportInput] = []
        self.notices: list[Any] = []
        self.looks: list[LookDrillsInput] = []
        self.incidents: list[str] = []
        self.plans: dict[tuple[str, str], deque[Any]] = defaultdict(deque)

    @property
    def used(self) -> int:
        return sum(self.using.values())

    @property
    def left(self) -> dict[str, set[str]]:
        """What is left of forks."""
        return {name: world.things for name, world in self.worlds.items() if world.things}

    def will(self, name: str, deployment: str, *things: Any) -> None:
        """The next calls of this activity for this deployment (of a shared one: ``""``)."""
        self.plans[name, deployment].extend(things)

    def block(self, name: str, deployment: str) -> Block:
        block = Block()
        self.will(name, deployment, block)
        return block

    def begun(self) -> list[str]:
        """The deployments whose drills were looked at, in order."""
        return [who for name, who in self.told if name == "look_at_drill"]

    def activities(self) -> list[Callable[..., Any]]:
        member = next(iter(self.worlds.values()))
        known = [name for name in CONTRACTS if name in SHARED or hasattr(member, f"_{name}")]
        return [self._activity(name) for name in known]

    def _activity(self, name: str) -> Callable[..., Any]:
        async def run(request: Any) -> Any:
            deployment = "" if name in SHARED else self._deployment_of(request)
            self.told.append((name, deployment))
            planned = self.plans[name, deployment]
            thing = planned.popleft() if planned else None
            if isinstance(thing, BaseException):
                raise thing
            if thing is not None:
                # As the real one: what waits for long says that it is alive, or Temporal has it done again.
                answer = await beating(thing())
                if answer is not None:
                    return answer
            return getattr(self if name in SHARED else self.worlds[deployment], f"_{name}")(request)

        types = activity._Definition.must_from_callable(CONTRACTS[name])
        assert types.arg_types
        run.__annotations__ = {"request": types.arg_types[0], "return": types.ret_type}
        return activity.defn(name=name)(run)

    def _deployment_of(self, request: Any) -> str:
        """A fork's is its live one's."""
        asked = str(request.deployment)
        return next((name for name in self.worlds if is_drill_of(asked, name)), asked)

    # -- what is shared

    def _look_at_drills(self, request: LookDrillsInput) -> DrillsSeen:
        self.looks.append(request)
        found = [
            DrillCandidate(
                deployment=name,
                tier=world.tier,
                parallelism=world.slots,
                at="west/cell-1",
                proven_at=world.proven_at,
                proof="drill-before" if world.proven_at else "",
                besides_s=world.besides_s,
            )
            for name, world in self.worlds.items()
            if not request.deployments or name in request.deployments
        ]
        first = next(iter(self.worlds))
        room = CellRoom(at="west/cell-1", slots_free=self.slots_free, slots_total=8, keep=self.keep, keep_for=first)
        return DrillsSeen(at=AT, fleet_digest=FLEET, candidates=in_order(found), cells=(room,), left_out=self.left_out)

    def _see_failover(self, request: GiveWayInput) -> GiveWayFact:
        assert request.standbys == ("west",)
        return GiveWayFact(holder=self.failover)

    def _write_report(self, request: ReportInput) -> ReportFact:
        self.reports.append(request)
        key = f"reports/{request.deployment}/{request.operation}.json"
        return ReportFact(key=key, html_key=key.replace(".json", ".html"), sha256="0" * 64)

    def _notify(self, request: NotifyInput) -> NotifyFact:
        self.notices.append(request.notice)
        return NotifyFact(notice=request.notice)

    def _weigh_schedule(self, request: WeighInput) -> WeighFact:
        entry = request.request.entry
        return WeighFact(skip=by_calendar(entry, request.at) or by_world(entry, self.incidents, []))

    def _note_run(self, request: RunNote) -> NoteFact:
        return NoteFact()
