"""What a world answers to a failover and a return."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.kit.temporal_world_facts import (
    AT,
    TOPICS,
)
from tidegate.model.failover import (
    Answers,
    CutFact,
    CutInput,
    FailoverStep,
    GateFact,
    HomeFact,
    LookRegionsInput,
    MirrorBackFact,
    OpenFact,
    OpenInput,
    RebaseFact,
    RebaseInput,
    RegionsSeen,
    ShutFact,
    ShutInput,
    Topics,
    TranslateInput,
)
from tidegate.model.groups import GroupFact, GroupsFact
from tidegate.model.recovery import Strength
from tidegate.model.returning import QuarantineFact, ReturnStep, TailFact
from tidegate.model.steps import Unfinished


class AcrossActs:
    """Part of ``World``, whose switches these follow."""

    closed: set[str]
    job_state: str | None
    unfinished: Unfinished | None = None
    """A failover that has turned the topics to where it lives, and is not gone on with."""
    began_from: str | None = None
    not_returned: str | None = None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What only the whole has."""

    def _look_regions(self, request: LookRegionsInput) -> RegionsSeen:
        home, away = request.home.partition("/")[0], request.at.partition("/")[0]
        return RegionsSeen(
            at=AT + timedelta(seconds=2),
            home=Answers(region=home, **self.silent),
            standby=Answers(region=away),
            topics=self._topics(home, away),
            parallelism=2,
            slots_free=self.slots_free,
            slots_total=8,
            points=self.points if request.unplanned else (),
            newest="e7-chk-13",
            mirror_lag={f"{home}-to-{away}": None if self.silent else 3},
            groups=self.groups,
            left_planned=self.left_planned if request.returning else None,
            began_from=self.began_from,
            not_returned=self.not_returned,
        )

    @staticmethod
    def _topics(home: str, away: str) -> Topics:
        return TOPICS.model_copy(update={"links": (f"{home}-to-{away}",), "back": (f"{away}-to-{home}",)})

    def _close_producers(self, request: FailoverStep) -> ShutFact:
        self._check(request.held)
        self.closed |= set(request.topics.turn)
        ends = {} if request.unplanned else {"payments/0": 100}
        return ShutFact(ends=ends, principals=("producer",))

    def _shut_home(self, request: ShutInput) -> HomeFact:
        self._check(request.held)
        strength = Strength.SUPERSEDED if len(self.silent) == 3 else Strength.SHUT_OUT
        chosen = self.points[0]
        self.job_state = None
        return HomeFact(strength=strength, point=chosen.id, snapshot=chosen.snapshot, taken_at=chosen.taken_at)

    def _cut_over(self, request: CutInput) -> CutFact:
        self._check(request.held)
        assert request.at is not None
        assert set(request.topics.turn) <= self.closed, "topics turn behind a closed gate only (X18)"
        self.lives_in.update(dict.fromkeys(request.topics.turn, request.at.partition("/")[0]))
        shut = dict.fromkeys(request.topics.links, "STOPPED")
        return CutFact(partitions=2, shut=shut, drained=not request.unplanned, input_until=AT + timedelta(seconds=1))

    def _rebase_copy(self, request: RebaseInput) -> RebaseFact:
        self._check(request.held)
        assert request.at is not None
        location = f"s3://{request.at.partition('/')[0]}/savepoints/ledger/copy-{request.snapshot.rpartition('/')[2]}"
        return RebaseFact(
            location=location, original=request.snapshot, replays=0, positions=2, notes=self.ahead_of_mirror
        )

    def _translate_groups(self, request: TranslateInput) -> GroupsFact:
        self._check(request.held)
        assert request.at is not None
        assert set(request.topics.turn) <= self.closed, "nobody writes there before the groups are there (X25)"
        return GroupsFact(groups=self.moved or tuple(GroupFact(group=one.group, put=2) for one in self.groups))

    def _open_producers(self, request: OpenInput) -> OpenFact:
        self._check(request.held)
        self.closed -= set(request.topics.turn)
        return OpenFact(topics=request.topics.turn, turn=1, first_output_at=self.first_output_at)

    def _mirror_back(self, request: FailoverStep) -> MirrorBackFact:
        self._check(request.held)
        return MirrorBackFact(
            started=() if self.waiting else request.topics.back, waiting=self.waiting, at_large=self.at_large
        )

    def _hold_gate(self, request: FailoverStep) -> GateFact:
        self._check(request.held)
        return GateFact(notes=self.gate_notes)

    def _reopen_home(self, request: FailoverStep) -> None:
        self._check(request.held)
        self.lives_in.update(dict.fromkeys(request.topics.turn, request.home.partition("/")[0]))
        self.closed -= set(request.topics.turn)

    def _quarantine(self, request: ReturnStep) -> QuarantineFact:
        self._check(request.held)
        return QuarantineFact(denied=(7,), cancelled=(f"{7:032x}",), ended=2, shut={"east-to-west": "STOPPED"})

    def _set_apart(self, request: ReturnStep) -> TailFact:
        self._check(request.held)
        return TailFact(inputs=12, outputs=3, zombies=2, fed=9, known=2, ahead=1)
