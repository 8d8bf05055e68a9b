"""FailoverRegion: all that lives in a region goes on in another one. runbooks/failover-region.md."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.failover.room import make_room, room_left
    from tidegate.failover.unfinished import finish_region_command
    from tidegate.model.operation import MemberResult, OperationResult, Outcome, Phase
    from tidegate.model.region import (
        FAILOVER_REGION,
        FailoverRegionInput,
        GoOn,
        GroupSeen,
        LookGroupInput,
        Member,
        Room,
        Stage,
    )
    from tidegate.model.steps import Located
    from workflows import failover_facts
    from workflows.ending import Ending
    from workflows.failover_member import AUDITS_LAST
    from workflows.family import AT_ONCE, READY_EARLY, FamilyMove
    from workflows.kit import given, known
    from workflows.leaving_region import LOST_ONE_BACK
    from workflows.making_way import MakingWay
    from workflows.region_controls import RegionControls
    from workflows.unheld import OBSERVE_S

LOOK_AGAIN_S = 10.0
"""How often free slots are counted while something waits for them."""
ALL_CELLS = "all"


@workflow.defn(name=FAILOVER_REGION)
class FailoverRegion(RegionControls):
    """Done: all of it runs in the other region. Else each deployment says for itself how it ended."""

    runbook = FAILOVER_REGION

    @workflow.init
    def __init__(self, request: FailoverRegionInput | None = None) -> None:
        super().__init__(given(request, FailoverRegionInput))
        self.making_way = MakingWay(self, ())

    @workflow.run
    async def run(self, request: FailoverRegionInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

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
                if not (self.unplanned or family.family.no_return) and workflow.patched(AT_ONCE):
                    await workflow.wait_condition(partial(self._may_begin, family), timeout_summary="the others")
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

    def _may_begin(self, family: FamilyMove) -> bool:
        """As planned it goes as a whole, or not at all."""
        decided = self.abort_requested is not None or self.unplanned
        return decided or self.has_room(len(family.family.members))

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
        """Members of a lost one wait for its word. With that each finds out that it has been superseded, and ends.

        Of a family that went back each goes back: also one that still holds its deployment, as nobody took it over.
        """
        done = {
            one.deployment for family in self.families for one in family.results.values() if one.outcome is Outcome.DONE
        }
        back = {name for family in self.families if not family.turned for name in family.members}
        me = workflow.info().workflow_id
        for member in self.group_seen.members:
            if not member.orphan:
                continue
            if member.deployment in done:
                await self._tell_orphan(member.orphan, f"{me} has taken {member.deployment} over, and moved it")
            elif member.deployment in back and workflow.patched(LOST_ONE_BACK):
                why = f"{me} has put back what the one before it had begun"
                await self._tell_orphan(member.orphan, why, goes_on=False)

    async def _tell_orphan(self, orphan: str, why: str, *, goes_on: bool = True) -> None:
        handle = workflow.get_external_workflow_handle(orphan)
        try:
            for stage in (Stage.READY, Stage.LEFT, Stage.STARTED, Stage.PROVEN) if goes_on else ():
                await handle.signal("go_on", GoOn(stage=stage))
            # One that stands halted hears a decision only. Fenced as it is, it finds out instead of going back.
            await handle.signal("go_back_together", why)
        except FailureError as error:
            workflow.logger.info("%s has ended: %s", orphan, error.message)

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


def _settled(families: list[FamilyMove], tasks: list[asyncio.Task[None]], *, early: bool) -> bool:
    """Whether the next tier may begin; also where one failed as nobody foresaw. ``early``: while this one starts."""
    there = all(one.settled or (early and one.all_left) for one in families)
    return there or any(task.done() and task.exception() is not None for task in tasks)
