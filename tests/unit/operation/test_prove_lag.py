"""The lag over time, as the report draws it."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import SimpleNamespace
from typing import cast

from tidegate.model.fleet import Prove
from tidegate.model.record import utc_now
from tidegate.model.steps import ProveInput
from tidegate.operation import prove as proving
from tidegate.operation.prove import MOST_LAGS, Lags, prove
from tidegate.operation.run import Run


def test_a_long_watch_keeps_few_points_and_its_peak():
    lags, begun = Lags(), time.monotonic()
    for half in range(2 * 86_400):
        lags.see(77_777 if half == 100_001 else 5, begun + half / 2)
    points = lags.points()
    assert MOST_LAGS / 4 < len(points) <= MOST_LAGS
    assert max(lag for _, lag in points) == 77_777
    seconds = [second for second, _ in points]
    assert len({later - earlier for earlier, later in itertools.pairwise(seconds)}) == 1
    peak = next(second for second, lag in points if lag == 77_777)
    assert 0 <= 50_000 - (peak - utc_now().timestamp()) < 2 * (seconds[2] - seconds[1])


def test_an_unknown_lag_is_no_point():
    lags = Lags()
    lags.see(None, time.monotonic())
    assert lags.points() == ()


async def test_a_proof_tells_the_lag_at_each_look(monkeypatch):
    looks = iter(range(1, 99))
    behind = iter((900, 400, 20, 0, 0, 0))

    async def observe(_job):
        state = SimpleNamespace(value="RUNNING")
        return SimpleNamespace(state=state, checkpoints_completed=next(looks), restarts=0, first_error=None)

    async def offsets(_of):
        return {("payments", 0): 1}

    async def lag(_positions, _topics):
        return {("payments", 0): next(behind)}

    site = SimpleNamespace(
        driver=SimpleNamespace(observe=observe),
        kafka=SimpleNamespace(last_stable_offsets=offsets, group_offsets=offsets, lag=lag),
        input_topics=["payments"],
        output_topics=["balances"],
        spec=SimpleNamespace(
            prove=Prove(checkpoints=3), sources=[SimpleNamespace(group="ledger", topics=("payments",))]
        ),
    )
    run = cast("Run", SimpleNamespace(site=site, tenure=None, say=lambda **_: None))
    clock = [100.0]

    async def pass_time(seconds):
        clock[0] += 2 * seconds

    monkeypatch.setattr(proving, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(proving, "asyncio", SimpleNamespace(sleep=pass_time, gather=asyncio.gather))
    request = ProveInput.model_construct(job_id="a" * 32, bake_s=0.0, lag_at_start=None)
    fact = await prove(run, request)
    assert fact.checkpoints == 4
    assert [lag for _, lag in fact.lags] == [900, 400, 20, 0]
    assert fact.lag_end == 0
    begun = fact.lags[0][0]
    assert [second - begun for second, _ in fact.lags] == [0, 1, 2, 3]
