"""GameDay: chosen deployments go on in another region for a while, watched, and come back. runbooks/game-day.md.

Each way is a FailoverRegion of its own, planned: what moves jobs, turns topics and holds deployments is that one. This
operation looks, judges by the rules, and sees to it that what went comes back.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.drill.rules import broken_by_way
    from tidegate.errors import TidegateError
    from tidegate.model.gameday import GAME_DAY, GameDayInput, Rule, Trip
    from tidegate.model.gamedaysteps import GameDayLook, GameDaySeen, GameDayWatched, GameDayWatchStep, Stand, Stands
    from tidegate.model.operation import OperationResult, Outcome, Phase, StepState
    from tidegate.model.steps import Located
    from workflows import game_day_facts as facts
    from workflows.calls import Aborted, Calls
    from workflows.ending import Ending
    from workflows.game_day_kit import PlayedGameDay, SomebodyElse, in_short
    from workflows.game_day_ways import WayOf
    from workflows.kit import given, known
    from workflows.unheld import OBSERVE_S

STEPS = ("observe", "fail over", "watch", "fail back", "prove", "conclude")
ALL_CELLS = "all"
GUARD_S = 86_400.0
"""The way there is watched for so long at the most: a failover that stands halted waits for a person."""
WATCH_MARGIN_S = 300.0
TRIES = 3
"""So often the way back is tried before a person is called."""
TRY_AGAIN_S = 20.0
COME_UP_S, COME_UP_AGAIN_S = 180.0, 5.0
"""So long a job that is being restarted is waited for before it is stopped, and how often it is looked."""
HALTED_S = 86_400.0
"""After that it ends, and says where they are (I6)."""
PROVE_TRIES = 4
PROVE_AGAIN_S = 3.0


@workflow.defn(name=GAME_DAY)
class GameDay(PlayedGameDay):
    """Done: they went, ran there within the rules, and are back. Undone: it was cut short, and they are back."""

    runbook = GAME_DAY

    @workflow.init
    def __init__(self, request: GameDayInput | None = None) -> None:
        asked = given(request, GameDayInput)
        super().__init__(asked, STEPS[:1] if asked.dry_run else STEPS)

    @workflow.run
    async def run(self, request: GameDayInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    # -- the runbook

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: both ways. What could not come back does not go. A dry run ends here.
        seen = await self._observe()
        if self.request.dry_run:
            return Ending(Outcome.PLANNED, facts.planned(self.request, seen))
        if self.abort_requested is not None:
            raise Aborted

        # From here on something may have left home: every line below leads to the way back (I7).
        self.phase = Phase.RUNNING
        self.upsert_phase()
        try:
            # Step 2. Fail over. A rule that is broken before the topics have turned has the failover go back itself.
            stands = await self._fail_over()

            # Step 3. Watch them there, for the time that was asked.
            if stands.of(self.request.to):
                self._refuse_if_taken(stands)
                if not self.stops:
                    await self._watch(stands)
            self._stop_if_asked()

            # Step 4. Fail back what is there.
            back = await self._fail_back()
        except SomebodyElse as error:
            return await self._give_way(str(error))

        # Step 5. Prove: all of it is as it was, or it is said what is not.
        problems = await self._prove() if back else ()

        # Step 6. Conclude: the report, in every outcome (unheld).
        return self._ended(back, problems)

    async def _observe(self) -> GameDaySeen:
        self.begin("observe", OBSERVE_S)
        info, request = workflow.info(), self.request
        asked = GameDayLook(
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            region=request.region,
            to=request.to,
            deployments=request.deployments,
            fleet_digest=request.fleet_digest,
            who=request.requested_by,
            why=request.reason,
        )
        self.seen = seen = await self.calls.control(
            contracts.look_at_game_day, asked, deadline_s=OBSERVE_S, interruptible=True
        )
        # The report's fleet file and region; the operation is about no single deployment.
        self.located = Located(
            fleet_digest=seen.fleet_digest, region=request.region, cell=ALL_CELLS, tier=0, approval_required=False
        )
        self.works_in(request.region)
        self._tell(deployments=tuple(one.deployment for one in seen.members), notes=seen.notes)
        self.ok("observe", facts.seen(seen, request.to))
        return seen

    async def _fail_over(self) -> Stands:
        self.begin("fail over")
        way = self.way = WayOf.there(self.request, known(self.seen))
        ends = asyncio.create_task(way.run())
        guard = asyncio.create_task(self._guard())
        await workflow.wait_condition(lambda: ends.done() or self.stops, timeout_summary="the way there")
        if not ends.done():
            # The child knows whether there is a way back for it (X24); what has turned goes on to its end.
            way.cancel(self._why())
        done = await ends
        self.way = None
        await guard
        self._tell(there=in_short(done))
        sent_back = self.stops
        for trip in broken_by_way(self.request.rules, done, f"on the way to {self.request.to}"):
            if trip.rule is not Rule.FAILOVER or not sent_back:
                self._trip(trip)
        self._refuse_if_superseded(done)
        stands = await self._where()
        gone = stands.of(self.request.to)
        state = StepState.OK if done.outcome is Outcome.DONE else StepState.FAILED
        self.board.end("fail over", state, workflow.now(), facts.went(done, stands, gone))
        self.show()
        return stands

    async def _guard(self) -> None:
        """The gap, while they are on their way. Not to be able to look is no reason to turn round."""
        step = self._watch_step(workflow.now() + timedelta(seconds=GUARD_S), jobs=None)
        try:
            watched = await self._watched(self.guarding, step, GUARD_S)
        except Aborted:
            return
        except TidegateError as error:
            self._note(f"the gap was not watched on the way: {error.message}")
            return
        if watched.trip is not None:
            self._trip(watched.trip)

    async def _watch(self, stands: Stands) -> None:
        """Every look counts against the rules; the first that is broken ends it at once."""
        self.begin("watch", self.request.stay_s)
        jobs = {one.deployment: one.job_id for one in stands.of(self.request.to)}
        began = workflow.now()
        step = self._watch_step(began + timedelta(seconds=self.request.stay_s), jobs=jobs)
        try:
            watched = await self._watched(self.calls, step, self.request.stay_s)
        except Aborted:
            self._tell(stayed_s=(workflow.now() - began).total_seconds())
            self.board.end("watch", StepState.FAILED, workflow.now(), self._why())
            return
        except TidegateError as error:
            # Blind is no state to stay in.
            away = Trip(rule=Rule.AWAY, deployment="", at=workflow.now(), what=f"nobody could look: {error.message}")
            self._tell(stayed_s=(workflow.now() - began).total_seconds())
            self._trip(away)
            self.board.end("watch", StepState.FAILED, workflow.now(), away.text)
            return
        self._tell(samples=watched.samples, stayed_s=watched.watched_s)
        if watched.trip is None:
            state = StepState.OK if self.abort_requested is None else StepState.FAILED
            why = f"{self.abort_requested}; " if self.abort_requested is not None else ""
            self.board.end("watch", state, workflow.now(), f"{why}{facts.watched(watched)}")
            self.show()
            return
        self._trip(watched.trip)
        self.board.end("watch", StepState.FAILED, workflow.now(), f"{watched.trip.text}; {facts.watched(watched)}")
        if watched.trip.rule is Rule.TAKEN:
            raise SomebodyElse(watched.trip.what)

    def _watch_step(self, until: datetime, *, jobs: dict[str, str] | None) -> GameDayWatchStep:
        seen = known(self.seen)
        return GameDayWatchStep(
            fleet_digest=seen.fleet_digest,
            members=tuple(one for one in seen.members if jobs is None or one.deployment in jobs),
            rules=self.request.rules,
            began=workflow.now(),
            until=until,
            jobs=jobs,
        )

    async def _watched(self, calls: Calls, step: GameDayWatchStep, seconds: float) -> GameDayWatched:
        return await calls.region(
            self.request.to,
            contracts.watch_game_day,
            step,
            deadline_s=seconds + WATCH_MARGIN_S,
            interruptible=True,
        )

    # -- the way back

    async def _fail_back(self) -> bool:
        """Until none of them lives there. False: nobody could bring them back in time."""
        self.going_back = True
        ends_at: datetime | None = None
        tries = 0
        while True:
            stands = await self._where()
            gone = stands.of(self.request.to)
            if not gone:
                self._end_back(tries, stands)
                return True
            self._refuse_if_taken(stands)
            if tries == 0:
                self.begin("fail back")
                self.phase = Phase.UNDOING if self.stops else Phase.RUNNING
                self.upsert_phase()
            tries += 1
            await self._let_them_run(gone)
            names = tuple(one.deployment for one in gone)
            way = self.way = WayOf.back(self.request, known(self.seen), names, tries)
            self.show()
            done = await way.run()
            self.way = None
            self._tell(back=(*self._facts.back, in_short(done)))
            for trip in broken_by_way(self.request.rules, done, f"on the way back to {self.request.region}"):
                self._trip(trip, stops=False)
            self._refuse_if_superseded(done)
            left = (await self._where()).of(self.request.to)
            if not left:
                continue
            if tries % TRIES and not facts.hopeless(done):
                await self._rest(TRY_AGAIN_S)
                continue
            ends_at = ends_at or workflow.now() + timedelta(seconds=HALTED_S)
            if not await self._stand_halted(facts.not_back(done, left, self.request.region), ends_at):
                self._settle(await self._where())
                return False

    async def _let_them_run(self, gone: tuple[Stand, ...]) -> None:
        """A job that is just being restarted cannot be stopped with a savepoint: a failover now would be in vain, and
        cost a pause. It is waited for a while; one that does not come up is the failover's to deal with.
        """
        ends_at = workflow.now() + timedelta(seconds=COME_UP_S)
        waited = False
        while workflow.now() < ends_at:
            coming = facts.comes_up(gone)
            if not coming and not waited:
                return
            # Flink's word on tasks is seconds old: one more look, once it says that they run.
            waited = bool(coming)
            self.comes_up = coming
            self.show()
            await self._rest(COME_UP_AGAIN_S)
            gone = (await self._where()).of(self.request.to)
        self.comes_up = ""

    def _end_back(self, tries: int, stands: Stands) -> None:
        if tries:
            self.ok("fail back", facts.came_back(self._facts.back[-1], stands))
        else:
            self.board.end("fail back", StepState.SKIPPED, workflow.now(), "none of them is there")
            self.show()

    async def _prove(self) -> tuple[str, ...]:
        """What is not as it was; nothing, if all is. The failovers have proven the jobs; this looks at all of it."""
        self.begin("prove", PROVE_TRIES * PROVE_AGAIN_S)
        problems: tuple[str, ...] = ()
        for number in range(PROVE_TRIES):
            stands = await self._where()
            problems = facts.not_as_it_was(stands, self.request.region)
            self._tell(stands=tuple(one.text for one in stands.stands))
            if not problems:
                self.ok("prove", facts.as_it_was(stands))
                return ()
            if number + 1 < PROVE_TRIES:
                await self._rest(PROVE_AGAIN_S)
        self.board.end("prove", StepState.FAILED, workflow.now(), "; ".join(problems))
        return problems

    # -- how it ends

    async def _give_way(self, why: str) -> Ending:
        stands = await self._where()
        self._settle(stands)
        self.board.end_running(StepState.FAILED, workflow.now(), why)
        self.board.replan(["conclude"])
        gone = stands.of(self.request.to)
        return Ending(
            Outcome.SUPERSEDED,
            f"game day given up, somebody else acts: {facts.standing(stands)}",
            why=why,
            next_commands=self._by_hand() if gone else (),
        )

    def _ended(self, back: bool, problems: tuple[str, ...]) -> Ending:
        self._settle()
        found = self._facts
        stopped = found.stopped
        broken = "; ".join(dict.fromkeys(one.text for one in found.trips))
        if not back:
            return Ending(
                Outcome.BAD_VERDICT,
                f"game day NOT back: {'; '.join(found.stands) or 'nobody can say where they are'}",
                why="; ".join(part for part in (stopped or "", broken) if part),
                next_commands=self._by_hand(),
            )
        verdict = facts.verdict(self.verdict)
        if problems or (self.verdict is not None and not self.verdict.good):
            why = "; ".join((*problems, *([f"verdict {verdict}"] if not problems else [])))
            return Ending(
                Outcome.BAD_VERDICT,
                f"game day back in {self.request.region}, and not as it was: {verdict}",
                why=f"{why}; {stopped}" if stopped else why,
            )
        if stopped is None and not found.trips:
            return Ending(Outcome.DONE, facts.done(found, verdict))
        why = broken if stopped is None or stopped in broken else "; ".join(part for part in (stopped, broken) if part)
        return Ending(Outcome.UNDONE, f"{facts.stopped(found)}; back as it was: {verdict}", why=why)

    def undone(self) -> str:
        """Only before anything was begun."""
        return "nothing was changed"
