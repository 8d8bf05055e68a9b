"""FailoverRegion: all that lives in a region goes on in another one. runbooks/failover-region.md."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.failover.room import make_room, room_left
    from tidegate.failover.unfinished import finish_region_command
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import MemberResult, OperationResult, OperationStatus, Outcome, Phase, StepState
    from tidegate.model.region import (
        FAILOVER_REGION,
        FailoverRegionInput,
        GoOn,
        GroupSeen,
        LookGroupInput,
        Member,
        MemberReached,
        Room,
        Stage,
    )
    from tidegate.model.steps import Located
    from workflows import failover_facts
    from workflows.calls import Aborted, Calls
    from workflows.controls import aborted_by, refuse
    from workflows.ending import Ending
    from workflows.failover_member import AUDITS_LAST
    from workflows.family import READY_EARLY, FamilyMove
    from workflows.kit import given, known, with_hint
    from workflows.making_way import MakingWay
    from workflows.unheld import OBSERVE_S, Unheld

LOOK_AGAIN_S = 10.0
"""How often free slots are counted while something waits for them."""
ALL_CELLS = "all"
T = TypeVar("T")


@workflow.defn(name=FAILOVER_REGION)
class FailoverRegion(Unheld):
    """Done: all of it runs in the other region. Else each deployment says for itself how it ended."""

    runbook = FAILOVER_REGION

    @workflow.init
    def __init__(self, request: FailoverRegionInput | None = None) -> None:
        self.request = given(request, FailoverRegionInput)
        super().__init__(self.request, ("observe",), reason=self.request.reason)
        self.look: GroupSeen | None = None
        self.room: Room | None = None
        self.making_way = MakingWay(self, ())
        self.families: list[FamilyMove] = []
        self.waits: list[str] = []
        """Members for which there is no room yet."""
        self.halted: dict[str, str] = {}
        """Who needs a person, and why."""
        self.resumed = 0
        self.escalated: str | None = None
        """Why it goes on unplanned though it was begun as planned."""
        self.calls = Calls(
            changed=self.show, aborting=lambda: self.abort_requested is not None or self.escalated is not None
        )

    @workflow.run
    async def run(self, request: FailoverRegionInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    # -- what people and members say

    @workflow.signal(description="A member says how far it has come.")
    def reached(self, told: MemberReached) -> None:
        """Its family goes on by it."""
        for family in self.families:
            if told.deployment in family.members:
                family.reached(told)

    @workflow.update(description="Go back: what has not turned yet stays where it is, or runs there again.")
    def abort(self, request: ControlInput) -> str:
        """Families whose topics have turned go on: for them there is no way back but a failback (X24)."""
        self.stop(request)
        return "what has not turned goes back, the rest goes on to its end"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)
        if self.abort_requested is None and not self.waits and self.families and all(f.turned for f in self.families):
            refuse(
                f"too late for {request.by}: every topic has turned to {self.request.to} (X24)",
                f"once it is done, the way back is:  tidegate failover region {self.request.to} "
                f"--to {self.request.region}",
            )

    @workflow.update(description="Try again what this operation could not do; a member has a resume of its own.")
    def resume(self, request: ControlInput) -> str:
        """After a halt."""
        self.resumed += 1
        return f"tries again, asked by {request.by}"

    @resume.validator
    def _may_resume(self, request: ControlInput) -> None:
        if self.phase is not Phase.HALTED:
            refuse(f"nothing to resume for {request.by}: the operation is {self.phase}")

    @workflow.update(description="Go on without the region that is left: what it does not answer is given up (X24).")
    def escalate(self, request: ControlInput) -> str:
        """Families whose topics have not turned go on unplanned, all of their members together."""
        self._escalate(aborted_by(request).replace("aborted", "escalated", 1))
        return "what has not turned goes on unplanned, from the newest recovery points"

    @escalate.validator
    def _may_escalate(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)
        if self.unplanned:
            return
        if self.abort_requested is not None:
            refuse(f"abort was asked first: {self.abort_requested}")
        if not self.families:
            refuse(
                "nothing was begun yet",
                f"abort it, and start it unplanned:  tidegate failover region {self.request.region} "
                f"--to {self.request.to} --unplanned",
            )
        if not any(family.may_escalate for family in self.families):
            refuse(f"nothing to escalate: every topic has turned to {self.request.to}")

    def _can_escalate(self) -> bool:
        turning = any(family.may_escalate for family in self.families)
        return turning and not self.unplanned and self.abort_requested is None

    def _escalate(self, why: str) -> None:
        self.escalated = self.escalated or why
        self.resumed += 1

    @property
    def unplanned(self) -> bool:
        """Whether the region that is left is given up."""
        return self.request.unplanned or self.escalated is not None

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """As for all, and who needs a person or waits for room."""
        words = [*self.halted.values()]
        if self.waits:
            words.append(f"slots in {self.request.to} for {', '.join(self.waits)}")
        told = super().status()
        if self.ending is not None:
            return told
        update: dict[str, object] = {"waiting_for": "; ".join(words)}
        if self.phase is Phase.HALTED:
            ways = ("resume", "escalate") if self._can_escalate() else ("resume",)
            commands = tuple(f"tidegate ops {way} {told.operation}" for way in ways)
            update |= {"why": "; ".join(words), "next_commands": commands}
        return told.model_copy(update=update)

    # -- the runbook

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: what lives in the region, what answers there, what the other one has room for.
        await self._observe()

        # Step 2. Plan: what fits goes, the rest waits, runs smaller, or has others give way. A dry run ends here.
        self.room = make_room(self.group_seen, self.request.room, unplanned=self.request.unplanned)
        self.making_way = MakingWay(self, self.room.shed)
        moving = (*self.room.goes, *self.room.waits)
        stops = [f"stop {name}" for name in self.room.shed]
        ended = [one.deployment for one in self.group_seen.done]
        self.board.replan([*ended, *stops, *moving, *self.making_way.rows(), "conclude"])
        if self.request.dry_run:
            return self._planned()
        for one in self.group_seen.done:
            self.ok(one.deployment, failover_facts.member_done(one))
        self.phase = Phase.RUNNING
        self._found()

        # Step 3. Those that give way are stopped with a savepoint.
        await self.making_way.stop()
        if self.making_way.runs_on():
            stopped = self.making_way.stopped
            self.room = room_left(self.group_seen, self.room, stopped, unplanned=self.request.unplanned)

        # Step 4. Move: the families of the highest tier first, all of a tier at once.
        only = len(self.group_seen.families) == 1
        self.families = [FamilyMove(self, family, only=only) for family in self.group_seen.families]
        self.waits = list(self.room.waits)
        deadline = asyncio.create_task(self._escalates_in(self.request.escalate_after_s))
        try:
            await self._move(self.room.goes)

            # Step 5. What had no room goes when slots are free.
            await self._move_the_rest()
        finally:
            deadline.cancel()

        # Step 6. Mirror the other way.
        waiting = [link for family in self.families for link in await family.conclude()]

        await self._let_orphans_go()

        # Step 7. What gave way comes back where its slots are free again; then report.
        await self.making_way.bring_back()
        return self._ending(waiting)

    async def _observe(self) -> None:
        self.begin("observe", OBSERVE_S)
        self.look = await self._look(self.request.fleet_digest)
        # The parts of the operation that are about no deployment: where its report's fleet file is, what region it is.
        self.located = Located(
            fleet_digest=self.look.fleet_digest, region=self.request.to, cell=ALL_CELLS, tier=0, approval_required=False
        )
        self.works_in(self.request.to)
        self.ok("observe", failover_facts.region_seen(self.look))
        if not self.request.unplanned and not self.look.home.all and self.look.moving:
            region, to = self.request.region, self.request.to
            again = f"tidegate failover region {region} --to {to} --unplanned"
            if self.request.take_over is not None:
                again = finish_region_command(region, to, unplanned=True)
            raise errors.Refused(
                f"{region} does not answer as a planned failover needs it to: {'; '.join(self.look.home.silent)}",
                hint=f"go on without it, from the newest recovery points:  {again}",
            )

    async def _look(self, fleet_digest: str | None, only: tuple[str, ...] = ()) -> GroupSeen:
        info = workflow.info()
        asked = LookGroupInput(
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            region=self.request.region,
            to=self.request.to,
            deployments=only or self.request.deployments,
            fleet_digest=fleet_digest,
            unplanned=self.request.unplanned,
            who=self.request.requested_by,
            why=self.request.reason,
            take_over=self.request.take_over is not None,
        )
        return await self.calls.control(contracts.look_group, asked, deadline_s=OBSERVE_S)

    async def _escalates_in(self, seconds: float | None) -> None:
        if seconds is None or self.request.unplanned:
            return
        await workflow.sleep(seconds, summary="escalate")
        if self.abort_requested is None and any(family.may_escalate for family in self.families):
            self._escalate(f"not through with {self.request.region} in {seconds:g} s")

    def _planned(self) -> Ending:
        room, seen = known(self.room), self.group_seen
        self.members = tuple(
            MemberResult(
                deployment=one.deployment,
                operation=None,
                outcome=Outcome.PLANNED,
                summary=failover_facts.member_planned(one, room),
            )
            for one in seen.members
        ) + tuple(self._done_already(one, Outcome.PLANNED) for one in seen.done)
        gives = f"; {', '.join(room.shed)} are stopped first" if room.shed else ""
        begun = len(seen.members) - len(seen.moving)
        told = (
            f"{len(room.goes) - begun} of {len(seen.moving)} deployments go to {self.request.to} at once: "
            f"{room.needed} slots are needed, {seen.slots_free} are free{gives}"
        )
        if self._ends_one():
            told += f"; of a failover that was lost {begun} are behind their turn, and {len(seen.done)} are done"
        return Ending(
            Outcome.PLANNED,
            told,
            why="; ".join((*seen.memory, *failover_facts.comes_back(seen.gave_way, wanted=self.request.bring_back))),
        )

    async def _move(self, names: tuple[str, ...]) -> None:
        """These go, family by family: the next tier starts when the last one runs there. Unplanned, where all stand
        still, it is made ready meanwhile; planned it is left alone as long as it runs.
        """
        tier_of = {one.deployment: one.tier for one in self.group_seen.members}
        going = [family for family in self.families if set(family.members) & set(names)]
        tiers = sorted({min(tier_of[name] for name in family.members) for family in going})
        tasks: list[asyncio.Task[None]] = []
        before: list[FamilyMove] = []
        early = workflow.patched(READY_EARLY)
        for tier in tiers:
            batch = [one for one in going if min(tier_of[name] for name in one.members) == tier]
            for family in batch:
                family.after = tuple(before)
                mine = tuple(name for name in family.family.members if name in names)
                family.settled = False
                no_return = self.unplanned or family.family.no_return
                moved = family.unplanned(mine) if no_return else family.planned()
                tasks.append(asyncio.create_task(moved))
            if self.abort_requested is not None:
                before += batch
                break
            await workflow.wait_condition(
                partial(_settled, batch, tasks, early=self.unplanned and early), timeout_summary=f"tier {tier}"
            )
            before += batch
        if workflow.patched(AUDITS_LAST):
            # First all run there, and then what was written is looked at: an audit reads whole topics.
            await workflow.wait_condition(partial(_settled, before, tasks, early=False), timeout_summary="all run")
            for family in self.families:
                await family.let_audit()
        if tasks:
            await workflow.wait(tasks)
        for task in tasks:
            task.result()

    async def _move_the_rest(self) -> None:
        ends_at = workflow.now() + timedelta(seconds=self.request.room_wait_s)
        while self.waits and self.abort_requested is None:
            self.show()
            room = await self._room_again()
            if room is not None:
                self.room = room.model_copy(update={"shed": known(self.room).shed})
                self.waits = [name for name in self.waits if name not in room.goes]
                await self._move(room.goes)
                continue
            if workflow.now() >= ends_at:
                return
            try:
                await workflow.wait_condition(
                    lambda: self.abort_requested is not None,
                    timeout=timedelta(seconds=LOOK_AGAIN_S),
                    timeout_summary="slots",
                )
            except TimeoutError:
                continue

    async def _room_again(self) -> Room | None:
        """What of that which waits fits now; None: nothing, or nobody can say."""
        try:
            now = await self._look(self.group_seen.fleet_digest, only=tuple(self.waits))
            waiting = now.model_copy(
                update={
                    "members": tuple(one for one in self.group_seen.members if one.deployment in self.waits),
                    "families": tuple(one for one in self.group_seen.families if set(one.members) & set(self.waits)),
                }
            )
            # Whoever was to give way has done so.
            smaller = self.request.room == "lower"
            return make_room(waiting, "lower" if smaller else "wait", unplanned=self.unplanned)
        except TidegateError as error:
            workflow.logger.warning("no room for %s: %s", ", ".join(self.waits), error.message)
            return None

    # -- how it ends

    def _ending(self, waiting: list[str]) -> Ending:
        results = {name: result for family in self.families for name, result in family.results.items()}
        not_moved = "it has not moved" + (f": {self.abort_requested}" if self.abort_requested else "")
        room = f"no slots in {self.request.to} for it" if not self.abort_requested else ""
        self.members = tuple(
            results.get(one.deployment)
            or MemberResult(
                deployment=one.deployment, operation=None, outcome=Outcome.UNDONE, summary=not_moved, why=room
            )
            for one in self.group_seen.members
        )
        for one in self.members:
            if one.operation is None:
                self.failed(one.deployment, failover_facts.member(one))
        self.members += tuple(self._done_already(one, Outcome.DONE) for one in self.group_seen.done)
        worst = max((one.outcome for one in self.members), key=lambda outcome: outcome.exit_code)
        good = sum(one.outcome is Outcome.DONE for one in self.members)
        bad = [f"{one.deployment}: {one.outcome}" for one in self.members if one.outcome is not Outcome.DONE]
        notes = [note for family in self.families for note in family.notes]
        stays = [f"{name} stays stopped: {problem}" for name, problem in self.making_way.left.items()]
        why = "; ".join((*bad, *(f"waits: {one}" for one in waiting), *notes, *stays))
        lost = [one.unfinished for one in self.group_seen.members if one.unfinished is not None]
        gave_up = bool(waiting) or self.unplanned or not all(one.planned for one in lost)
        commands = self._next(gave_up=gave_up)
        if any(family.left_closed for family in self.families):
            region, to = self.request.region, self.request.to
            commands = [finish_region_command(region, to, unplanned=self.unplanned)]
        commands += self.making_way.commands
        back_again = f"; {', '.join(self.making_way.back)} came back" if self.making_way.back else ""
        summary = (
            f"{good} of {len(self.members)} deployments of {self.request.region} run in {self.request.to}{back_again}"
        )
        return Ending(worst, summary, why=why, next_commands=tuple(commands))

    def _next(self, *, gave_up: bool) -> list[str]:
        """The same again for what has not moved; and the way back of what has."""
        here, there = self.request.region, self.request.to
        moved = {one.outcome in {Outcome.DONE, Outcome.BAD_VERDICT} for one in self.members}
        how = " --unplanned" if self.unplanned else ""
        commands = [f"tidegate failover region {here} --to {there}{how}"] if False in moved else []
        if gave_up:
            commands.append(f"tidegate return region {here}")  # a way back is refused until it was returned (X23)
        elif True in moved:
            commands.append(f"tidegate failover region {there} --to {here}")
        return commands

    async def _let_orphans_go(self) -> None:
        """Members of a lost one wait for its word. With that each finds out that it has been superseded, and ends."""
        done = {
            one.deployment for family in self.families for one in family.results.values() if one.outcome is Outcome.DONE
        }
        for member in self.group_seen.members:
            if not member.orphan or member.deployment not in done:
                continue
            handle = workflow.get_external_workflow_handle(member.orphan)
            try:
                for stage in (Stage.READY, Stage.LEFT, Stage.STARTED, Stage.PROVEN):
                    await handle.signal("go_on", GoOn(stage=stage))
                # One that stands halted hears a decision only. Fenced as it is, it finds out instead of going back.
                me = workflow.info().workflow_id
                await handle.signal("go_back_together", f"{me} has taken {member.deployment} over, and moved it")
            except FailureError as error:
                workflow.logger.info("%s has ended: %s", member.orphan, error.message)

    def _ends_one(self) -> bool:
        """Whether a failover before this one was lost in the middle."""
        return bool(self.group_seen.done) or len(self.group_seen.moving) < len(self.group_seen.members)

    @staticmethod
    def _done_already(one: Member, outcome: Outcome) -> MemberResult:
        return MemberResult(
            deployment=one.deployment, operation=None, outcome=outcome, summary=failover_facts.member_done(one)
        )

    def undone(self) -> str:
        """Only before anything was begun."""
        return "nothing was changed"

    # -- what a family needs (workflows.family_members.Host)

    @property
    def group_seen(self) -> GroupSeen:
        """What was seen of both regions; known after observe."""
        return known(self.look)

    def parallelism(self, deployment: str) -> int | None:
        """With how many subtasks it shall run there; None: as in the fleet file."""
        return known(self.room).parallelism.get(deployment)

    def failed(self, step: str, why: str) -> None:
        """The step is not done. One that has not begun, or has ended, stays as it is."""
        self.board.end(step, StepState.FAILED, workflow.now(), why)
        self.show()

    def has_ended(self, result: MemberResult) -> None:
        """It has ended for a deployment."""
        state = StepState.OK if result.outcome is Outcome.DONE else StepState.FAILED
        self.board.end(result.deployment, state, workflow.now(), failover_facts.member(result))
        self.show()

    def needs_a_person(self, who: str, why: str | None) -> None:
        """Somebody stands halted; None: no more."""
        if why is None:
            self.halted.pop(who, None)
        else:
            self.halted[who] = why
        self.show()

    async def insist(self, step: str, act: Callable[[], Awaitable[T]]) -> T:
        """Do it; while it cannot be done, stand halted until a person has it tried again. Raises Superseded."""
        while True:
            try:
                return await act()
            except errors.Superseded:
                raise
            except (TidegateError, Aborted) as error:
                why = with_hint(error) if isinstance(error, TidegateError) else "stopped"
                before = self.resumed
                self.failed(step, why)
                self.needs_a_person(step, f"{step}: {why}")
                self.phase = Phase.HALTED
                self._found()
                await workflow.wait_condition(partial(self._resumed_since, before), timeout_summary="halted")
                self.needs_a_person(step, None)
                self.phase = Phase.RUNNING
                self._found()

    def _resumed_since(self, before: int) -> bool:
        return self.resumed > before

    def _found(self) -> None:
        self.upsert_phase()
        self.show()


def _settled(families: list[FamilyMove], tasks: list[asyncio.Task[None]], *, early: bool) -> bool:
    """Whether the next tier may begin; also where one failed as nobody foresaw. ``early``: while this one starts."""
    there = all(one.settled or (early and one.all_left) for one in families)
    return there or any(task.done() and task.exception() is not None for task in tasks)
